"""A long answer that is being said: how soon somebody who comes (back) has it, and what it takes in Redis."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from uuid import uuid4

import orjson
from redis.asyncio import Redis

from benchmarks.deployment import Deployment
from benchmarks.meter import percentile
from benchmarks.script import Script
from benchmarks.viewers import RejoinViewer

LENGTH = 100_000
FAST = 4.0
"""Seconds in which the model says so many characters …"""
ATTACHES = 50
SLOW = 12.0
"""… and then, while others come, as much as it says in so many seconds at 50 tokens a second."""
TOKEN = 25
LOOK = 0.02
"""Seconds between two looks at Redis."""


@dataclass
class Attached:
    """What attaching took, each time."""

    seconds: list[float] = field(default_factory=list)
    bytes: int = 0
    text: int = 0
    """Bytes of the text that was missing."""

    @property
    def p50(self) -> float:
        return percentile(self.seconds, 50)

    @property
    def p99(self) -> float:
        return percentile(self.seconds, 99)

    @property
    def ratio(self) -> float:
        """Bytes that were sent for each byte of text that was missing."""
        return self.bytes / max(1, self.text)


@dataclass(frozen=True)
class LongAnswer:
    from_nothing: Attached
    from_middle: Attached
    redis: int
    """The most bytes that the run's keys took, at any look."""


async def measure(deployment: Deployment, session: str) -> LongAnswer:
    """Have 100 kB said, and attach again and again, from nothing and from a cursor in the middle of it."""
    thread = str(uuid4())
    follower = RejoinViewer(session)
    await follower.open(deployment.address)
    await follower.create(thread)
    await follower.attach(thread)
    fast = int(LENGTH / TOKEN)
    script = Script(time.monotonic() + 1.0, ((fast, fast / FAST), (int(50 * SLOW), 50)), TOKEN)
    run = await follower.ask(thread, script, "script")
    looking = asyncio.create_task(_most_memory(deployment, run, script.due()[-1]))
    await asyncio.sleep(script.begin + FAST + 0.5 - time.monotonic())
    # Nobody else of the web process may watch: the one who comes is the one who has the hub join.
    await follower.close()
    middle = _cursor_at(follower, run, LENGTH // 2)
    from_middle, from_nothing = Attached(), Attached()
    for _ in range(ATTACHES):
        for sum_, cursor in ((from_middle, middle), (from_nothing, None)):
            comer = RejoinViewer(session)
            await comer.open(deployment.address)
            await _attach(comer, thread, run, script, sum_, cursor)
            await comer.close()
    return LongAnswer(from_nothing, from_middle, await looking)


async def _attach(
    viewer: RejoinViewer, thread: str, run: str, script: Script, sum_: Attached, cursor: str | None
) -> None:
    since = len(viewer.frames)
    caught_up = await viewer.attach(thread, cursor)
    sum_.seconds.append(caught_up.seconds)
    sum_.bytes += caught_up.size
    text = "".join(piece for _, piece, _ in viewer.pieces(run, since))
    if text not in script.text():
        raise RuntimeError("What came is not what the model said.")
    sum_.text += len(text)


def _cursor_at(viewer: RejoinViewer, run: str, length: int) -> str:
    """The viewer's cursor when it had so many characters."""
    said = 0
    for at, piece, _ in viewer.pieces(run):
        said += len(piece)
        if said >= length:
            frame = next(frame for when, frame in viewer.frames if when == at)
            return str(orjson.loads(frame)["cursor"])
    raise RuntimeError("The answer is too short.")


async def _most_memory(deployment: Deployment, run: str, until: float) -> int:
    most = 0
    async with Redis.from_url(deployment.redis.url) as client:
        while time.monotonic() < until:
            keys = [key async for key in client.scan_iter(match=f"*{run}*", count=1000)]
            sizes = [await client.memory_usage(key, samples=0) for key in keys]
            most = max(most, sum(size or 0 for size in sizes))
            await asyncio.sleep(LOOK)
    return most
