"""How much of a web process one user may have. Each process has one (chat/process.py), and the edges ask it.

It counts by itself: behind two processes a user has twice as much.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from chat import conf
from chat.buckets import Bucket
from chat.errors import RateLimited

CLOSED_SOON = 1.0
"""Seconds after which one of one's streams may have ended."""


class Limits:
    """Called in the event loop, whose time it counts by."""

    def __init__(self) -> None:
        self._commands: dict[Any, Bucket] = {}
        self._open: Counter[tuple[str, Any]] = Counter()

    def command(self, user_id: Any, count: int = 1) -> None:
        """Count what a user asks for: a command on a socket, or an HTTP request with so many. Raises RateLimited, and
        then none was counted."""
        now = asyncio.get_running_loop().time()
        bucket = self._commands.setdefault(user_id, Bucket(conf.RATE, conf.BURST, conf.BURST, now))
        if wait := bucket.take(now, count):
            raise RateLimited(retry_after=round(wait, 3))

    def stream(self, user_id: Any) -> AbstractContextManager[None]:
        """Inside, a user has one more stream or long poll open here. Raises RateLimited at REJOIN_MAX_STREAMS."""
        return self._one_more(("stream", user_id), conf.MAX_STREAMS)

    def socket(self, user_id: Any) -> AbstractContextManager[None]:
        """Inside, a user has one more socket open here. Raises RateLimited at REJOIN_MAX_SOCKETS."""
        return self._one_more(("socket", user_id), conf.MAX_SOCKETS)

    @contextmanager
    def _one_more(self, what: tuple[str, Any], most: int) -> Iterator[None]:
        if self._open[what] >= most:
            raise RateLimited("Too many streams are open. Close one first.", retry_after=CLOSED_SOON)
        self._open[what] += 1
        try:
            yield
        finally:
            self._open[what] -= 1
            if not self._open[what]:
                del self._open[what]

    def forget(self, now: float) -> None:
        """Drop what counts for nothing any more. Called now and then, or it would pile up."""
        self._commands = {user: bucket for user, bucket in self._commands.items() if not bucket.full(now)}
