"""Clients that only wait: what each takes in the web server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks import meter
from benchmarks.deployment import Deployment
from benchmarks.viewers import take_places

WARM = 50
SETTLE = 12.0
"""Seconds, with a comparison and a heartbeat in them, until memory is read."""


async def measure(deployment: Deployment, sessions: Sequence[str]) -> float:
    """Resident bytes of the web server for each client that is attached to a thread of its own."""
    for viewer, _ in await take_places(deployment.address, sessions[:WARM]):
        await viewer.close()
    await asyncio.sleep(1)
    before = meter.memory(deployment.web.pid)
    places = await take_places(deployment.address, sessions)
    await asyncio.sleep(SETTLE)
    after = meter.memory(deployment.web.pid)
    for viewer, _ in places:
        await viewer.close()
    return (after - before) / len(places)
