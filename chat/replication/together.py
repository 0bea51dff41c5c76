"""Questions asked together: one answer for all who want to know something at about the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Generic, TypeVar

from chat.tasks import drop_failure

Key = TypeVar("Key")
Value = TypeVar("Value")


class Together(Generic[Key, Value]):
    """``ask(keys)`` is called for all keys that somebody has asked for since it was called last, one call at a time.

    Each gets an answer that was asked for after they came, so nobody is told what was true before.
    """

    def __init__(self, ask: Callable[[Collection[Key]], Awaitable[dict[Key, Value]]]) -> None:
        self._ask = ask
        self._keys: set[Key] = set()
        self._next: asyncio.Task[dict[Key, Value]] | None = None
        self._asking = asyncio.Lock()

    async def get(self, key: Key) -> Value | None:
        """The answer for this key, or None where there is none. Raises what ``ask`` raises."""
        self._keys.add(key)
        if self._next is None:
            self._next = asyncio.create_task(self._ask_next())
            drop_failure(self._next)
        return (await asyncio.shield(self._next)).get(key)

    async def _ask_next(self) -> dict[Key, Value]:
        async with self._asking:
            keys, self._keys, self._next = self._keys, set(), None
            return await self._ask(keys)
