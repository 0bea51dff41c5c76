"""The hub: the one place of a process that receives from the channel layer.

It joins a group once however many viewers watch its topic, hands each hint to all of them, and every few seconds has
their cursors compared with the truth, so that a lost hint on a quiet thread is noticed too. Topics are opaque strings;
hints are dicts as sent to the group. Works with any channel layer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol
from weakref import WeakValueDictionary

from chat.tasks import end

log = logging.getLogger(__name__)

GRACE = 0.5
"""Seconds that a hint may be on its way before it counts as lost."""
RETRY = 1.0
"""Seconds until a channel layer that failed is asked again."""


class Listener(Protocol):
    """A viewer. All methods return at once."""

    topic: str

    def hint(self, message: dict[str, Any]) -> None:
        """A message came to the topic's group."""

    def missed(self) -> None:
        """Messages may have got lost."""

    def compare(self, truth: Any) -> None:
        """What the comparison found for the topic (None: nobody may watch it any more)."""

    def overdue(self) -> bool:
        """Whether what the last comparison told has still not come."""


class Hub:
    """``compare(topics)`` returns the truth of each topic that is still there. Runs in one event loop."""

    def __init__(
        self, layer: Any, compare: Callable[[Collection[str]], Awaitable[dict[str, Any]]], interval: float
    ) -> None:
        self._layer = layer
        self._compare = compare
        self._interval = interval
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self._joined: set[str] = set()
        self._channel: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._opening = asyncio.Lock()

    async def join(self, listener: Listener) -> None:
        """From now on the listener hears its topic's hints. A channel layer that fails is asked again by itself."""
        self._listeners[listener.topic].add(listener)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._watch())]
        if listener.topic not in self._joined:
            await self._subscribe(listener.topic)

    async def leave(self, listener: Listener) -> None:
        """The listener hears nothing more. Repeatable."""
        listeners = self._listeners.get(listener.topic)
        if listeners is None:
            return
        listeners.discard(listener)
        if not listeners:
            del self._listeners[listener.topic]
            async with self._of(listener.topic):
                if listener.topic not in self._listeners and listener.topic in self._joined:
                    self._joined.discard(listener.topic)
                    with contextlib.suppress(Exception):
                        await self._layer.group_discard(listener.topic, self._channel)

    async def close(self) -> None:
        """End both tasks and leave all groups."""
        tasks, self._tasks = self._tasks, []
        await end(tasks)
        self._listeners.clear()
        self._joined.clear()
        self._channel = None

    def _of(self, topic: str) -> asyncio.Lock:
        """One joins or leaves a topic at a time: or a leave may overtake the join after it."""
        return self._locks.setdefault(topic, asyncio.Lock())

    async def _subscribe(self, topic: str) -> None:
        async with self._of(topic):
            if topic not in self._listeners:  # the last one has left meanwhile
                return
            try:
                async with self._opening:
                    if self._channel is None:
                        self._channel = await self._layer.new_channel()
                await self._layer.group_add(topic, self._channel)
                self._joined.add(topic)
            except Exception as error:  # whatever the layer's library raises: hints are lost for a while, no more
                log.warning("action=hub_join_failed topic=%s error=%s", topic, type(error).__name__)

    async def _receive(self) -> None:
        many = getattr(self._layer, "receive_many", None)
        while True:
            channel = self._channel
            try:
                if channel is None:
                    await asyncio.sleep(0.05)
                    continue
                messages = await many(channel) if many else [await self._layer.receive(channel)]
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.warning("action=hub_receive_failed error=%s", type(error).__name__)
                await asyncio.sleep(RETRY)
                continue
            if not messages:  # a layer that knows says so
                for listeners in list(self._listeners.values()):
                    for listener in tuple(listeners):
                        listener.missed()
            for message in messages:
                for listener in tuple(self._listeners.get(message.get("topic", ""), ())):
                    try:
                        listener.hint(message)
                    except Exception:  # a hint of another version of the program: the comparison makes up for it
                        log.exception("action=hint_failed topic=%s", message["topic"])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            topics = list(self._listeners)
            for topic in topics:
                if topic not in self._joined and topic in self._listeners:
                    await self._subscribe(topic)
            if not topics:
                continue
            try:
                truth = await self._compare(topics)
            except Exception as error:
                log.warning("action=hub_compare_failed error=%s", type(error).__name__)
                continue
            asked = [(topic, listener) for topic in topics for listener in self._listeners.get(topic, ())]
            for topic, listener in asked:
                listener.compare(truth.get(topic))
            await asyncio.sleep(GRACE)
            late = {topic for topic, listener in asked if listener.overdue()}
            for topic in late:
                if topic in self._listeners:
                    # A layer may have forgotten the group (Redis was emptied): join again, which repeats nothing.
                    await self._subscribe(topic)
