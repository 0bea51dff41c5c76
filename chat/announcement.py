"""What others should hear of after a commit: hints only, so that a lost announcement loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Announcement:
    """Made by whoever commits, told by :mod:`chat.replication.announce`."""

    thread: UUID | None = None
    version: int = 0
    user: Any = None
    inbox_version: int = 0
    look: bool = False
    """A run was queued, or a thread became free: workers may find something."""
    stop: UUID | None = None
    """A stop was recorded for this run."""
