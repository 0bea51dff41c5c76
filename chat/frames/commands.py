"""Commands: what a client may send, and how it is validated."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from chat.errors import BadFrame, BadRequest, Unsupported
from chat.protocol import FOUND, MAX_FOUND, MAX_QUERY, MAX_WINDOW, WINDOW, Cursor

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
