"""The site's one Django application."""

from __future__ import annotations

from django.apps import AppConfig


class CenterApp(AppConfig):
    """Boxes, in Django's database; captures are in the flow store."""

    name = "smartxd.center"
    label = "center"
    default_auto_field = "django.db.models.BigAutoField"
