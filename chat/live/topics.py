"""The channel layer's groups, by what is told there."""

from __future__ import annotations

from typing import Any
from uuid import UUID

WORKERS = "workers"
"""All workers."""


def thread(thread_id: UUID | str) -> str:
    """The viewers of a thread."""
    return f"thread.{thread_id}"


def inbox(user_id: Any) -> str:
    """The viewers of a user's inbox."""
    return f"inbox.{user_id}"


def of_thread(topic: str) -> UUID | None:
    """The thread of a topic, if it is a thread's."""
    kind, _, name = topic.partition(".")
    return UUID(name) if kind == "thread" else None


def of_inbox(topic: str) -> str | None:
    """The user's id, as text, of a topic, if it is an inbox's."""
    kind, _, name = topic.partition(".")
    return name if kind == "inbox" else None
