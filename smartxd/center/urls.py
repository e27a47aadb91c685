"""The site's addresses."""

from __future__ import annotations

from django.urls import path

from smartxd.center import pages
from smartxd.center.api import api

urlpatterns = [
    path("", pages.all_boxes, name="boxes"),
    path("boxes/<str:name>", pages.one_box, name="box"),
    path("api/", api.urls),
    path("healthz", pages.healthz, name="healthz"),
    # A few files of the API's own documentation, from its package: no other server is needed for them.
    path("static/<path:path>", pages.static, name="static"),
]
