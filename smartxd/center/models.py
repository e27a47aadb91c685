"""What the site knows of a box; the captures themselves are in the flow store."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Box(models.Model):
    """An enrolled box and the last that it said of itself."""

    name = models.CharField(max_length=63, primary_key=True)
    token_hash = models.CharField(max_length=64)
    enrolled_at = models.DateTimeField()
    last_contact = models.DateTimeField(null=True)
    reported_at = models.DateTimeField(null=True)
    commit = models.CharField(max_length=64, blank=True, default="")
    ready = models.BooleanField(default=False)
    report = models.JSONField(null=True)

    class Meta:
        """Boxes are listed by name."""

        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return str(self.name)
