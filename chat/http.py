"""What the HTTP edges share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from math import ceil
from typing import Any, cast

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.csrf import rotate_token
from django.shortcuts import render

from chat.errors import BadRequest, ChatError, RateLimited, Unauthenticated
from chat.process import Process


def process_of(request: HttpRequest) -> Process:
    """What this web process has."""
    return cast("Process", request.scope["rejoin"])  # type: ignore[attr-defined]


def check_host(request: HttpRequest) -> None:
    """Raises BadRequest where the server is asked by a name that is not its own: Django would say it in HTML."""
    try:
        request.get_host()
    except DisallowedHost as error:
        raise BadRequest("This server does not answer to that name.", detail={"field": "Host"}) from error


def let_go(request: HttpRequest, response: HttpResponseBase) -> None:
    """Who was signed in has left: their browser is to drop the pages that it keeps. Where it does not, as without
    HTTPS, these find another CSRF cookie than they had, and hide before they are shown (page/life.js)."""
    rotate_token(request)
    response["Clear-Site-Data"] = '"cache"'


def failure(error: ChatError) -> JsonResponse:
    """The error object as a response."""
    response = JsonResponse(error.as_dict(), status=error.status)
    response["Cache-Control"] = "no-store"
    if error.retry_after is not None:
        response["Retry-After"] = str(ceil(error.retry_after))
    if isinstance(error, Unauthenticated):
        response["WWW-Authenticate"] = "Bearer"
    return response


Page = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def limited(view: Page) -> Page:
    """The view of a page that somebody may ask for too often: RateLimited becomes a page that says so."""

    @wraps(view)
    async def call(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return await view(request, *args, **kwargs)
        except RateLimited as error:
            seconds = ceil(error.retry_after or 1)
            response = render(request, "429.html", {"seconds": seconds}, status=error.status)
            response["Cache-Control"] = "no-store"
            response["Retry-After"] = str(seconds)
            return response

    return call


async def write(send: Any, response: HttpResponse) -> None:
    """A response to a request that Django's handler has no part in: as ASGI messages."""
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Length"] = str(len(response.content))
    headers = [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
