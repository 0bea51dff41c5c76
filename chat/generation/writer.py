"""The writer: one task per worker that writes the parts of all its runs to the run log, many runs in one round trip.

Group commit: what has come in since the last flush goes out together. First parts go at once; the pause between two
flushes grows with what the last one cost, so that latency is low when idle and cost is low when busy. Each append is
published to the thread's group in the same round trip when run log and channel layer share a Redis.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chat.generation.stream import Stream
from chat.live import topics
from chat.live.publish import publish
from chat.replication.batches import delta_frame, group_batches
from chat.runlog.base import Append, Batch, Publish, RunLog, RunLogUnavailable, Status

log = logging.getLogger(__name__)

PAUSE_LEAST = 0.002
PAUSE_COST = 4.0
"""The pause after a flush: this many times what it cost, at least PAUSE_LEAST seconds, at most the setting."""
AWAY_LEAST, AWAY_MOST = 0.1, 1.0
"""Seconds until a run log that is away is tried again."""
CONFIRM = 0.25
"""Seconds until a stream that waits for its lease is looked at again."""
RUNS_AT_ONCE = 250


class Writer:
    """``renew(stream)`` confirms the lease in the database: nothing is seeded before it has."""

    def __init__(
        self,
        run_log: RunLog,
        layer: Any,
        renew: Callable[[Stream], Awaitable[bool]],
        *,
        pause: float,
        tail: float,
        cap: int,
    ) -> None:
        self._log = run_log
        self._layer = layer
        self._renew = renew
        self._pause = pause
        self._tail = tail
        self._cap = cap
        self._streams: dict[Stream, None] = {}
        self._dirty: dict[Stream, None] = {}
        self._wake = asyncio.Event()
        self._publishes = run_log.publishes is not None and run_log.publishes == getattr(layer, "address", None)
        self.away = False
        """The run log could not be reached at the last flush."""

    def add(self, stream: Stream) -> None:
        """From now on the stream's parts are written."""
        self._streams[stream] = None
        self.written(stream)

    def remove(self, stream: Stream) -> None:
        """Write nothing more of this stream. Repeatable."""
        self._streams.pop(stream, None)
        self._dirty.pop(stream, None)

    def written(self, stream: Stream) -> None:
        """Something was put into the stream."""
        self._dirty[stream] = None
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        loop = asyncio.get_running_loop()
        clock = loop.time
        away = 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            begun = clock()
            try:
                await self.flush()
                self.away, away = False, 0.0
                if self._dirty:  # streams whose lease has to be confirmed first
                    loop.call_later(CONFIRM, self._wake.set)
                await asyncio.sleep(min(self._pause, max(PAUSE_LEAST, PAUSE_COST * (clock() - begun))))
            except RunLogUnavailable:
                if not self.away:
                    log.warning("action=run_log_away")
                self.away, away = True, min(AWAY_MOST, max(AWAY_LEAST, away * 2))
                await asyncio.sleep(away)
                self._wake.set()

    async def flush(self) -> None:
        """Write what is there now. Raises RunLogUnavailable; then all of it is still to be written."""
        now = asyncio.get_running_loop().time()
        dirty, self._dirty = self._dirty, {}
        try:
            ready: list[Stream] = []
            for stream in dirty:
                if stream not in self._streams or stream.lost.is_set():
                    continue
                stream.cut(now)
                if stream.full:
                    stream.trim(now, self._tail, self._cap)
                if now >= stream.deadline:
                    self._dirty[stream] = None  # the lease may be another's by now: wait for its renewal
                elif stream.lost_log:
                    await self._seed(stream, now)
                elif stream.unsent:
                    ready.append(stream)
            for start in range(0, len(ready), RUNS_AT_ONCE):
                await self._append(ready[start : start + RUNS_AT_ONCE], now)
        except BaseException:
            self._dirty = {**dirty, **self._dirty}
            raise

    async def _append(self, streams: Sequence[Stream], now: float) -> None:
        appends, hints = [], []
        for stream in streams:
            batches = list(stream.unsent)
            found = self._hints(stream, batches)
            wired = [Publish(*self._layer.wire(*hint)) for hint in found] if self._publishes else []
            trim = stream.trim(now, self._tail, self._cap)
            appends.append(Append(stream.run, stream.lease, batches, wired, trim))
            hints.append(found)
        answers = await self._log.append(appends)
        send = []
        for stream, append, answer, found in zip(streams, appends, answers, hints, strict=True):
            if answer.stop:
                stream.stopping.set()
            if answer.status is Status.OK:
                stream.appended(append.batches[-1].to, now)
                send += found
            elif answer.status is Status.LOST:
                stream.lost_log = True
                self.written(stream)
            else:
                log.info("action=run_fenced run=%s lease=%d", stream.run, stream.lease)
                stream.give_up()
            if stream.waiting or stream.full:
                self.written(stream)
        if not self._publishes and send:
            await publish(self._layer, send)

    async def _seed(self, stream: Stream, now: float) -> None:
        """The log is missing or behind: bring it to where we are, if the lease is still ours."""
        if not await self._renew(stream):
            if not stream.lost.is_set():
                self._dirty[stream] = None
            return
        batches = stream.kept()
        status = await self._log.seed(stream.run, stream.lease, stream.first, batches)
        if status is Status.FENCED:
            stream.give_up()
            return
        hints = self._hints(stream, list(stream.unsent))
        stream.appended(batches[-1].to if batches else stream.first, now)
        if stream.full:
            self.written(stream)
        if hints:
            await publish(self._layer, hints)

    def _hints(self, stream: Stream, batches: Sequence[Batch]) -> list[tuple[str, dict[str, Any]]]:
        topic = topics.thread(stream.thread)
        return [
            (
                topic,
                {
                    "type": "delta",
                    "topic": topic,
                    "run": stream.run,
                    "from": frm,
                    "to": to,
                    "frame": delta_frame(stream.thread, stream.run, frm, to, parts),
                },
            )
            for frm, to, parts in group_batches(batches)
        ]
