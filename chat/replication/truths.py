"""Where threads and inboxes are now: what a viewer's cursor is compared with, for many of them at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model

from chat.database import Database
from chat.models import Run, Thread
from chat.protocol import Cursor
from chat.runlog.base import RunLog, RunLogUnavailable


@dataclass(frozen=True)
class Truth:
    """Where a thread or inbox is now, and who may watch it (None: nobody)."""

    cursor: Cursor
    owner: Any


def _versions(threads: Collection[UUID], inboxes: Collection[Any]) -> tuple[dict[UUID, Truth], dict[Any, Truth]]:
    running = {run.thread_id: run for run in Run.objects.filter(thread__in=threads, state=Run.State.RUNNING)}
    of_threads: dict[UUID, Truth] = {}
    for pk, version, owner in (
        Thread.objects.alive().filter(pk__in=threads, owner__is_active=True).values_list("pk", "version", "owner")
    ):
        run = running.get(pk)
        of_threads[pk] = Truth(Cursor(version) if run is None else Cursor(version, str(run.pk), run.seq), owner)
    active = get_user_model().objects.filter(pk__in=inboxes, is_active=True).values_list("pk", "inbox__version")
    of_inboxes = {user: Truth(Cursor(version or 0), user) for user, version in active}
    return of_threads, of_inboxes


async def truths(
    database: Database, log: RunLog, threads: Collection[UUID], inboxes: Collection[Any]
) -> tuple[dict[UUID, Truth], dict[Any, Truth]]:
    """Versions of all of them and the last seqs of their running runs: a query each and one round trip to the log."""
    of_threads, of_inboxes = await database(_versions, threads, inboxes)
    running = {truth.cursor.run: thread for thread, truth in of_threads.items() if truth.cursor.run is not None}
    if running:
        try:
            heads = await log.heads([run for run in running if run is not None])
        except RunLogUnavailable:
            heads = {}
        for run, head in heads.items():
            truth = of_threads[running[run]]
            seq = max(truth.cursor.seq, head.last or 0)
            of_threads[running[run]] = Truth(truth.cursor._replace(seq=seq), truth.owner)
    return of_threads, of_inboxes
