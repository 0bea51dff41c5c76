"""What a client's copies of a thread and of the inbox have in common: where they are, and how they are watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Literal, Self, TypeVar
from weakref import WeakSet

from chat import errors

Effect = Literal["applied", "dropped", "gap"]
"""What an event did. A ``gap`` changed nothing: something is missing before it, and who owns the attachment attaches
again."""


class Closed(Exception):
    """Nothing more will come: the client was closed, or does not follow this."""


class Replica:
    """A copy that the server's events keep up to date.

    ``async for _ in replica`` goes round at once and then whenever it has changed; changes that come while the body
    runs are one round. It ends when nothing more can come, and raises what ended the client, if anything did.
    """

    def __init__(self) -> None:
        self.version = 0
        self.cursor: str | None = None
        """The cursor of the last event that was applied; None before the first."""
        self.caught_up = False
        """Since it was attached last, everything that existed then has come."""
        self.whole = False
        """Everything of it is wanted, not only what is seen first."""
        self.gone: str | None = None
        """The error's code, when it is not ours to read (any more)."""
        self.gaps = 0
        """How often the server sent what did not fit: never, on an ordered transport."""
        self._watchers: WeakSet[asyncio.Event] = WeakSet()
        self._over = True
        self._error: BaseException | None = None

    def apply(self, event: dict[str, Any]) -> Effect:
        """Take one event of the protocol. Events of an unknown type are dropped."""
        effect = self._take(event)
        self.gaps += effect == "gap"
        if effect == "applied":
            self.changed()
        return effect

    def _take(self, event: dict[str, Any]) -> Effect:
        raise NotImplementedError

    def __aiter__(self) -> Rounds[Self]:
        return Rounds(self)

    async def until(self, predicate: Callable[[], Any]) -> Self:
        """Returns when it holds: looks now, and after each change. Raises what ended the client; Closed or the error
        of ``gone`` if nothing more can come."""
        async for _ in self:
            if predicate():
                return self
        raise Closed if self.gone is None else errors.from_code(self.gone)

    # the client's side -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Events will come from now on."""
        self._over, self._error = False, None

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come. Whoever waits for more gets the error, if there is one."""
        self._over, self._error = True, error
        self.changed()

    def lose(self, code: str) -> None:
        """It is deleted, or not ours: nothing is held any more."""
        self.gone = code
        self.end()

    def changed(self) -> None:
        """Wake who watches."""
        for news in self._watchers:
            news.set()


R = TypeVar("R", bound=Replica)


class Rounds(Generic[R]):
    """The iterator of :class:`Replica`."""

    def __init__(self, replica: R) -> None:
        self._replica = replica
        self._news = asyncio.Event()
        self._news.set()
        replica._watchers.add(self._news)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        replica = self._replica
        if not self._news.is_set() and replica._over:
            if replica._error is not None:
                raise replica._error
            raise StopAsyncIteration
        await self._news.wait()
        self._news.clear()
        if replica._error is not None:
            raise replica._error
        return replica
