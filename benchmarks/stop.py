"""A stop: how soon it is kept, and how soon the model's connection is closed, so that nothing unread is paid for.

Readers ask a model behind HTTP, read for a moment and stop where they are, again and again, beside others who go on
reading. The model server notes when its client has left.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from benchmarks import meter
from benchmarks.deployment import Deployment, Machine
from benchmarks.script import Script
from benchmarks.viewers import RejoinViewer, answer_of, take_places

MODEL = "http/script"
RATE = 50
LONG = 600.0
"""Seconds in which an answer is said: nobody waits so long."""
READERS = 5
"""Those who read and stop, side by side."""
SHORTEST, LONGEST = 0.2, 0.8
"""Seconds that they read."""


@dataclass
class Stopped:
    """Seconds from a reader's command, for each stop."""

    kept: list[float] = field(default_factory=list)
    """… to the reply: the stop is in the database."""
    closed: list[float] = field(default_factory=list)
    """… to when the model server had seen its connection closed."""
    settled: list[float] = field(default_factory=list)
    """… to when the reader had the answer's final row, cut where the reader was."""

    def percentiles(self) -> list[float]:
        """p50 and p99 of each."""
        return [meter.percentile(times, at) for times in (self.kept, self.closed, self.settled) for at in (50, 99)]


async def measure(
    machine: Machine, deployment: Deployment, sessions: Sequence[str], streams: int, stops: int
) -> Stopped:
    """So many stops, beside so many streams that go on. Each reader is somebody else."""
    readers = await take_places(deployment.address, sessions[:READERS])
    others = await take_places(deployment.address, sessions[READERS : READERS + streams])
    for viewer, thread in others:
        await viewer.ask(thread, _script(), MODEL)
    found, commands = Stopped(), dict[float, float]()
    await asyncio.gather(*(_read_and_stop(viewer, stops // READERS, found, commands) for viewer, _ in readers))
    left = await asyncio.to_thread(_left, machine)
    for begin, commanded in commands.items():
        if begin not in left:
            raise RuntimeError("The model was not told that an answer was stopped.")
        found.closed.append(left[begin] - commanded)
    for viewer, _ in (*readers, *others):
        await viewer.close()
    return found


async def _read_and_stop(viewer: RejoinViewer, times: int, found: Stopped, commands: dict[float, float]) -> None:
    for _ in range(times):
        thread, script = str(uuid4()), _script()
        await viewer.create(thread)
        await viewer.attach(thread)
        run = await viewer.ask(thread, script, MODEL)
        ended = viewer.ended(run)
        while not viewer.text(run):
            await asyncio.sleep(0.01)
        await asyncio.sleep(random.uniform(SHORTEST, LONGEST))
        seen = {answer_of(run): len(viewer.text(run))}
        begun = commands[script.begin] = time.monotonic()
        await viewer.command("stop", thread=thread, run=run, seen=seen)
        found.kept.append(time.monotonic() - begun)
        change = await ended
        found.settled.append(time.monotonic() - begun)
        cut = {row["id"]: row["text_length"] for row in change["messages"] if row["id"] in seen}
        if cut != seen:
            raise RuntimeError(f"An answer was not cut where its reader was: {cut} instead of {seen}.")
        await viewer.command("detach", thread=thread)
        viewer.frames.clear()


def _script() -> Script:
    return Script(time.monotonic(), ((int(LONG * RATE), RATE),))


def _left(machine: Machine) -> dict[float, float]:
    """When the model server was left in the middle of an answer, by when that was to begin."""
    with urllib.request.urlopen(f"{machine.model_url}/left", timeout=30) as response:
        return {float(begin): at for begin, at in json.load(response).items()}
