"""Virtual time: an event loop that never waits, and faulty parts made of the real ones.

The loop's clock jumps to whatever is due next, so a case of minutes takes a second, and the same seed gives the same
case. Database and run log are the real ones behind wrappers that delay, lose answers and fail as real ones do.
"""

from __future__ import annotations

import asyncio
import copy
import datetime
import random
import selectors
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import OperationalError
from django.db.models import DateTimeField, Value
from django.utils import timezone

from chat.runlog.base import RunLogUnavailable
from chat.runlog.memory import MemoryRunLog

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Waits by moving the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everything waits, and nothing is due")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time (seconds)."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *args: Any) -> Any:
        """Done at once. Django's handler runs what is synchronous so, and closes its thread's connections with each
        request: it gets a thread that has none."""
        future = self.create_future()
        try:
            future.set_result(_handlers_thread.submit(function, *args).result())
        except Exception as error:
            future.set_exception(error)
        return future


class VirtualNow(Value):
    """The wall clock in virtual time, as the database's expression. ``wrong``: seconds by which somebody has set it
    forward, or back."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._start = timezone.now()
        self.wrong = 0.0
        super().__init__(None, output_field=DateTimeField())

    @property
    def value(self) -> datetime.datetime:
        return self._start + datetime.timedelta(seconds=self._loop.time() + self.wrong)

    @value.setter
    def value(self, value: None) -> None:
        pass


_thread, _handlers_thread = ThreadPoolExecutor(1), ThreadPoolExecutor(1)


def in_database_thread(function: Callable[..., T], *args: Any) -> T:
    """Call it at once, in the one thread that has the connection (Django gives every task of a loop another one)."""
    return _thread.submit(function, *args).result()


class Owner:
    """A process of the deployment: dead or alive, or stalled until some time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stalled_until = 0.0

    async def gate(self, delay: float) -> None:
        """What every call passes: it takes a moment, waits while stalled, and never returns to the dead."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(delay)
        while self.stalled_until > loop.time():
            await asyncio.sleep(self.stalled_until - loop.time())
        if not self.alive:
            raise asyncio.CancelledError


class Faults:
    """What is wrong with the world at present."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.drop = self.double = self.late = 0.0
        self.database_away = self.log_away = False
        self.lost_answers = 0.0
        """How often a call is done although its answer gets lost."""


class FaultyDatabase:
    """The database as one process sees it: each call a transaction, done in one moment."""

    def __init__(self, owner: Owner, faults: Faults, judge: Callable[..., Any]) -> None:
        self._owner, self._faults, self._judge = owner, faults, judge

    async def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """``judge(function, args)`` does it, and looks at what became of it."""
        rng = self._faults.rng
        await self._owner.gate(rng.uniform(0.0005, 0.004))
        if self._faults.database_away:
            raise OperationalError("the database is away")
        result = in_database_thread(self._judge, function, args)
        if rng.random() < self._faults.lost_answers:
            raise OperationalError("the answer got lost")
        await self._owner.gate(rng.uniform(0, 0.002))
        return result


class FaultyLog:
    """The run log as one process sees it. ``store`` is what all share: emptied, cut short or away as a Redis can be."""

    publishes = None

    def __init__(self, store: MemoryRunLog, owner: Owner, faults: Faults) -> None:
        self._store, self._owner, self._faults = store, owner, faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any) -> Any:
            rng = self._faults.rng
            await self._owner.gate(rng.choice((0.0002, 0.001, 0.004, 0.05)))
            if self._faults.log_away:
                raise RunLogUnavailable
            result = await method(*args)
            if rng.random() < self._faults.lost_answers:
                raise RunLogUnavailable
            await self._owner.gate(0)
            return result

        return call


def fail_over(store: MemoryRunLog, rng: random.Random) -> None:
    """A replica takes over that had not heard the last writes."""
    for run in store._runs.values():
        for _ in range(min(len(run.batches), rng.randint(1, 4))):
            run.last = run.batches.pop().frm


def empty(store: MemoryRunLog) -> None:
    """A restart without persistence."""
    store._runs.clear()
    store._stops.clear()


class FaultyLayer:
    """A channel layer by Channels' specification, whose messages may be lost, doubled and late."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._groups: dict[str, set[str]] = defaultdict(set)
        self._names = 0

    async def new_channel(self, prefix: str = "specific") -> str:
        self._names += 1
        name = f"{prefix}.{self._names}"
        self._queues[name] = asyncio.Queue()
        return name

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self._queues[channel].get()

    async def group_add(self, group: str, channel: str) -> None:
        self._groups[group].add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._groups[group].discard(channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        faults, rng = self._faults, self._faults.rng
        loop = asyncio.get_running_loop()
        for channel in sorted(self._groups[group]):
            if rng.random() < faults.drop:
                continue
            for _ in range(2 if rng.random() < faults.double else 1):
                delay = rng.uniform(0.05, 3) if rng.random() < faults.late else rng.uniform(0.0005, 0.004)
                loop.call_later(delay, self._queues[channel].put_nowait, copy.deepcopy(message))
