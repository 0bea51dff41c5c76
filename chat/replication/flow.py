"""Flow control of one socket, the application's own: neither servers nor proxies can be trusted to push back.

Heartbeats go out after so many bytes and after so much silence; each is answered by an ack. With four unanswered the
socket is paused, until an ack comes; a socket that stays paused is closed. Pure: ``now`` is passed in, in seconds.

Their numbers rise by steps of chance: who does not read can't answer them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from chat.protocol import HEARTBEAT_BYTES, HEARTBEAT_SILENCE, MAX_PAUSE, MAX_UNANSWERED

STEP = 1 << 20
"""A number is so much above the one before, at most: those of a year fit a float."""


@dataclass
class Flow:
    """The numbers of the heartbeats that were sent and not answered are in ``unanswered``, oldest first."""

    last: float
    """When something was last sent."""
    rng: random.Random
    number: int = 0
    unanswered: list[int] = field(default_factory=list)
    size: int = 0
    """Bytes sent since the last heartbeat."""
    paused_at: float | None = None

    def sent(self, size: int, now: float) -> bool:
        """A frame was sent. Returns whether a heartbeat is due."""
        self.last = now
        self.size += size
        return self.size >= HEARTBEAT_BYTES

    def silent(self, now: float) -> bool:
        """Whether a heartbeat is due for silence."""
        return now - self.last >= HEARTBEAT_SILENCE

    def beat(self, now: float) -> int:
        """A heartbeat is sent: returns its number. Look at :attr:`paused` afterwards."""
        self.number += self.rng.randint(1, STEP)
        self.unanswered.append(self.number)
        self.size = 0
        self.last = now
        if len(self.unanswered) >= MAX_UNANSWERED and self.paused_at is None:
            self.paused_at = now
        return self.number

    def ack(self, n: int) -> bool:
        """Heartbeats up to ``n`` were answered. False, and nothing happens, if there was none of that number, or it was
        answered before. Look at :attr:`paused` afterwards."""
        if n not in self.unanswered:
            return False
        del self.unanswered[: self.unanswered.index(n) + 1]
        if len(self.unanswered) < MAX_UNANSWERED:
            self.paused_at = None
        return True

    @property
    def paused(self) -> bool:
        return self.paused_at is not None

    def given_up(self, now: float) -> bool:
        """Whether the pause has lasted too long."""
        return self.paused_at is not None and now - self.paused_at >= MAX_PAUSE
