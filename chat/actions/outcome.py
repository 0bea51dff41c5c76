"""What a verb gives back: the reply's result, and what others should hear of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chat.announcement import Announcement
from chat.models import Thread


@dataclass(frozen=True)
class Outcome:
    """The reply's result, and what to announce. ``result["version"]`` is the thread's version after the command."""

    result: dict[str, Any]
    announcement: Announcement | None = None


def done(thread: Thread, *, look: bool = False, stop: UUID | None = None) -> Outcome:
    """The thread has changed, and its item in the inbox with it. ``look``: workers may find something; ``stop``: a stop
    was recorded for this run."""
    return Outcome(
        {"version": thread.version},
        Announcement(thread.pk, thread.version, thread.owner_id, thread.inbox_version, look, stop),
    )


def nothing(thread: Thread) -> Outcome:
    """It is so already."""
    return Outcome({"version": thread.version})
