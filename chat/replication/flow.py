"""Flow control of one socket, the application's own: neither servers nor proxies can be trusted to push back.

Heartbeats go out after so many bytes and after so much silence; each is answered by an ack. With four unanswered the
socket is paused, until an ack comes; a socket that stays paused is closed. Pure: ``now`` is passed in, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from chat.protocol import HEARTBEAT_BYTES, HEARTBEAT_SILENCE, MAX_PAUSE, MAX_UNANSWERED


@dataclass
class Flow:
    """``beats`` heartbeats were sent, up to ``acked`` were answered."""

    last: float
    """When something was last sent."""
    beats: int = 0
    acked: int = 0
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
        self.beats += 1
        self.size = 0
        self.last = now
        if self.beats - self.acked >= MAX_UNANSWERED and self.paused_at is None:
            self.paused_at = now
        return self.beats

    def ack(self, n: int) -> bool:
        """Heartbeats up to ``n`` were answered. Returns whether this ends a pause. One that was not sent yet counts as
        the last that was."""
        self.acked = max(self.acked, min(n, self.beats))
        if self.paused_at is not None and self.beats - self.acked < MAX_UNANSWERED:
            self.paused_at = None
            return True
        return False

    @property
    def paused(self) -> bool:
        return self.paused_at is not None

    def given_up(self, now: float) -> bool:
        """Whether the pause has lasted too long."""
        return self.paused_at is not None and now - self.paused_at >= MAX_PAUSE


@dataclass
class Bucket:
    """A token bucket: ``rate`` per second on average, ``burst`` at once."""

    rate: float
    burst: float
    level: float
    at: float

    def take(self, now: float, count: int = 1) -> float:
        """Take so many. Returns 0.0, or, having taken none, the seconds until there are as many."""
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level >= count:
            self.level -= count
            return 0.0
        return (count - self.level) / self.rate

    def full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        return self.level + (now - self.at) * self.rate >= self.burst
