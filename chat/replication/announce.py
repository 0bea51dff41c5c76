"""Announcing: after a commit, hints to the thread's and the inbox's viewers and to the workers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from chat.announcement import Announcement
from chat.live import topics
from chat.live.publish import publish
from chat.runlog.base import RunLog, RunLogUnavailable

log = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds that somebody waits for others to be told."""
_under_way: set[asyncio.Task[None]] = set()


async def announce(layer: Any, run_log: RunLog, announcement: Announcement | None) -> None:
    """Tell whoever should hear. Never fails: what gets lost is found by comparison, sweep and the stop in the row. Nor
    does it wait long for a Redis that is silent: what is under way goes on meanwhile."""
    if announcement is None:
        return
    said = announcement
    hints: list[tuple[str, dict[str, Any]]] = []
    if said.thread is not None:
        topic = topics.thread(said.thread)
        hints.append((topic, {"type": "changed", "topic": topic, "version": said.version}))
    if said.inbox_version:
        topic = topics.inbox(said.user)
        hints.append((topic, {"type": "changed", "topic": topic, "version": said.inbox_version}))
    if said.stop is not None:
        hints.append((topics.WORKERS, {"type": "stop", "topic": topics.WORKERS, "run": str(said.stop)}))
    if said.look:
        hints.append((topics.WORKERS, {"type": "look", "topic": topics.WORKERS}))
    telling = [asyncio.create_task(publish(layer, hints))]
    if said.stop is not None:
        telling.append(asyncio.create_task(_set_flag(run_log, str(said.stop))))
    for task in telling:
        _under_way.add(task)
        task.add_done_callback(_under_way.discard)
    await asyncio.wait(telling, timeout=PATIENCE)


async def _set_flag(run_log: RunLog, run: str) -> None:
    try:
        await run_log.stop(run)
    except RunLogUnavailable:
        log.warning("action=stop_flag_failed run=%s", run)
