"""Token buckets: how often somebody may do something. Pure: ``now`` is passed in, in seconds."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock

from chat.errors import RateLimited


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


class Buckets:
    """One for each of those who do it. Any thread may call."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, Bucket] = {}
        self._lock = Lock()

    def take(self, who: Hashable, now: float, rate: float, burst: float, count: int = 1) -> None:
        """Count so many; ``rate`` and ``burst`` are those of a new bucket. Raises RateLimited, having counted none."""
        with self._lock:
            wait = self._buckets.setdefault(who, Bucket(rate, burst, burst, now)).take(now, count)
        if wait:
            raise RateLimited(retry_after=round(wait, 3))

    def forget(self, now: float) -> None:
        """Drop those that are as good as new. Called now and then, or they would pile up."""
        with self._lock:
            self._buckets = {who: bucket for who, bucket in self._buckets.items() if not bucket.full(now)}
