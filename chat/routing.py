"""Which connection goes where, and from where a websocket may come."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from channels.sessions import CookieMiddleware
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http.request import split_domain_port, validate_host
from django.urls import get_script_prefix, path, re_path, reverse

from chat import identity, sse
from chat.consumers import ChatConsumer
from chat.errors import ChatError
from chat.http import check_host, failure, write

LOCAL_HOSTS = ["localhost", ".localhost", "127.0.0.1", "[::1]"]
"""Allowed with DEBUG when ALLOWED_HOSTS is empty, as Django does for pages."""


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of this origin may open a websocket here: it is of this very host and port (a cookie knows no
    port, and Channels' own validator looks at none), or one of CSRF_TRUSTED_ORIGINS."""
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    allowed = settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])
    domain, _ = split_domain_port(host)
    return urlsplit(origin).netloc.lower() == host.lower() and bool(domain) and validate_host(domain, allowed)


class SameOrigin:
    """Refuses the handshake of a websocket that comes from elsewhere, or does not say from where; unless it brings an
    API token, and so nothing that a browser would add by itself counts."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name: value.decode("latin1") for name, value in scope["headers"] if name in (b"origin", b"host")}
        fine = identity.brings_token(scope) or same_origin(headers.get(b"origin", ""), headers.get(b"host", ""))
        await (self._application if fine else WebsocketDenier())(scope, receive, send)


def home() -> str:
    """Where the pages are, as a path without its first slash: "", unless chat.urls is included under a prefix."""
    return reverse("chat").removeprefix(get_script_prefix())


routes: list[Any] = [
    path(f"{home()}ws/chat/", ChatConsumer.as_asgi()),  # type: ignore[arg-type]
    re_path("", WebsocketDenier.as_asgi()),  # type: ignore[arg-type]  # elsewhere, where Channels itself ends in an error
]
websockets = SameOrigin(CookieMiddleware(URLRouter(routes)))


def told_in_json(pages: Any) -> Any:
    """The application for the API's addresses: who asks for them by a wrong host gets the API's error object."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        try:
            check_host(ASGIRequest(scope, BytesIO()))
        except ChatError as error:
            await write(send, failure(error))
        else:
            await pages(scope, receive, send)

    return call


def with_streams(pages: Any) -> Any:
    """The application for HTTP: Django's, and beside it what lasts longer than a page."""
    api = f"{home()}api"
    routes: list[Any] = [
        path(f"{api}/threads/<thread>/events", sse.events),  # type: ignore[arg-type]
        path(f"{api}/threads/<thread>/updates", sse.updates),  # type: ignore[arg-type]
        path(f"{api}/inbox/events", sse.events),  # type: ignore[arg-type]
        path(f"{api}/inbox/updates", sse.updates),  # type: ignore[arg-type]
        re_path(rf"^{re.escape(api)}(?:/|\Z)", told_in_json(pages)),
        re_path("", pages),
    ]
    return URLRouter(routes)
