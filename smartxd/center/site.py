"""Django's settings, made from the site's configuration; to be called before models or views are imported."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connections

from smartxd.center.config import SiteConfig
from smartxd.errors import ConfigError, StoreError
from smartxd.sync.protocol import BODY_MAX


def configure(config: SiteConfig) -> None:
    """Set Django up on the site's data directory, which is made when it is missing."""
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        key = _secret_key(config.data_dir / "secret.key")
    except OSError as err:
        raise ConfigError(
            f"{config.data_dir}: {err.strerror}", "--data-dir must name a directory that can be written"
        ) from err
    settings.configure(
        SECRET_KEY=key,
        DEBUG=False,
        # guard.py answers for the host, because addresses are always allowed and Django has no word for it.
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="smartxd.center.urls",
        INSTALLED_APPS=["smartxd.center.apps.CenterApp", "django.contrib.staticfiles", "ninja"],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(config.database),
                "OPTIONS": {
                    "timeout": 10,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                },
            }
        },
        STATIC_URL="/static/",
        USE_TZ=True,
        TIME_ZONE="UTC",
        USE_I18N=False,
        DATA_UPLOAD_MAX_MEMORY_SIZE=BODY_MAX,
        FILE_UPLOAD_MAX_MEMORY_SIZE=BODY_MAX,
        LOGGING_CONFIG=None,
        SMARTX=config,
    )
    django.setup()
    # A refused request is the client's to read, not a line in the log for each.
    logging.getLogger("django.request").setLevel(logging.ERROR)


def migrate() -> None:
    """Bring the database of boxes up to date."""
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as err:
        raise StoreError(
            f"{settings.DATABASES['default']['NAME']}: {err}", "data_dir must be writable"
        ) from err
    finally:
        connections.close_all()


def _secret_key(path: Path) -> str:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if key := path.read_text().strip():
            return key
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    key = secrets.token_urlsafe(50)
    with os.fdopen(fd, "w") as file:
        file.write(key + "\n")
    return key
