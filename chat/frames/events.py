"""Events: what a server sends, and the rows in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import WithJsonSchema
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from chat.errors import CODES
from chat.frames.meaning import means

Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""UTC, ISO 8601."""
Code = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted(CODES)})]
RunState = Literal["queued", "running", "completed", "stopped", "failed", "interrupted"]

# What fields mean that several rows or events have.
TYPE = means("Which event this is")
CREATED = means("When it was made")
UPDATED = means("When it was changed last")
TITLE = means("The title. It may be empty")
ARCHIVED = means("Whether the thread is in the archive")
PINNED = means("Whether the thread stands above the others in the list")
THREAD = means("The thread that this is about")
CURSOR = means("What the client has once it has applied this. To be sent with the next attach")
TIME = means("The server's time")


# ------------------------------------------------------------------------------------------------------------ rows


class ErrorObject(TypedDict):
    """What went wrong, in the same form everywhere."""

    code: Annotated[Code, means("What went wrong, for programs. A server of another version may have other codes, too")]
    status: Annotated[int, means("The same as an HTTP status")]
    message: Annotated[str, means("What went wrong, in a sentence for people")]
    retryable: Annotated[bool, means("Whether the same may work if it is tried again")]
    retry_after: NotRequired[Annotated[float, means("Seconds to wait before it is tried again")]]
    detail: NotRequired[Annotated[dict[str, Any], means("`field`: which one is wrong. `limit`: what was exceeded")]]


class ThreadRow(TypedDict):
    """A thread's own row."""

    id: Annotated[Id, means("The thread's id")]
    version: Annotated[int, means("The thread's version at which this row changed last")]
    title: Annotated[str, TITLE]
    model: Annotated[str, means("The model that answers in this thread. Empty: the server's choice")]
    system_prompt: Annotated[str, means("Instructions that the model gets before everything that is said")]
    archived: Annotated[bool, ARCHIVED]
    pinned: Annotated[bool, PINNED]
    head: Annotated[Id | None, means("The last message of the path. The path is its ancestors and itself")]
    created_at: Annotated[Moment, CREATED]
    updated_at: Annotated[Moment, UPDATED]


class MessageRow(TypedDict):
    """A message. Without ``text`` and ``reasoning`` the client keeps what it has, cut to the lengths where they are
    there."""

    id: Annotated[Id, means("The message's id")]
    parent: Annotated[Id | None, means("The message before it. Null: it is a first one, or waits")]
    after: Annotated[Id | None, means("While it waits: the message after which it was written")]
    siblings: Annotated[list[Id], means("The messages with the same parent, the oldest first, itself among them")]
    role: Annotated[Literal["user", "assistant"], means("Who wrote it: the user, or a model")]
    author: Annotated[str, means("The name of the model or agent that wrote it")]
    status: Annotated[
        Literal["queued", "unqueued", "streaming", "complete", "cut", "failed"],
        means(
            "`queued`: it waits. `unqueued`: it was taken back. `streaming`: it is being written.",
            "`complete`: it is whole. `cut`: it was stopped, or broke off. `failed`: `error` says why",
        ),
    ]
    error: Annotated[ErrorObject | None, means("Why it failed")]
    text: NotRequired[Annotated[str, means("Its text: Markdown. It replaces what the client has")]]
    reasoning: NotRequired[Annotated[str, means("What the model thought before it answered")]]
    text_length: NotRequired[Annotated[int, means("Characters (code points) of its text")]]
    reasoning_length: NotRequired[Annotated[int, means("Characters (code points) of its reasoning")]]
    reasoning_ms: NotRequired[Annotated[int, means("How long the model thought, in milliseconds")]]
    run: Annotated[Id | None, means("The run that writes it; of a user's message, the run that answers it first")]
    seq: Annotated[int, means("How much of its run the text holds: everything up to the part of this number")]
    version: Annotated[int, means("The thread's version at which this row changed last")]
    created_at: Annotated[Moment, CREATED]
    updated_at: Annotated[Moment, UPDATED]


class RunRow(TypedDict):
    """A run: one generation, which may write several messages."""

    id: Annotated[Id, means("The run's id")]
    prompt: Annotated[Id, means("The message that it answers")]
    messages: Annotated[list[Id], means("The answers that it writes")]
    state: Annotated[RunState, means("Where it stands. The last four are ends")]
    place: Annotated[int | None, means("Its place in the thread's queue, from 1. Null: it does not wait")]
    model: Annotated[str, means("The model that was asked for. Empty: the server's choice")]
    seq: Annotated[int, means("Up to the part of this number its messages' rows hold the text")]
    error: Annotated[ErrorObject | None, means("Why it failed; or `no_worker`, while it waits for one")]
    tokens_in: Annotated[int | None, means("Tokens of the prompt. Null: not known")]
    tokens_out: Annotated[int | None, means("Tokens of the answers. Null: not known")]
    left_out: Annotated[int, means("So many turns of the path had no room in the prompt")]
    queued_at: Annotated[Moment, means("When it began to wait")]
    started_at: Annotated[Moment | None, means("When a worker began with it")]
    first_token_at: Annotated[Moment | None, means("When the model said its first word. Known once the run has ended")]
    finished_at: Annotated[Moment | None, means("When it ended. Null: it has not")]
    version: Annotated[int, means("The thread's version at which this row changed last")]


