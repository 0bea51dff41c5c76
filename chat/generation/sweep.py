"""The sweep: what any process does regularly, so that every run ends and nothing waits unheard.

It takes over runs whose worker let the lease run out, settles them from what database and log hold, marks queued runs
that no worker will take, calls the business hook for ended runs, and removes what is past its time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.module_loading import import_string

from chat import conf
from chat.announcement import Announcement
from chat.database import Database
from chat.errors import WorkerLost
from chat.fold import Fold
from chat.generation import ledger
from chat.generation.ledger import Takeover
from chat.models import Command, Run, Worker
from chat.runlog.base import Log, RunLog, RunLogUnavailable

log = logging.getLogger(__name__)

HOOK_PATIENCE = 300.0
"""Seconds after which a hook that has not returned is taken for dead, and called again elsewhere."""
HOUSEKEEPING = 3600.0
"""Seconds between two removals of what is past its time. Each function of the housekeeping is called until it returns
nothing (None or 0)."""

Announce = Callable[[Announcement], Awaitable[None]]


def settle(taken: Takeover, found: Log | None) -> Fold:
    """What a dead worker's run amounts to: the checkpoint, and what the log has after it."""
    fold = Fold(taken.seq)
    fold.answers.update(taken.held)
    fold.said = taken.said
    for batch in found.batches if found is not None else ():
        if batch.frm == fold.seq:
            fold.add(orjson.loads(batch.parts), batch.to)
    return fold


class Finalizer:
    """Ends a run that was taken over: fence, read, cut, commit. Serves the sweep of every process."""

    def __init__(self, run_log: RunLog, database: Database, announce: Announce, now: Any = None) -> None:
        self._log = run_log
        self._database = database
        self._announce = announce
        self._now = now

    async def finalize(self, run: UUID, owner: str) -> bool:
        """Take the run over and end it, or let it start again if it had said nothing. False: it was not ours to end.

        While the run log is away nothing is decided, as the log may hold what was said last: RunLogUnavailable, and the
        next sweep may try at once.
        """
        taken = await self._database(ledger.take_over, run, owner, self._now)
        if taken is None:
            return False
        log.info("action=run_taken_over run=%s lease=%d attempts=%d", run, taken.lease, taken.attempts)
        try:
            await self._log.fence(str(run), taken.lease)
            fold = settle(taken, await self._log.read(str(run), taken.seq))
        except RunLogUnavailable:
            await self._database(ledger.release, run, taken.lease)
            raise
        if not fold.said and not fold.done and not taken.stopped and taken.attempts < conf.ATTEMPTS:
            announcement = await self._database(ledger.requeue, run, taken.lease)
            if announcement is not None:
                await self._announce(announcement)
                return True
        state, code = (Run.State.COMPLETED, "") if fold.done else (Run.State.INTERRUPTED, WorkerLost.code)
        announcement = await self._database(ledger.finish, run, taken.lease, fold, state, code)
        if announcement is None:
            return False
        await self._announce(announcement)
        with suppress(RunLogUnavailable):
            await self._log.expire(str(run), conf.LOG_LINGER)
        return True


def unannounced(failed: Collection[UUID]) -> list[Run]:
    """Ended runs for which REJOIN_ON_RUN_END has not returned yet, oldest first, but for those in ``failed``, and those
    for which somebody is calling it."""
    return list(
        Run.objects.filter(_FREE, state__in=Run.FINAL, announced_at=None)
        .exclude(pk__in=failed)
        .select_related("thread", "prompt")
        .order_by("finished_at")[:50]
    )


def announce_ended(run: Run) -> None:
    """Call the hook for an ended run, and note that it returned: so it is called at least once (and once, as long as
    it returns within HOOK_PATIENCE)."""
    until = Now() + timedelta(seconds=HOOK_PATIENCE)
    if Run.objects.filter(_FREE, pk=run.pk, announced_at=None).update(announcing_until=until):
        try:
            import_string(conf.ON_RUN_END)(run)
        except BaseException:
            Run.objects.filter(pk=run.pk).update(announcing_until=None)
            raise
        Run.objects.filter(pk=run.pk, state=run.state).update(announced_at=timezone.now())  # (a late stop is another)
        Run.objects.filter(pk=run.pk).update(announcing_until=None)


_FREE = Q(announcing_until=None) | Q(announcing_until__lt=Now())


def remove_old() -> None:
    """Replies to commands that are past their time, and workers that have not been seen for a day."""
    Command.objects.filter(created_at__lt=timezone.now() - timedelta(days=conf.COMMAND_DAYS)).delete()
    Worker.objects.filter(seen_at__lt=timezone.now() - timedelta(days=1)).delete()


class Sweeper:
    """Sweeps every REJOIN_SWEEP seconds, with some jitter. ``housekeeping``: more functions to call once an hour."""

    def __init__(
        self,
        name: str,
        run_log: RunLog,
        database: Database,
        announce: Announce,
        rng: random.Random,
        *,
        housekeeping: tuple[Callable[[], Any], ...] = (remove_old,),
        now: Any = None,
    ) -> None:
        self._name = name
        self._database = database
        self._announce = announce
        self._rng = rng
        self._finalizer = Finalizer(run_log, database, announce, now)
        self._housekeeping = housekeeping
        self._cleaned = float("-inf")
        self._now = now
        self._hook = asyncio.Event()
        self._failed: set[UUID] = set()

    async def run(self) -> None:
        """Sweep until cancelled. A failure (the database or the log is away) is tried again at the next sweep."""
        while True:
            await self.sweep()
            with suppress(TimeoutError):
                async with asyncio.timeout(conf.SWEEP * self._rng.uniform(0.7, 1)):
                    await self._hook.wait()
            self._hook.clear()

    def soon(self) -> None:
        """A run has ended: call the hook without waiting for the next sweep."""
        if conf.ON_RUN_END:
            self._hook.set()

    async def sweep(self) -> None:
        """One sweep."""
        for step in (self._finalize, self._mark, self._call_hook, self._clean):
            try:
                await step()
            except Exception as error:
                log.warning("action=sweep_failed step=%s error=%s", step.__name__, type(error).__name__)

    async def _finalize(self) -> None:
        for run in await self._database(ledger.expired, self._now):
            try:
                await self._finalizer.finalize(run, self._name)
            except RunLogUnavailable:
                raise
            except Exception:  # one that can't be ended keeps no other from its end
                log.exception("action=finalize_failed run=%s", run)

    async def _mark(self) -> None:
        for announcement in await self._database(ledger.unserved, self._now):
            log.warning("action=no_worker thread=%s", announcement.thread)
            await self._announce(announcement)

    async def _call_hook(self) -> None:
        if not conf.ON_RUN_END:
            return
        while runs := await self._database(unannounced, self._failed):
            for run in runs:
                try:
                    await self._database(announce_ended, run)
                except Exception:
                    self._failed.add(run.pk)  # so that it does not keep the others waiting; again in an hour
                    log.exception("action=on_run_end_failed run=%s", run.pk)

    async def _clean(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._cleaned >= HOUSEKEEPING:
            self._cleaned = now
            self._failed.clear()
            for function in self._housekeeping:
                while await self._database(function):
                    pass  # it does a piece at a time, and says how much
