"""All URLs of the project."""

from django.contrib import admin
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path

from chat.health import healthz, readyz

urlpatterns = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("admin/", admin.site.urls),
    # Browsers ask for it where a page, as the admin's, names no icon.
    path("favicon.ico", lambda request: redirect(static("chat/favicon.svg"))),
    path("", include("chat.urls")),
]