class InboxItem(TypedDict):
    """A thread as the list of threads shows it."""

    id: Annotated[Id, means("The thread's id")]
    version: Annotated[int, means("The inbox's version at which this item changed last")]
    title: Annotated[str, TITLE]
    status: Annotated[Literal["idle", "queued", "running"], means("Whether an answer is being written, or waits")]
    unread: Annotated[bool, means("Whether an answer has ended since the thread was last read")]
    archived: Annotated[bool, ARCHIVED]
    pinned: Annotated[bool, PINNED]
    updated_at: Annotated[Moment, means("When something was last said or changed in the thread")]


class FoundItem(InboxItem):
    """A thread that was found by a search."""

    excerpt: NotRequired[Annotated[str, means("What a message says around the words that were looked for")]]


class User(TypedDict):
    """Who is signed in."""

    id: Annotated[str, means("The user's id")]
    name: Annotated[str, means("The user's name. Guests have none")]
    guest: Annotated[bool, means("Whether this is a guest, who has no account")]


class Limits(TypedDict):
    """What the server allows."""

    frame: Annotated[int, means("Bytes of a frame")]
    message: Annotated[int, means("Bytes of a message that is sent, in UTF-8")]
    window: Annotated[int, means("So many messages come with an attach that has no cursor")]
    queued: Annotated[int, means("So many runs of a user may wait")]


# ---------------------------------------------------------------------------------------------------------- events


class Welcome(TypedDict):
    """The first frame: who is signed in, and what is allowed."""

    type: Annotated[Literal["welcome"], TYPE]
    protocol: Annotated[Literal["rejoin.v1"], means("The protocol's name and version")]
    user: Annotated[User, means("Who is signed in")]
    limits: Annotated[Limits, means("What the server allows")]
    models: Annotated[list[str], means("The models that may be asked for, the best first")]
    server_time: Annotated[Moment, TIME]


Change = TypedDict(
    "Change",
    {
        "type": Annotated[Literal["change"], TYPE],
        "thread": Annotated[Id, THREAD],
        "from": Annotated[
            int, means("The version after which these rows changed. 0: drop all that you have, and begin anew")
        ],
        "to": Annotated[int, means("The version up to which they changed")],
        "row": NotRequired[Annotated[ThreadRow, means("The thread's own row, if it has changed")]],
        "messages": Annotated[list[MessageRow], means("The messages that have changed, as they are now")],
        "runs": Annotated[list[RunRow], means("The runs that have changed, as they are now")],
        "cursor": Annotated[str, CURSOR],
    },
)
Change.__doc__ = "What has changed in a thread between two of its versions. Rows are applied by their ids."
Delta = TypedDict(
    "Delta",
    {
        "type": Annotated[Literal["delta"], TYPE],
        "thread": Annotated[Id, THREAD],
        "run": Annotated[Id, means("The run that writes")],
        "from": Annotated[int, means("The number of the part after which these follow")],
        "to": Annotated[int, means("The number of the last one of these parts")],
        "parts": Annotated[
            list[list[Any]],
            means(
                'Each is a list that begins with its kind and a message: `["text", message, "…"]`. Skip unknown kinds'
            ),
        ],
        "cursor": Annotated[str, CURSOR],
    },
)
Delta.__doc__ = "What was said since, of a run that is running: text to append."
InboxEvent = TypedDict(
    "InboxEvent",
    {
        "type": Annotated[Literal["inbox"], TYPE],
        "from": Annotated[
            int, means("The version after which these items changed. 0: drop all that you have, and begin anew")
        ],
        "to": Annotated[int, means("The version up to which they changed")],
        "items": Annotated[list[InboxItem], means("The items that have changed, as they are now")],
        "removed": Annotated[list[Id], means("The threads that are no longer there")],
        "older": NotRequired[Annotated[Literal[True], means("There are older items, which `search` brings")]],
        "cursor": Annotated[str, CURSOR],
    },
)
InboxEvent.__doc__ = (
    "What has changed in the list of threads between two of its versions. Items are applied by their ids."
)


class CaughtUp(TypedDict):
    """The client has everything that was there. What follows is live."""

    type: Annotated[Literal["caught_up"], TYPE]
    thread: NotRequired[Annotated[Id, THREAD]]
    inbox: NotRequired[Annotated[Literal[True], means("This is about the inbox, and no thread")]]
    cursor: Annotated[str, CURSOR]


class Gone(TypedDict):
    """The thread was deleted, or is not the user's (any more). Nothing more comes of it."""

    type: Annotated[Literal["gone"], TYPE]
    thread: Annotated[Id, THREAD]
    code: Annotated[Code, means("Why: `not_found`")]


class Reply(TypedDict):
    """A command was done."""

    type: Annotated[Literal["reply"], TYPE]
    id: Annotated[Id, means("The command's id")]
    result: Annotated[dict[str, Any], means("The thread's `version` after it, and its `change`; or what was asked for")]


class ErrorEvent(ErrorObject):
    """A command was refused, or a stream ends."""

    type: Annotated[Literal["error"], TYPE]
    id: Annotated[str | None, means("The command's id. Null: it had none, or this is about no command")]


class Heartbeat(TypedDict):
    """A sign of life. On a websocket it is to be answered by ``ack``."""

    type: Annotated[Literal["heartbeat"], TYPE]
    n: Annotated[int, means("Its number")]
    server_time: Annotated[Moment, TIME]


Event = Welcome | Change | Delta | InboxEvent | CaughtUp | Gone | Reply | ErrorEvent | Heartbeat
