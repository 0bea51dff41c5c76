"""Many answers at once, each read by one viewer or more: what is delivered, what it costs, how late it is."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from benchmarks import meter
from benchmarks.deployment import REJOIN, Deployment
from benchmarks.script import Script
from benchmarks.sse import SseViewer
from benchmarks.viewers import RejoinViewer, StockViewer

RATE = 50
WARM = 2.0
"""Seconds of tokens before the window that is measured."""
START = 0.05
"""Seconds in which an answer is begun, and all before it."""
GRACE = 5.0
"""Seconds that tokens may be late before they count as lost."""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    streams: int
    viewers: int = 1
    """Of each stream."""
    http: bool = False
    """The model is behind HTTP."""
    sse: bool = False
    """The viewers read server-sent events."""

    def __str__(self) -> str:
        name = f"{self.streams} stream{'s' * (self.streams > 1)}, {self.viewers} viewer{'s' * (self.viewers > 1)}"
        return name + (" each" if self.streams > 1 else "") + (", model behind HTTP" if self.http else "")


@dataclass(frozen=True)
class Figures:
    """``delivered``: tokens read once and in order, of those that were said. CPU: seconds per token that was read in
    the window. Latencies: seconds between a token's being due at the model and its being read."""

    delivered: float
    worker: float
    web: float
    redis: float
    p50: float
    p99: float


@dataclass
class Reading:
    """One viewer's part of a line."""

    script: Script
    viewer: RejoinViewer | StockViewer
    run: str = ""

    def reads(self) -> dict[int, float]:
        """When each token was read first. Raises RuntimeError if the text is not what the model said."""
        pieces = self.viewer.pieces(self.run) if isinstance(self.viewer, RejoinViewer) else self.viewer.pieces()
        reads: dict[int, float] = {}
        text = ""
        for at, piece, replaces in pieces:
            text = piece if replaces else text + piece
            for token in piece.split():
                reads.setdefault(int(token), at)
        said = self.script.text()
        if isinstance(self.viewer, RejoinViewer) and not said.startswith(text):
            raise RuntimeError(f"A viewer has another text than the model said: {text[:200]!r}")
        return reads


async def measure(deployment: Deployment, line: Line, sessions: Sequence[str], window: float) -> Figures:
    """Run the line, and measure ``window`` seconds of it."""
    readings = await _begin(deployment, line, sessions, window)
    begin = max(reading.script.begin for reading in readings) + WARM
    if time.monotonic() > begin:
        raise RuntimeError("The answers took too long to begin: is this machine busy with something else?")
    pids = (deployment.worker.pid, deployment.web.pid, deployment.redis.pid)
    gc.collect()
    gc.disable()  # frames pile up here; nothing of it is garbage
    try:
        await asyncio.sleep(begin - time.monotonic())
        since, used = time.monotonic(), [meter.cpu(pid) for pid in pids]
        await asyncio.sleep(begin + window - time.monotonic())
        until, used_then = time.monotonic(), [meter.cpu(pid) for pid in pids]
        await _await_end(readings)
    finally:
        gc.enable()
    counted, delivered, said = 0, 0, 0
    late: list[float] = []
    for reading in readings:
        reads = reading.reads()
        delivered, said = delivered + len(reads), said + len(reading.script)
        counted += sum(since <= at < until for at in reads.values())
        due = reading.script.due()
        late += [at - due[number] for number, at in reads.items() if since <= due[number] < until]
    for reading in readings:
        await reading.viewer.close()
    worker, web, redis = ((then - before) / max(1, counted) for before, then in zip(used, used_then, strict=True))
    return Figures(
        delivered / said,
        worker,
        web,
        redis,
        meter.percentile(late, 50),
        meter.percentile(late, 99),
    )


async def _begin(deployment: Deployment, line: Line, sessions: Sequence[str], window: float) -> list[Reading]:
    """Viewers in their places, and all answers asked for. The first tokens are due when all that is done."""
    threads = [str(uuid4()) for _ in range(line.streams)]
    places = [
        [await _viewer(deployment, line, session, thread) for _ in range(line.viewers)]
        for thread, session in zip(threads, sessions, strict=False)
    ]
    begin = time.monotonic() + 2 + START * line.streams
    tokens = int((WARM + window + 1) * RATE)
    readings = []
    for stream, (thread, viewers) in enumerate(zip(threads, places, strict=True)):
        script = Script(begin + stream / line.streams / RATE, ((tokens, RATE),))
        run = ""
        if isinstance(viewers[0], RejoinViewer):
            run = await viewers[0].ask(thread, script, "http/script" if line.http else "script")
        else:
            await viewers[0].ask(script)
        readings += [Reading(script, viewer, run) for viewer in viewers]
    return readings


async def _viewer(deployment: Deployment, line: Line, session: str, thread: str) -> RejoinViewer | StockViewer:
    if deployment.system != REJOIN:
        stock = StockViewer()
        await stock.open(deployment.address, thread, http=line.http)
        return stock
    viewer = (SseViewer if line.sse else RejoinViewer)(session)
    await viewer.open(deployment.address)
    await viewer.create(thread)
    await viewer.attach(thread)
    return viewer


async def _await_end(readings: Sequence[Reading]) -> None:
    """Returns when everybody has everything that is said, or the time for it is over."""
    end = max(reading.script.due()[-1] for reading in readings)
    await asyncio.sleep(end - time.monotonic() + 0.5)
    seen = -1
    while time.monotonic() < end + GRACE and seen != (seen := sum(len(reading.viewer.frames) for reading in readings)):
        await asyncio.sleep(0.5)
