"""Health: what a supervisor and a load balancer ask a web process. Nobody has to be signed in, so little is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat.http import process_of
from chat.models import Worker
from chat.process import Process

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds within which each part has to answer."""

_asking: WeakKeyDictionary[Process, dict[str, asyncio.Task[bool]]] = WeakKeyDictionary()
"""Questions under way. A part that hangs is asked once, however many want to know."""


@require_safe
@never_cache
async def healthz(request: HttpRequest) -> HttpResponse:
    """The process is up. Asks nobody: whoever restarts it for this must not do so because a database is away."""
    return JsonResponse({"up": True})


@require_safe
@never_cache
async def readyz(request: HttpRequest) -> HttpResponse:
    """Whether the process can serve: 200, or 503, and which part answers."""
    parts = await ready(process_of(request))
    return JsonResponse(
        {"ready": all(parts.values()), **{name: "up" if up else "away" for name, up in parts.items()}},
        status=200 if all(parts.values()) else 503,
    )


async def ready(process: Process) -> dict[str, bool]:
    """Which part has answered in time."""
    sources = process.sources
    questions: dict[str, Callable[[], Awaitable[Any]]] = {
        "database": lambda: sources.database(_ask_database),
        "run_log": lambda: sources.log.heads(["readyz"]),
    }
    asking = _asking.setdefault(process, {})
    for name, question in questions.items():
        if name not in asking:
            asking[name] = asyncio.create_task(_ask(name, question, asking))
    tasks = {name: asking[name] for name in questions}
    await asyncio.wait(tasks.values(), timeout=PATIENCE)
    return {name: task.done() and task.result() for name, task in tasks.items()}


async def _ask(name: str, question: Callable[[], Awaitable[Any]], asking: dict[str, asyncio.Task[bool]]) -> bool:
    try:
        await question()
    except Exception as error:  # in whatever words
        log.warning("action=not_ready part=%s error=%s", name, type(error).__name__)
        return False
    else:
        return True
    finally:
        del asking[name]


def _ask_database() -> None:
    """Our own tables, too: a database that was not migrated is not ready."""
    Worker.objects.filter(name="").exists()
