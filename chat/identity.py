"""Who is at the other end of a connection: whose session it brings, or whose API token.

If a request brings a token, only the token counts. A bad token is refused, even if a good session comes with it. That
is why a request with a token needs no CSRF token and no origin. A page of another site can make a browser send its
cookies, but beside a token they count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from chat import tokens
from chat.database import Database
from chat.errors import Unauthenticated
from chat.models import Guest

BEARER = "bearer."
"""With this the subprotocol begins that brings a token: a browser's websocket can set no header."""


@dataclass(frozen=True)
class Viewer:
    """A user who may watch and command. ``pk`` is their row's; guests have no name. ``by_token``: they brought an API
    token, and their cookies count for nothing."""

    pk: Any
    name: str
    guest: bool
    by_token: bool = False


def of_scope(scope: Any) -> Viewer | None:
    """The viewer at a websocket. None: nobody. Ask again to learn whether that still stands. Synchronous: called
    through chat.database."""
    return _viewer(_of_handshake(scope), scope["cookies"])


async def of_request(database: Database, request: HttpRequest) -> Viewer:
    """The viewer who makes an HTTP request. Raises Unauthenticated for anybody else. Ask again, as while a response
    goes on, to learn whether that still stands."""
    viewer = await database(_viewer, _of_header(request.headers.get("Authorization", "")), request.COOKIES)
    if viewer is None:
        raise Unauthenticated
    return viewer


def brings_token(scope: Any) -> bool:
    """Whether a websocket's handshake brings a token, a good one or not."""
    return _of_handshake(scope) is not None


def _viewer(token: str | None, cookies: Any) -> Viewer | None:
    user = _of_session(cookies.get(settings.SESSION_COOKIE_NAME)) if token is None else tokens.use(token)
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    guest = Guest.objects.filter(user=user.pk).exists()
    return Viewer(user.pk, "" if guest else user.get_username(), guest, by_token=token is not None)


def _of_session(key: str | None) -> Any:
    """The session's user, read anew. (A request's own ``user`` stays what it was when the request came.)"""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    # After a change of SECRET_KEY Django moves a session to a new key. Here nobody could tell the browser of it: that
    # is left to the next page.
    request.session.cycle_key = lambda: None  # type: ignore[method-assign]
    return get_user(request)


def _of_handshake(scope: Any) -> str | None:
    """The token of a websocket's handshake: of its header, or of its subprotocols. None: it brings none. Two that
    differ are one that is not good."""
    headers = [value.decode("latin1") for name, value in scope["headers"] if name.lower() == b"authorization"]
    offered = scope.get("subprotocols") or []
    brought = {_of_header(value) for value in headers} - {None}
    brought |= {name.removeprefix(BEARER) for name in offered if name.startswith(BEARER)}
    return None if not brought else brought.pop() if len(brought) == 1 else ""


def _of_header(value: str) -> str | None:
    """The token of an Authorization header. None: it brings none; other schemes are a proxy's business."""
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
