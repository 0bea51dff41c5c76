"""A web server is restarted under many readers: how soon after it listens again everybody has caught up.

All come back in the moment it listens, without the jitter that clients have: the worst case. Each attaches the list of
chats and one chat, with cursors, as the page does; some of the chats have an answer that goes on being said meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import meter
from benchmarks.deployment import Deployment
from benchmarks.script import Script
from benchmarks.viewers import INBOX, RejoinViewer, take_places

RATE = 50
CYCLE = 8.0
"""Seconds of answers for each restart: more than it takes."""
APART = 2.0
"""Seconds between everybody's being there and the next restart."""
LOOK = 0.005


@dataclass(frozen=True)
class Restart:
    """One restart, in seconds."""

    away: float
    """From SIGTERM to listening."""
    times: Sequence[float]
    """From listening until each reader has caught up."""
    cpu: float
    """What the web server has used since it listened, until the last had caught up."""

    @property
    def p50(self) -> float:
        return meter.percentile(self.times, 50)

    @property
    def last(self) -> float:
        return max(self.times)


async def measure(deployment: Deployment, sessions: Sequence[str], streams: int, restarts: int) -> list[Restart]:
    """Restart so many times under these people, so many of whom watch an answer."""
    places = await take_places(deployment.address, sessions)
    for viewer, _ in places:
        await viewer.attach(INBOX)
    script = Script(time.monotonic() + 2, ((int(CYCLE * restarts * RATE), RATE),))
    runs = [(viewer, await viewer.ask(thread, script, "script")) for viewer, thread in places[:streams]]
    found = []
    for _ in range(restarts):
        await asyncio.sleep(APART)
        found.append(await _restart(deployment, places))
    await asyncio.sleep(max(0.0, script.due()[-1] + 1 - time.monotonic()))
    for viewer, run in runs:
        if viewer.text(run) != script.text():
            raise RuntimeError("What a reader has is not what the model said.")
    for viewer, _ in places:
        await viewer.close()
    return found


async def _restart(deployment: Deployment, places: Sequence[tuple[RejoinViewer, str]]) -> Restart:
    web = deployment.web
    begun = time.monotonic()
    web.terminate()
    await asyncio.to_thread(web.wait)
    held = [(viewer, thread, viewer.cursor(INBOX), viewer.cursor(thread)) for viewer, thread in places]
    web.launch()
    while not _listens(web.port):
        await asyncio.sleep(LOOK)
    listening, used = time.monotonic(), meter.cpu(web.pid)

    async def come_back(viewer: RejoinViewer, thread: str, inbox: str, cursor: str) -> float:
        await viewer.open(deployment.address)
        await asyncio.gather(viewer.attach(INBOX, inbox), viewer.attach(thread, cursor))
        return time.monotonic() - listening

    times = await asyncio.gather(*(come_back(*who) for who in held))
    return Restart(listening - begun, times, meter.cpu(web.pid) - used)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
