"""Commands: what a client may send, and how it is validated."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from chat.errors import BadFrame, BadRequest, Unsupported
from chat.frames.meaning import means
from chat.protocol import FOUND, MAX_FOUND, MAX_QUERY, MAX_WINDOW, WINDOW, Cursor

Flag = Annotated[bool, Field(strict=True)]
"""True or false, and nothing that only looks like it."""
Count = Annotated[int, Field(strict=True, ge=0)]
Seen = dict[UUID, Count]
"""Characters (code points) of each message's text that were on screen."""
Text = Annotated[str, Field(min_length=1)]
Title = Annotated[str, Field(max_length=200)]
Model = Annotated[str, Field(max_length=200)]
SystemPrompt = Annotated[str, Field(max_length=20_000)]


def _cursor(value: str) -> str:
    Cursor.parse(value)
    return value


CursorText = Annotated[str, Field(max_length=100), AfterValidator(_cursor)]

# What fields mean that several commands have.
TYPE = means("Which command this is")
NEW_THREAD = means("The id of the new thread. The client makes it: any UUID that is not used yet")
NEW_MESSAGE = means("The id of the new message. The client makes it: any UUID that is not used yet")
NEW_RUN = means("The id of the run that will answer. The client makes it: any UUID that is not used yet")
TEXT = means(
    "The text of the message. It may be as long as `limits.message` of the welcome says:",
    "32,768 bytes of UTF-8, unless the server's setting REJOIN_MAX_MESSAGE says otherwise",
)
TITLE = means("The title. If it is empty, the first line of the next message that is sent becomes the title")
MODEL = means("Which model answers: one of the welcome's `models`. Empty: the server's choice")
THIS_MODEL = means("Which model answers this time: one of the welcome's `models`. Empty: the thread's own")
SYSTEM_PROMPT = means("Instructions that the model gets before everything that is said in the thread")
SEEN = means(
    "What was on screen of the run's messages: of each, by its id, so many characters (code points) of its text.",
    "What the command stops is cut there; a message that is not named is cut to nothing. Without `seen` nothing is cut",
)


class CommandFrame(BaseModel):
    """What every command has: an id, made by the client. A repeated id gets the first reply again."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    id: Annotated[
        UUID,
        means(
            "The id of the command. The client makes it: a new UUID for each command,",
            "and the same one again for a command that is repeated because no reply came",
        ),
    ]


class ThreadCommand(CommandFrame):
    """A command on one thread. With ``cursor`` the reply's ``change`` brings everything since."""

    thread: Annotated[UUID, means("The thread that this is about")]
    cursor: Annotated[
        CursorText | None, means("What the client has of the thread. `change` in the reply brings everything since")
    ] = None


class Attach(CommandFrame):
    """Follows a thread, or the inbox. What is missing since the cursor comes first, then what happens."""

    type: Annotated[Literal["attach"], TYPE]
    thread: Annotated[UUID | None, means("The thread to follow")] = None
    inbox: Annotated[Flag, means("True: follow the inbox, and no thread")] = False
    cursor: Annotated[
        CursorText | None, means("What the client has: the cursor of the last event that it applied. Null: nothing")
    ] = None
    all: Annotated[Flag, means("True: bring everything, and not the newest only")] = False


class Detach(CommandFrame):
    """Follows a thread, or the inbox, no longer."""

    type: Annotated[Literal["detach"], TYPE]
    thread: Annotated[UUID | None, means("The thread to leave")] = None
    inbox: Annotated[Flag, means("True: leave the inbox, and no thread")] = False


