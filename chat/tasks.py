"""Tasks that end for sure, and work that is not left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")

PATIENCE = 1.0
"""Seconds until a task that goes on after it was cancelled is cancelled again."""


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel the tasks, and return when all have ended. Their results and exceptions are dropped.

    Again and again, if need be: in Python 3.11 a cancellation can be lost inside ``asyncio.wait_for``, which libraries
    use.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=PATIENCE)
        for task in ended:
            if not task.cancelled():
                task.exception()


def drop_failure(task: asyncio.Future[Any]) -> None:
    """All who wait for it may be gone by the time it fails: then nobody is to be told."""
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


async def to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of this work. Who is cancelled meanwhile is so only once it is done; then its exception is dropped."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        drop_failure(task)
        await asyncio.wait({task})
        raise
