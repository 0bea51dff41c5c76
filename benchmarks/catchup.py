"""Somebody comes back to a long chat with an old cursor: how soon all that was missed is there, and in how many bytes.

The chat has turns of three rows each (a question, an answer, a run); then it was given a title: one row more. Nothing
is being said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from benchmarks import meter
from benchmarks.deployment import Deployment, Machine
from benchmarks.viewers import CaughtUp, RejoinViewer
from chat.protocol import Cursor

TURNS = 1000
VERSIONS = 4
"""What a turn raises the thread's version by: asked, claimed, begun, ended. The question's row is of the second, the
others of the last."""
LAST = TURNS * VERSIONS + 1
"""The thread's version."""
QUESTION, ANSWER = 100, 1000
"""Their characters."""
MISSED = {1: LAST - 1, 100: LAST - 1 - 33 * VERSIONS, 3000: 2}
"""How many rows have changed since which version. (3,000 are all but the first question.)"""


@dataclass(frozen=True)
class Missed:
    """What it took to come back, each time."""

    name: str
    times: Sequence[CaughtUp]

    @property
    def p50(self) -> float:
        return meter.percentile([each.seconds for each in self.times], 50)

    @property
    def p99(self) -> float:
        return meter.percentile([each.seconds for each in self.times], 99)

    @property
    def bytes(self) -> int:
        return self.times[0].size


async def measure(machine: Machine, deployment: Deployment, session: str, times: int) -> list[Missed]:
    """Come back so many times from each cursor of MISSED for every row, then as the page does, which begins anew with
    the path's end where that is less."""
    thread = machine.call("-m", "benchmarks.history", session, str(TURNS)).strip()
    found = []
    for rows, version in MISSED.items():
        caught_up = [await _come(deployment, session, thread, version, everything=True) for _ in range(times)]
        came = set(map(_rows, caught_up))
        if came != {rows}:
            raise RuntimeError(f"Instead of {rows} rows {came} have come.")
        found.append(Missed(f"{rows:,} row{'s' * (rows > 1)}", caught_up))
    for name, version in (("an old cursor", MISSED[3000]), ("nothing", 0)):
        caught_up = [await _come(deployment, session, thread, version) for _ in range(times)]
        found.append(Missed(f"the path's end ({_rows(caught_up[0])} rows), from {name}", caught_up))
    return found


async def _come(
    deployment: Deployment, session: str, thread: str, version: int, *, everything: bool = False
) -> CaughtUp:
    viewer = RejoinViewer(session)
    await viewer.open(deployment.address)
    caught_up = await viewer.attach(thread, str(Cursor(version)) if version else None, everything=everything)
    await viewer.close()
    return caught_up


def _rows(caught_up: CaughtUp) -> int:
    changes = [event for frame in caught_up.frames if (event := orjson.loads(frame))["type"] == "change"]
    return sum(len(change["messages"]) + len(change["runs"]) + ("row" in change) for change in changes)