class Ack(BaseModel):
    """Heartbeats were received, and everything before them was applied. The only frame without id and reply."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Annotated[Literal["ack"], TYPE]
    n: Annotated[Count, means("The number of the last heartbeat that was received")]


class History(ThreadCommand):
    """Brings the messages of the path that are before one of its messages, and the runs that wrote or answer them."""

    type: Annotated[Literal["history"], TYPE]
    before: Annotated[UUID, means("The first message of the path that the client has")]
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_WINDOW), means("So many messages at most")] = WINDOW


class Send(ThreadCommand):
    """Sends a message, and queues a run that answers it. Without ``parent`` the message goes to the end of the queue,
    which is the end of the path if nothing waits."""

    type: Annotated[Literal["send"], TYPE]
    message: Annotated[UUID, NEW_MESSAGE]
    run: Annotated[UUID, NEW_RUN]
    text: Annotated[Text, TEXT]
    parent: Annotated[
        UUID | None,
        means("The message that this one follows; with an earlier one a branch begins there. Null: the last one"),
    ] = None
    seen: Annotated[Seen | None, SEEN] = None
    on_busy: Annotated[
        Literal["queue", "interrupt", "reject"],
        means(
            "What to do while another run of the thread runs or waits. `queue`: wait for its end.",
            "`interrupt`: stop the running one at `seen`, and be the next. `reject`: refuse the message as `busy`",
        ),
    ] = "queue"
    model: Annotated[Model, THIS_MODEL] = ""


class Edit(ThreadCommand):
    """Sends another version of one of the user's messages, and queues a run that answers it. The old version stays
    beside the new one, with everything below it."""

    type: Annotated[Literal["edit"], TYPE]
    of: Annotated[UUID, means("The user's message of which this is another version")]
    message: Annotated[UUID, NEW_MESSAGE]
    run: Annotated[UUID, NEW_RUN]
    text: Annotated[Text, TEXT]
    seen: Annotated[Seen | None, SEEN] = None


class Regenerate(ThreadCommand):
    """Asks for another answer beside one that is there. The old answer stays, with everything below it."""

    type: Annotated[Literal["regenerate"], TYPE]
    of: Annotated[UUID, means("The answer beside which another one is wanted, or the question if nothing was answered")]
    run: Annotated[UUID, NEW_RUN]
    model: Annotated[Model, THIS_MODEL] = ""
    seen: Annotated[Seen | None, SEEN] = None


class Continue(ThreadCommand):
    """Goes on with an answer that was stopped or broke off, in the same message. It has to be the last message of the
    path."""

    type: Annotated[Literal["continue"], TYPE]
    of: Annotated[UUID, means("The answer to go on with: the last message of the path, `cut` or `failed`")]
    run: Annotated[UUID, NEW_RUN]


class Select(ThreadCommand):
    """Shows another branch: the newest path that leads through a message."""

    type: Annotated[Literal["select"], TYPE]
    message: Annotated[UUID, means("The message through which the path leads from now on")]


class Stop(ThreadCommand):
    """Ends a run, and cuts what it wrote to what was on screen. A run that still waits is taken back."""

    type: Annotated[Literal["stop"], TYPE]
    run: Annotated[UUID, means("The run to end")]
    seen: Annotated[Seen | None, SEEN] = None


class Read(ThreadCommand):
    """Says that everything was read up to a message. Only the inbox item changes: its ``unread``."""

    type: Annotated[Literal["read"], TYPE]
    message: Annotated[UUID, means("The last message that was read")]


class Create(ThreadCommand):
    """Begins a thread, with an id that the client has made."""

    type: Annotated[Literal["create"], TYPE]
    thread: Annotated[UUID, NEW_THREAD]
    title: Annotated[Title, TITLE] = ""
    model: Annotated[Model, MODEL] = ""
    system_prompt: Annotated[SystemPrompt, SYSTEM_PROMPT] = ""


class Update(ThreadCommand):
    """Changes the fields that are there: title, model, system prompt, archive and pin. The others stay as they are."""

    type: Annotated[Literal["update"], TYPE]
    title: Annotated[Title | None, TITLE] = None
    model: Annotated[Model | None, MODEL] = None
    system_prompt: Annotated[SystemPrompt | None, SYSTEM_PROMPT] = None
    archived: Annotated[Flag | None, means("Whether the thread is in the archive")] = None
    pinned: Annotated[Flag | None, means("Whether the thread stands above the others in the list")] = None


class Delete(ThreadCommand):
    """Deletes a thread with all its messages. A run that is running ends."""

    type: Annotated[Literal["delete"], TYPE]


class Search(CommandFrame):
    """Lists threads, the latest first: all, or those with a text in them."""

    type: Annotated[Literal["search"], TYPE]
    query: Annotated[str, Field(max_length=MAX_QUERY), means("What the title or a message has in it. Empty: all")] = ""
    archived: Annotated[Flag | None, means("True: only the archive. False: all but the archive. Null: both")] = None
    before: Annotated[UUID | None, means("The last thread of the page that the client has")] = None
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_FOUND), means("So many threads at most")] = FOUND


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
