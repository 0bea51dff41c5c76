"""Lanes: where costly work of one kind is done, so that it keeps nobody else waiting.

In a process so much of it is done at once, and of each user one piece, in the order in which they asked. Who waits
holds no thread. Each process has a few (chat/process.py), and the edges use them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from chat.errors import RateLimited
from chat.protocol import MAX_COSTLY
from chat.tasks import to_its_end

T = TypeVar("T")

RETRY_AFTER = 1.0
"""Seconds after which a piece of work is likely to be done."""


class Lane:
    """``width``: how much is done at once."""

    def __init__(self, width: int) -> None:
        self._free = asyncio.Semaphore(width)
        self._turns: dict[Any, asyncio.Lock] = {}
        self._there: Counter[Any] = Counter()

    async def do(self, user_id: Any, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``work()``, which begins when it is its turn. Who is cancelled meanwhile leaves the lane only
        when what has begun is done, for no thread can be stopped. Raises RateLimited when the user has MAX_COSTLY here.
        """
        if self._there[user_id] >= MAX_COSTLY:
            raise RateLimited("Too much of what you asked for is waiting for its turn.", retry_after=RETRY_AFTER)
        self._there[user_id] += 1
        try:
            async with self._turns.setdefault(user_id, asyncio.Lock()), self._free:
                return await to_its_end(work())
        finally:
            self._there[user_id] -= 1
            if not self._there[user_id]:
                del self._there[user_id], self._turns[user_id]
