"""What goes in and comes out, for validation and for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, Field, WithJsonSchema, create_model
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from chat import actions
from chat.errors import BadRequest, ChatError, Internal, RateLimited, TooLarge, Unauthenticated
from chat.frames import (
    Change,
    CommandFrame,
    ErrorEvent,
    ErrorObject,
    FoundItem,
    History,
    InboxItem,
    MessageRow,
    Reply,
    RunRow,
    ThreadRow,
)

DESCRIPTION = """\
The same verbs, errors and ids as on the websocket; docs/protocol.md says what each means, docs/api.md how they map.

Ids are UUIDs that the client makes: of the command (`id`), and of the threads, messages and runs it begins. A command
given again with the same `id` changes nothing and gets the first answer again, so what went unanswered can be repeated.

Who is signed in comes by the session's cookie, and sends the CSRF token with all that changes something; programs come
by an API token. Every error is one object, with a stable `code`.
"""


def body(kind: type[CommandFrame], filled: set[str]) -> type[BaseModel]:
    """The fields of a command that a request gives beside its address: all but its type and what the path has
    ``filled``."""
    fields: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in kind.model_fields.items()
        if name != "type" and name not in filled
    }
    return create_model(f"{kind.__name__}Body", **fields)


class Answer(TypedDict):
    """What a command did: the thread's ``version`` after it, and what has changed since its ``cursor`` (without one,
    since the version before), but after ``delete``. ``id`` is the command's."""

    id: str
    version: int
    change: NotRequired[Change]


class Threads(TypedDict):
    """The latest first, as many as fit a frame. ``more``: there are earlier ones, ``before`` the last of these."""

    items: list[FoundItem]
    more: bool


class ThreadAsRead(TypedDict):
    """Its own row, its item in the inbox, and the ``version`` of all of it."""

    thread: ThreadRow
    item: InboxItem
    version: int


class Messages(TypedDict):
    """A piece of the path, oldest first, and the runs that wrote or answer it. ``more``: there are earlier ones,
    ``before`` the first of these."""

    messages: list[MessageRow]
    runs: list[RunRow]
    more: bool


class Runs(TypedDict):
    """The latest first. ``more``: there are earlier ones, ``before`` the last of these."""

    runs: list[RunRow]
    more: bool


class Document(TypedDict):
    """A whole thread, all branches."""

    protocol: str
    thread: ThreadRow
    messages: list[MessageRow]
    runs: list[RunRow]


def _batch() -> dict[str, Any]:
    """A list of commands of a thread, which the address names. Whatever else is in it gets an error in its place."""
    verbs: list[type[CommandFrame]] = [*actions.VERBS, History]
    items = [kind.model_json_schema() for kind in verbs]
    for item in items:
        item["required"].remove("thread")
    anything = {"title": "Anything else", "description": "Gets an error."}
    return {"type": "array", "minItems": 1, "items": {"anyOf": [*items, anything]}}


Batch = Annotated[list[Any], Field(min_length=1), WithJsonSchema(_batch())]
Replies = list[Reply | ErrorEvent]


def offer(shape: Any, result: Any, *refusals: type[ChatError], body: Any = None) -> dict[str, Any]:
    """What an operation is declared with: the shape of what it answers and an example, the errors that it may answer
    with beside those that any request may meet, and an example of the request's body."""
    kinds: list[type[ChatError]] = [BadRequest, Unauthenticated, TooLarge, RateLimited, Internal, *refusals]
    found = {kind.status: _example(kind().as_dict()) for kind in kinds} | {200: _example(result)}
    found[RateLimited.status]["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
    return {
        "response": {200: shape, frozenset(kind.status for kind in kinds): ErrorObject},
        "openapi_extra": {"responses": found} | ({} if body is None else {"requestBody": _example(body)}),
    }


def _example(value: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"example": value}}}
