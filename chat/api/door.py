"""The API's door: who comes in, how much of it at once, how bodies are read, and how every error goes out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

import orjson
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI, Router
from ninja.errors import HttpError, ValidationError
from ninja.openapi.docs import Swagger
from ninja.parser import Parser
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from chat import frames, identity
from chat.api.document import SERVERS, DocumentedAPI
from chat.api.shapes import DESCRIPTION
from chat.errors import BadFrame, BadMethod, BadRequest, ChatError, Forbidden, Internal, NotFound
from chat.http import failure, process_of
from chat.identity import Viewer
from chat.protocol import MAX_COMMANDS_BODY, MAX_FRAME, clean

log = logging.getLogger(__name__)

router = Router()
"""All operations. (With a router each, a path could have methods of one of them only.)"""

COMMANDS = "commands"
"""The operation that takes such a list; the bodies of all others are as large as a frame at most."""
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")


def viewer_of(request: HttpRequest) -> Viewer:
    """Who was let in."""
    return cast("Viewer", request.auth)  # type: ignore[attr-defined]


def limit_of(request: HttpRequest) -> int:
    """Bytes of a body."""
    match = request.resolver_match
    return MAX_COMMANDS_BODY if match is not None and match.url_name == COMMANDS else MAX_FRAME


# -------------------------------------------------------------------------------------------------------- coming in


async def admit(request: HttpRequest) -> Viewer:
    """Who makes the request, if they may. Raises Unauthenticated, Forbidden, RateLimited or BadFrame."""
    process = process_of(request)
    viewer = await identity.of_request(process.sources.database, request)
    if request.content_type not in ("", "application/json"):
        # Said here, because the check below would read a form, whatever its size.
        raise BadFrame("The body has to be JSON (Content-Type: application/json).")
    # Django would keep all of it in memory, where its length was not announced.
    request._body = request.read(limit_of(request) + 1)
    if not viewer.by_token and request.method not in SAFE:
        refused = await process.sources.database(check_csrf, request)
        if refused is not None:
            raise Forbidden("The CSRF token is missing or wrong: send the cookie's value as X-CSRFToken.")
    process.limits.command(viewer.pk)
    return viewer


class SessionCookie(AuthBase):
    """The session of who is signed in, or of a guest. What changes something needs the CSRF token, too."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME
    csrf = True  # so the page of the docs sends the token

    async def __call__(self, request: HttpRequest) -> Viewer:
        return await admit(request)


class BearerToken(AuthBase):
    """An API token of the account page. (:func:`admit` looks for both, so the first of the two to be asked decides.)"""

    openapi_type = "http"
    openapi_scheme = "bearer"

    async def __call__(self, request: HttpRequest) -> Viewer:
        return await admit(request)


class Reader(Parser):
    """Reads as the websocket does: size first, then JSON, then the texts cleaned."""

    def parse_body(self, request: HttpRequest) -> Any:
        return frames.decode(request.body, limit_of(request))

    def parse_querydict(self, data: Any, list_fields: list[str], request: HttpRequest) -> dict[str, Any]:
        values = super().parse_querydict(data, list_fields, request)
        return {name: clean(value) if isinstance(value, str) else value for name, value in values.items()}


# -------------------------------------------------------------------------------------------------------- going out


def answer(value: Any) -> HttpResponse:
    """The value as JSON."""
    return HttpResponse(orjson.dumps(value), content_type="application/json")


def guarded(view: Callable[..., Awaitable[HttpResponse]]) -> Callable[..., Awaitable[HttpResponse]]:
    """The view, whose answers nobody keeps, which answers HEAD where it answers GET (the server leaves the body away),
    and which refuses a method it does not have as it refuses all else."""

    @wraps(view)
    async def call(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        asked = request.method
        if asked == "HEAD":
            request.method = "GET"  # the library knows its operations by their methods
        response = await view(request, *args, **kwargs)
        request.method = asked
        if response.status_code == BadMethod.status and "Allow" in response:
            allowed = set(response["Allow"].split(", "))
            response = failure(BadMethod())
            response["Allow"] = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
        response["Cache-Control"] = "no-store"
        return response

    return call


def readable(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The view of the document, or of its page: for everybody to read, and kept by nobody."""

    @csrf_exempt
    @wraps(view)
    def call(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            response: HttpResponse = failure(BadMethod())
            response["Allow"] = "GET, HEAD"
            return response
        response = view(request, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response

    return call


@csrf_exempt
async def unknown(request: HttpRequest, **path: str) -> HttpResponse:
    """Any other address below /api/."""
    return failure(NotFound("There is no such address."))


def _validation(request: HttpRequest, error: Any) -> HttpResponse:
    """Names the field: where it went wrong is (source, name, …), or in a body (source, argument, name, …)."""
    source, *steps = error.errors[0]["loc"]
    names = steps[1:2] if source == "body" else steps[:1]
    return failure(BadRequest(detail={"field": str(names[0]) if names else source}))


def _unreadable(request: HttpRequest, error: Any) -> HttpResponse:
    """ninja's own words for a body that the :class:`Reader` refused."""
    return failure(error.__cause__ if isinstance(error.__cause__, ChatError) else BadFrame("The body is not JSON."))


def _suspicious(request: HttpRequest, error: Any) -> HttpResponse:
    """More fields in the query than Django takes."""
    return failure(BadRequest("The query is more than can be read."))


def _unforeseen(request: HttpRequest, error: Any) -> HttpResponse:
    log.error(
        "action=api_failed method=%s route=%s",
        request.method,
        getattr(request.resolver_match, "route", ""),
        exc_info=error,
    )
    return failure(Internal())


def make_api() -> NinjaAPI:
    """The API without its operations."""
    api = DocumentedAPI(
        title="Rejoin",
        version="1",
        description=DESCRIPTION,
        urls_namespace="api",
        servers=SERVERS,
        auth=[SessionCookie(), BearerToken()],
        parser=Reader(),
        docs=Swagger({"validatorUrl": None}),  # which would be somebody else's server
    )
    api.add_exception_handler(ChatError, lambda request, error: failure(cast("ChatError", error)))
    api.add_exception_handler(ValidationError, _validation)
    api.add_exception_handler(HttpError, _unreadable)
    api.add_exception_handler(SuspiciousOperation, _suspicious)
    api.add_exception_handler(Exception, _unforeseen)
    return api
