"""The addresses of event streams and long polls, for the OpenAPI document. They are served beside Django (chat/sse.py),
and the library does not know of them: what it writes of other operations is written here by hand."""

from __future__ import annotations

from http.client import responses
from typing import Any

from ninja.utils import normalize_path
from pydantic import TypeAdapter

from chat import frames
from chat.api import examples
from chat.api.shapes import InboxUpdates, ThreadUpdates
from chat.errors import BadRequest, ChatError, Internal, NotFound, RateLimited, Unauthenticated
from chat.protocol import MAX_WAIT

TAG = "following"
STREAM = "text/event-stream"
SCHEMAS = "#/components/schemas/"
EVENTS = {
    "change": frames.Change,
    "delta": frames.Delta,
    "inbox": frames.InboxEvent,
    "caught_up": frames.CaughtUp,
    "gone": frames.Gone,
    "heartbeat": frames.Heartbeat,
    "error": frames.ErrorEvent,
}
OF_A_THREAD = ("change", "delta", "caught_up", "gone", "heartbeat", "error")
OF_THE_INBOX = ("inbox", "caught_up", "heartbeat", "error")

STREAMED = """\
Server-sent events, as a browser's `EventSource` reads them. What is missing since the cursor comes first, then \
`caught_up`, then what happens. Each event is a frame; its id is the cursor after it.

A response ends after 256 KiB or a minute, and the next one goes on if it is given the last id. Whoever asks with \
`Accept: text/event-stream` gets what may pass (429, 500) as an `error` event, and comes back."""
POLLED = """\
Answers at once if there is something after the cursor, else when something comes, else after `wait` seconds with no \
events. Ask again with the `cursor` of the answer."""


def _parameter(name: str, place: str, description: str, **schema: Any) -> dict[str, Any]:
    required = place == "path"
    return {"in": place, "name": name, "required": required, "description": description, "schema": schema}


THREAD = _parameter("thread", "path", "The thread's id", type="string", format="uuid")
CURSOR = _parameter("cursor", "query", "What the client has: the last cursor that came", type="string", maxLength=100)
ALL = _parameter("all", "query", "Bring everything, and not the newest only", type="boolean", default=False)
LAST_ID = _parameter(
    "Last-Event-ID", "header", "The same as `cursor`, and goes before it", type="string", maxLength=100
)
WAIT = _parameter("wait", "query", "Seconds to wait", type="number", minimum=0, maximum=MAX_WAIT, default=MAX_WAIT)


def _refusal(kind: type[ChatError]) -> dict[str, Any]:
    content = {"schema": {"$ref": f"{SCHEMAS}ErrorObject"}, "example": kind().as_dict()}
    return {"description": responses[kind.status], "content": {"application/json": content}}


def _operation(
    name: str, summary: str, description: str, parameters: list[dict[str, Any]], content: dict[str, Any]
) -> dict[str, Any]:
    kinds = [BadRequest, Unauthenticated, *([NotFound] if THREAD in parameters else []), RateLimited, Internal]
    refused = {str(kind.status): _refusal(kind) for kind in kinds}
    refused[str(RateLimited.status)]["headers"] = examples.RETRY_AFTER
    return {
        "operationId": name,
        "summary": summary,
        "description": description,
        "tags": [TAG],
        "parameters": parameters,
        "responses": {"200": {"description": responses[200], "content": content}, **refused},
        "security": [{"SessionCookie": []}, {"BearerToken": []}],
    }


def _streamed(types: tuple[str, ...], example: str) -> dict[str, Any]:
    """What a stream brings. OpenAPI has no words for its events: ``x-events`` has the schema of each one's data."""
    told = f"Events of the types {', '.join(types)}. The data of each is one frame, as JSON"
    events = {kind: {"$ref": f"{SCHEMAS}{EVENTS[kind].__name__}"} for kind in types}
    return {STREAM: {"schema": {"type": "string", "description": told}, "x-events": events, "example": example}}


def _polled(shape: Any, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"{SCHEMAS}{shape.__name__}"}, "example": example}}


def paths(prefix: str) -> dict[str, Any]:
    """Their place in a document whose addresses begin with this."""
    of_thread, of_inbox = [THREAD, CURSOR, ALL], [CURSOR, ALL]
    thread_events = _streamed(OF_A_THREAD, examples.THREAD_STREAM)
    inbox_events = _streamed(OF_THE_INBOX, examples.INBOX_STREAM)
    thread_news = _polled(ThreadUpdates, examples.THREAD_UPDATES)
    inbox_news = _polled(InboxUpdates, examples.INBOX_UPDATES)
    found = {
        "threads/{thread}/events": _operation(
            "events", "Follow a thread", STREAMED, [*of_thread, LAST_ID], thread_events
        ),
        "threads/{thread}/updates": _operation(
            "updates", "Wait for news of a thread", POLLED, [*of_thread, WAIT], thread_news
        ),
        "inbox/events": _operation(
            "inbox_events", "Follow the list of threads", STREAMED, [*of_inbox, LAST_ID], inbox_events
        ),
        "inbox/updates": _operation(
            "inbox_updates", "Wait for news of the list of threads", POLLED, [*of_inbox, WAIT], inbox_news
        ),
    }
    return {normalize_path(f"/{prefix}/{path}"): {"get": operation} for path, operation in found.items()}


def schemas() -> dict[str, Any]:
    """What they speak of, by name."""
    found: dict[str, Any] = {}
    shapes: tuple[Any, ...] = (frames.Event, ThreadUpdates, InboxUpdates)
    for shape in shapes:
        made = TypeAdapter(shape).json_schema(ref_template=f"{SCHEMAS}{{model}}", mode="serialization")
        found |= made.pop("$defs", {})
        if "title" in made:
            found[made["title"]] = made
    return found
