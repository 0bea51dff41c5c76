"""Static files; the Content-Security-Policy of every page: nothing inline but with the request's nonce, nothing from
elsewhere; and compression, of what is sent in one piece. All of it works on either side of the event loop."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.urls import reverse
from django.utils.decorators import sync_and_async_middleware
from whitenoise.middleware import WhiteNoiseMiddleware

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'nonce-{nonce}'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # it has no types
    """WhiteNoise's own, which alone would give each request a thread that waits for the event loop: one that still
    waits when the loop has ended keeps the server's process from ending, for ever."""

    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self._respond(request) if iscoroutinefunction(self) else super().__call__(request)

    async def _respond(self, request: HttpRequest) -> HttpResponseBase:
        # A file, or what is to be awaited of the rest.
        response: HttpResponseBase | Awaitable[HttpResponseBase] = super().__call__(request)
        return await response if isawaitable(response) else response


@sync_and_async_middleware
def content_security_policy(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Gives each request a ``csp_nonce`` and each response the policy, unless it has one of its own.

    Pages that are not below the chat's address are those of another project, and left alone. So are Django's own error
    pages, which only DEBUG shows: they have inline styles.
    """

    def is_debug_page(request: HttpRequest, response: HttpResponseBase) -> bool:
        unknown = response.status_code == 404 and request.resolver_match is None
        return settings.DEBUG and (unknown or response.status_code == 500)

    def prepare(request: HttpRequest) -> str:
        nonce = secrets.token_urlsafe(16)
        request.csp_nonce = nonce  # type: ignore[attr-defined]
        return nonce

    def protect(request: HttpRequest, response: HttpResponseBase, nonce: str) -> HttpResponseBase:
        if request.path.startswith(reverse("chat")) and not is_debug_page(request, response):
            response.headers.setdefault("Content-Security-Policy", POLICY.format(nonce=nonce))
        return response

    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            nonce = prepare(request)
            awaitable: Awaitable[HttpResponseBase] = get_response(request)
            return protect(request, await awaitable, nonce)

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        nonce = prepare(request)
        return protect(request, get_response(request), nonce)

    return synchronous


class Compression(GZipMiddleware):
    """Django's own, which leaves a stream as it is: Django would compress each piece by itself, and browsers unpack the
    first piece and drop the others, without a word."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if response.streaming else super().process_response(request, response)
