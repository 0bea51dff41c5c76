"""Frames: the commands a client may send, the events a server sends, and how both are read and written.

Commands are validated here, once, for every transport. The JSON Schema of docs/protocol.schema.json is made from these
classes (:func:`json_schema`), so what is published is what is checked. Pure: no Django, no clock.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from chat.errors import BadFrame, BadRequest, TooLarge, Unsupported
from chat.protocol import FOUND, MAX_FOUND, MAX_FRAME, MAX_QUERY, MAX_WINDOW, WINDOW, Cursor, clean

# ------------------------------------------------------------------------------------------------------- commands

Flag = Annotated[bool, Field(strict=True)]
"""True or false, and nothing that only looks like it."""
Count = Annotated[int, Field(strict=True, ge=0)]
Seen = dict[UUID, Count]
"""Characters (code points) of each message's text that were on screen."""


def _cursor(value: str) -> str:
    Cursor.parse(value)
    return value


CursorText = Annotated[str, Field(max_length=100), AfterValidator(_cursor)]


class CommandFrame(BaseModel):
    """What every command has: an id, made by the client. A repeated id gets the first reply again."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    id: UUID


class ThreadCommand(CommandFrame):
    """A command on one thread. With ``cursor`` the reply's ``change`` brings everything since."""

    thread: UUID
    cursor: CursorText | None = None


class Attach(CommandFrame):
    type: Literal["attach"]
    thread: UUID | None = None
    inbox: Flag = False
    cursor: CursorText | None = None
    all: Flag = False


class Detach(CommandFrame):
    type: Literal["detach"]
    thread: UUID | None = None
    inbox: Flag = False


class Ack(BaseModel):
    """The only frame without id and reply."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Literal["ack"]
    n: Count


class History(ThreadCommand):
    type: Literal["history"]
    before: UUID
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_WINDOW)] = WINDOW


class Send(ThreadCommand):
    type: Literal["send"]
    message: UUID
    run: UUID
    text: Annotated[str, Field(min_length=1)]
    parent: UUID | None = None
    seen: Seen | None = None
    on_busy: Literal["queue", "interrupt", "reject"] = "queue"
    model: Annotated[str, Field(max_length=200)] = ""


class Edit(ThreadCommand):
    type: Literal["edit"]
    of: UUID
    message: UUID
    run: UUID
    text: Annotated[str, Field(min_length=1)]
    seen: Seen | None = None


class Regenerate(ThreadCommand):
    type: Literal["regenerate"]
    of: UUID
    run: UUID
    model: Annotated[str, Field(max_length=200)] = ""
    seen: Seen | None = None


class Continue(ThreadCommand):
    type: Literal["continue"]
    of: UUID
    run: UUID


class Select(ThreadCommand):
    type: Literal["select"]
    message: UUID


class Stop(ThreadCommand):
    type: Literal["stop"]
    run: UUID
    seen: Seen | None = None


class Read(ThreadCommand):
    type: Literal["read"]
    message: UUID


class Create(ThreadCommand):
    type: Literal["create"]
    title: Annotated[str, Field(max_length=200)] = ""
    model: Annotated[str, Field(max_length=200)] = ""
    system_prompt: Annotated[str, Field(max_length=20_000)] = ""


class Update(ThreadCommand):
    """Only the fields that are there are changed."""

    type: Literal["update"]
    title: Annotated[str, Field(max_length=200)] | None = None
    model: Annotated[str, Field(max_length=200)] | None = None
    system_prompt: Annotated[str, Field(max_length=20_000)] | None = None
    archived: Flag | None = None
    pinned: Flag | None = None


class Delete(ThreadCommand):
    type: Literal["delete"]


class Search(CommandFrame):
    type: Literal["search"]
    query: Annotated[str, Field(max_length=MAX_QUERY)] = ""
    archived: Flag | None = None
    before: UUID | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_FOUND)] = FOUND


Frame = (
    Attach
    | Detach
    | Ack
    | History
    | Send
    | Edit
    | Regenerate
    | Continue
    | Select
    | Stop
    | Read
    | Create
    | Update
    | Delete
    | Search
)
_COMMANDS: dict[str, TypeAdapter[Any]] = {
    cls.model_fields["type"].annotation.__args__[0]: TypeAdapter(cls) for cls in Frame.__args__
}


def decode(data: str | bytes, limit: int = MAX_FRAME) -> Any:
    """The JSON value, its strings clean. Raises BadFrame, or TooLarge above ``limit`` bytes."""
    if len(data) > limit or (isinstance(data, str) and len(data.encode("utf-8", "surrogatepass")) > limit):
        raise TooLarge(detail={"limit": limit})
    try:
        try:
            value = orjson.loads(data)
            clean_already = (b"\\u0000" if isinstance(data, bytes) else "\\u0000") not in data  # type: ignore[operator]
        except ValueError:  # half a surrogate pair is no JSON for the fast reader; people's input may hold one
            value, clean_already = json.loads(data), False
        if not clean_already:
            value = _cleaned(value)
    except (ValueError, RecursionError) as error:
        raise BadFrame() from error
    return value


def parse(data: str | bytes) -> dict[str, Any]:
    """The JSON object of one frame, its strings clean. Raises BadFrame or TooLarge."""
    return frame(decode(data))


def frame(value: Any) -> dict[str, Any]:
    """The value, if it is a frame: an object with a type. Raises BadFrame."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise BadFrame()
    return value


def ack(value: dict[str, Any]) -> Ack:
    """The ack of a parsed frame of that type. Raises BadFrame: it has no id by which a refusal could name it."""
    try:
        return Ack.model_validate(value)
    except ValidationError as error:
        raise BadFrame("An ack needs n, the number of a heartbeat.") from error


