"""A token bucket: how often somebody may do something. Pure: ``now`` is passed in, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Bucket:
    """``rate`` per second on average, ``burst`` at once."""

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
