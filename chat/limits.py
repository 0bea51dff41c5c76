"""How much of a web process one user, or one stranger, may have. Each process has one (chat/process.py), and the edges
ask it.

It counts by itself: behind two processes a user has twice as much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from chat import conf
from chat.buckets import Buckets
from chat.errors import RateLimited

CLOSED_SOON = 1.0
"""Seconds after which one of one's streams may have ended."""


class Limits:
    """``clock``: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._commands = Buckets()
        self._open: Counter[Hashable] = Counter()

    def command(self, user_id: Any, count: int = 1) -> None:
        """Count what a user asks for: a command on a socket, or an HTTP request with so many. Raises RateLimited, and
        then none was counted."""
        self._commands.take(user_id, self._clock(), conf.RATE, conf.BURST, count)

    @contextmanager
    def stream(self, user_id: Any) -> Iterator[None]:
        """Inside, a user has one more stream or long poll open here. Raises RateLimited at REJOIN_MAX_STREAMS."""
        with self._one_more(("stream", user_id), conf.MAX_STREAMS):
            yield

    @contextmanager
    def socket(self, user_id: Any) -> Iterator[None]:
        """Inside, a user has one more socket open here. Raises RateLimited at REJOIN_MAX_SOCKETS."""
        with self._one_more(("socket", user_id), conf.MAX_SOCKETS):
            yield

    @contextmanager
    def _one_more(self, what: Hashable, most: int) -> Iterator[None]:
        if self._open[what] >= most:
            raise RateLimited("Too many streams are open. Close one first.", retry_after=CLOSED_SOON)
        self._open[what] += 1
        try:
            yield
        finally:
            self._open[what] -= 1
            if not self._open[what]:
                del self._open[what]

    def forget(self) -> None:
        """Drop what counts for nothing any more. Called now and then."""
        self._commands.forget(self._clock())
