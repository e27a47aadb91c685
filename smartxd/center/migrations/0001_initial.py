"""Boxes."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """The first table."""

    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="Box",
            fields=[
                ("name", models.CharField(max_length=63, primary_key=True, serialize=False)),
                ("token_hash", models.CharField(max_length=64)),
                ("enrolled_at", models.DateTimeField()),
                ("last_contact", models.DateTimeField(null=True)),
                ("reported_at", models.DateTimeField(null=True)),
                ("commit", models.CharField(blank=True, default="", max_length=64)),
                ("ready", models.BooleanField(default=False)),
                ("report", models.JSONField(null=True)),
            ],
            options={"ordering": ["name"]},
        ),
    ]
