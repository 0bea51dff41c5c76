"""What goes in and comes out, for validation and for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, Field, WithJsonSchema, create_model
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from chat import actions
from chat.api.examples import RETRY_AFTER
from chat.errors import BadRequest, ChatError, Internal, RateLimited, TooLarge, Unauthenticated
from chat.frames import (
    Change,
    CommandFrame,
    Delta,
    ErrorEvent,
    ErrorObject,
    FoundItem,
    Gone,
    History,
    InboxEvent,
    InboxItem,
    MessageRow,
    Reply,
    RunRow,
    ThreadRow,
)
from chat.frames.events import Id
from chat.frames.meaning import means
from chat.protocol import MAX_COMMANDS

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
    return create_model(f"{kind.__name__}Body", __doc__=kind.__doc__, **fields)


class Answer(TypedDict):
    """What a command did."""

    id: Annotated[Id, means("The command's id")]
    version: Annotated[int, means("The thread's version after the command")]
    change: NotRequired[
        Annotated[
            Change, means("What has changed since `cursor`, or without one by this command. Not there after `delete`")
        ]
    ]


class Threads(TypedDict):
    """A page of threads, the latest first, as many as fit a frame."""

    items: Annotated[list[FoundItem], means("The threads")]
    more: Annotated[bool, means("There are earlier ones: ask again with `before`, the id of the last of these")]


class ThreadAsRead(TypedDict):
    """A thread without its messages."""

    thread: Annotated[ThreadRow, means("Its own row")]
    item: Annotated[InboxItem, means("Its item in the list of threads")]
    version: Annotated[int, means("The version of all of it")]


class Messages(TypedDict):
    """A piece of the path, and what belongs to it."""

    messages: Annotated[list[MessageRow], means("The messages, the oldest first")]
    runs: Annotated[list[RunRow], means("The runs that wrote or answer them")]
    more: Annotated[bool, means("There are earlier ones: ask again with `before`, the id of the first of these")]


class Runs(TypedDict):
    """A page of runs, the latest first."""

    runs: Annotated[list[RunRow], means("The runs")]
    more: Annotated[bool, means("There are earlier ones: ask again with `before`, the id of the last of these")]


class Document(TypedDict):
    """A whole thread, all branches."""

    protocol: Annotated[str, means("The protocol that says what the rows mean")]
    thread: Annotated[ThreadRow, means("Its own row")]
    messages: Annotated[list[MessageRow], means("All messages, the oldest first")]
    runs: Annotated[list[RunRow], means("All runs, the oldest first")]


class _Updates(TypedDict):
    cursor: Annotated[str, means("What the client has now. To be sent with the next request")]
    more: Annotated[bool, means("There is more already: ask again at once")]


class ThreadUpdates(_Updates):
    """What has happened in a thread since a cursor. No events: nothing has, for as long as was waited."""

    events: Annotated[
        list[Change | Delta | Gone], means("What has happened, in its order. After `gone` nothing more comes")
    ]


class InboxUpdates(_Updates):
    """What has happened in the list of threads since a cursor. No events: nothing has, for as long as was waited."""

    events: Annotated[list[InboxEvent], means("What has happened, in its order")]


def _batch() -> dict[str, Any]:
    """A list of commands of a thread, which the address names. Whatever else is in it gets an error in its place."""
    verbs: list[type[CommandFrame]] = [*actions.VERBS, History]
    items = [kind.model_json_schema() for kind in verbs]
    for item in items:
        item["required"].remove("thread")
    anything = {"title": "Anything else", "description": "Gets an error."}
    return {"type": "array", "minItems": 1, "maxItems": MAX_COMMANDS, "items": {"anyOf": [*items, anything]}}


Batch = Annotated[list[Any], Field(min_length=1), WithJsonSchema(_batch())]
Replies = list[Reply | ErrorEvent]


def offer(shape: Any, result: Any, *refusals: type[ChatError], body: Any = None) -> dict[str, Any]:
    """What an operation is declared with: the shape of what it answers and an example, the errors that it may answer
    with beside those that any request may meet, and an example of the request's body."""
    kinds: list[type[ChatError]] = [BadRequest, Unauthenticated, RateLimited, Internal, *refusals]
    if body is not None:
        kinds.append(TooLarge)
    found = {kind.status: _example(kind().as_dict()) for kind in kinds} | {200: _example(result)}
    found[RateLimited.status]["headers"] = RETRY_AFTER
    return {
        "response": {200: shape, frozenset(kind.status for kind in kinds): ErrorObject},
        "openapi_extra": {"responses": found} | ({} if body is None else {"requestBody": _example(body)}),
    }


def _example(value: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"example": value}}}