def command(value: dict[str, Any]) -> Frame:
    """The command of a parsed frame. Raises Unsupported (unknown type), BadRequest (``detail.field``), BadFrame."""
    adapter = _COMMANDS.get(value["type"])
    if adapter is None:
        raise Unsupported("This server does not know this command.")
    try:
        return adapter.validate_python(value)  # type: ignore[no-any-return]
    except ValidationError as error:
        field = ".".join(str(step) for step in error.errors()[0]["loc"][:1])
        if field == "id":
            raise BadFrame("A command needs an id, a UUID made by the client.") from error
        raise BadRequest(detail={"field": field}) from error


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value


# --------------------------------------------------------------------------------------------------------- events


class ThreadRow(TypedDict):
    id: str
    version: int
    title: str
    model: str
    system_prompt: str
    archived: bool
    pinned: bool
    head: str | None
    created_at: str
    updated_at: str


class MessageRow(TypedDict):
    """Without ``text`` and ``reasoning`` the client keeps what it has, cut to the lengths where they are there."""

    id: str
    parent: str | None
    after: str | None
    siblings: list[str]
    role: Literal["user", "assistant"]
    author: str
    status: Literal["queued", "unqueued", "streaming", "complete", "cut", "failed"]
    error: ErrorObject | None
    text: NotRequired[str]
    reasoning: NotRequired[str]
    text_length: NotRequired[int]
    reasoning_length: NotRequired[int]
    reasoning_ms: NotRequired[int]
    run: str | None
    seq: int
    version: int
    created_at: str
    updated_at: str


class ErrorObject(TypedDict):
    code: str
    status: int
    message: str
    retryable: bool
    retry_after: NotRequired[float]
    detail: NotRequired[dict[str, Any]]


RunState = Literal["queued", "running", "completed", "stopped", "failed", "interrupted"]


class RunRow(TypedDict):
    id: str
    prompt: str
    messages: list[str]
    state: RunState
    place: int | None
    model: str
    seq: int
    error: ErrorObject | None
    tokens_in: int | None
    tokens_out: int | None
    left_out: int
    queued_at: str
    started_at: str | None
    first_token_at: str | None
    finished_at: str | None
    version: int


class InboxItem(TypedDict):
    id: str
    version: int
    title: str
    status: Literal["idle", "queued", "running"]
    unread: bool
    archived: bool
    pinned: bool
    updated_at: str


class FoundItem(InboxItem):
    """Of a search. ``excerpt``: what a message says around the query."""

    excerpt: NotRequired[str]


class Limits(TypedDict):
    frame: int
    message: int
    window: int
    queued: int


class Welcome(TypedDict):
    type: Literal["welcome"]
    protocol: Literal["rejoin.v1"]
    user: dict[str, Any]
    limits: Limits
    models: list[str]
    server_time: str


Change = TypedDict(
    "Change",
    {
        "type": Literal["change"],
        "thread": str,
        "from": int,
        "to": int,
        "row": NotRequired[ThreadRow],
        "messages": list[MessageRow],
        "runs": list[RunRow],
        "cursor": str,
    },
)
Delta = TypedDict(
    "Delta",
    {
        "type": Literal["delta"],
        "thread": str,
        "run": str,
        "from": int,
        "to": int,
        "parts": list[list[Any]],
        "cursor": str,
    },
)
InboxEvent = TypedDict(
    "InboxEvent",
    {
        "type": Literal["inbox"],
        "from": int,
        "to": int,
        "items": list[InboxItem],
        "removed": list[str],
        "older": NotRequired[Literal[True]],
        "cursor": str,
    },
)


class CaughtUp(TypedDict):
    type: Literal["caught_up"]
    thread: NotRequired[str]
    inbox: NotRequired[Literal[True]]
    cursor: str


class Gone(TypedDict):
    type: Literal["gone"]
    thread: str
    code: str


class Reply(TypedDict):
    type: Literal["reply"]
    id: str
    result: dict[str, Any]


class ErrorEvent(ErrorObject):
    type: Literal["error"]
    id: str | None


class Heartbeat(TypedDict):
    type: Literal["heartbeat"]
    n: int
    server_time: str


Event = Welcome | Change | Delta | InboxEvent | CaughtUp | Gone | Reply | ErrorEvent | Heartbeat


def encode(event: Any) -> str:
    """One frame: UTF-8 JSON, nothing \\u-escaped that need not be."""
    return orjson.dumps(event).decode()


def mark(frame: str) -> tuple[str, str | None]:
    """Type and cursor of an encoded event, without decoding it: an event begins with its type, and ends with its
    cursor, if it moves one. (Inside a string there is no quote without a backslash.)"""
    kind = frame[9 : frame.index('"', 9)]
    at = frame.rfind('"cursor":"', max(0, len(frame) - 120))
    return kind, None if at < 0 else frame[at + 10 : -2]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of every frame, both ways: ``$defs`` by name, ``command`` and ``event`` as their unions."""
    commands, events = TypeAdapter(Frame), TypeAdapter(Event)
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rejoin.v1",
        "$defs": {},
    }
    for name, adapter in (("command", commands), ("event", events)):
        part = adapter.json_schema()
        schema["$defs"] |= part.pop("$defs", {})
        schema["$defs"][name] = part
    schema["$defs"][FoundItem.__name__] = TypeAdapter(FoundItem).json_schema()  # only replies have it
    schema["anyOf"] = [{"$ref": "#/$defs/command"}, {"$ref": "#/$defs/event"}]
    return schema
