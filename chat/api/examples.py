"""The examples of the OpenAPI document: one small thread."""

from __future__ import annotations

from typing import Any

from chat.frames import InboxItem, MessageRow, RunRow, ThreadRow, Welcome, encode

COMMAND, THREAD, MESSAGE, RUN, ANSWER = (f"0198f3a2-7c10-7000-8000-00000000000{n}" for n in range(1, 6))
MADE_BY_CLIENTS = (COMMAND, THREAD, MESSAGE, RUN)
"""What stands for such an id in the example of a body: each document has others."""
RETRY_AFTER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
BEGAN, ENDED = "2026-01-02T10:00:00.000Z", "2026-01-02T10:00:09.250Z"

WELCOME: Welcome = {
    "type": "welcome",
    "protocol": "rejoin.v1",
    "user": {"id": "7", "name": "ann", "guest": False},
    "limits": {"frame": 65536, "message": 32768, "window": 50, "queued": 20},
    "models": ["demo"],
    "server_time": ENDED,
}
ITEM: InboxItem = {
    "id": THREAD,
    "version": 12,
    "title": "Rivers",
    "status": "idle",
    "unread": True,
    "archived": False,
    "pinned": False,
    "updated_at": ENDED,
}
THREAD_ROW: ThreadRow = {
    "id": THREAD,
    "version": 5,
    "title": "Rivers",
    "model": "",
    "system_prompt": "",
    "archived": False,
    "pinned": False,
    "head": ANSWER,
    "created_at": BEGAN,
    "updated_at": ENDED,
}
MESSAGE_ROW: MessageRow = {
    "id": ANSWER,
    "parent": MESSAGE,
    "after": None,
    "siblings": [ANSWER],
    "role": "assistant",
    "author": "demo",
    "status": "complete",
    "text": "In mountains.",
    "reasoning": "",
    "text_length": 13,
    "reasoning_length": 0,
    "reasoning_ms": 0,
    "run": RUN,
    "seq": 1000004,
    "error": None,
    "version": 7,
    "created_at": BEGAN,
    "updated_at": ENDED,
}
RUN_ROW: RunRow = {
    "id": RUN,
    "prompt": MESSAGE,
    "messages": [ANSWER],
    "state": "completed",
    "place": None,
    "model": "demo",
    "seq": 1000004,
    "error": None,
    "tokens_in": 9,
    "tokens_out": 3,
    "left_out": 0,
    "queued_at": BEGAN,
    "started_at": BEGAN,
    "first_token_at": BEGAN,
    "finished_at": ENDED,
    "version": 7,
}
DOCUMENT = {"protocol": "rejoin.v1", "thread": THREAD_ROW, "messages": [MESSAGE_ROW], "runs": [RUN_ROW]}
MARKDOWN = (
    "# Rivers\n\n**You** · 2026-01-02 10:00 UTC\n\nWhere do rivers begin?\n\n"
    "**demo** · 2026-01-02 10:00 UTC\n\nIn mountains.\n"
)


# ------------------------------------------------------------------------------------------------------- following

CHANGE: dict[str, Any] = {
    "type": "change",
    "thread": THREAD,
    "from": 5,
    "to": 7,
    "messages": [MESSAGE_ROW],
    "runs": [RUN_ROW],
    "cursor": "7",
}
INBOX: dict[str, Any] = {"type": "inbox", "from": 11, "to": 12, "items": [ITEM], "removed": [], "cursor": "12"}


def _stream(*events: dict[str, Any]) -> str:
    return "".join(f"event: {event['type']}\nid: {event['cursor']}\ndata: {encode(event)}\n\n" for event in events)


THREAD_STREAM = _stream(CHANGE, {"type": "caught_up", "thread": THREAD, "cursor": "7"})
INBOX_STREAM = _stream(INBOX, {"type": "caught_up", "inbox": True, "cursor": "12"})
THREAD_UPDATES = {"events": [CHANGE], "cursor": "7", "more": False}
INBOX_UPDATES = {"events": [INBOX], "cursor": "12", "more": False}
