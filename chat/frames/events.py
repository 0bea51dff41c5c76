"""Events: what a server sends, and the rows in it."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on


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
