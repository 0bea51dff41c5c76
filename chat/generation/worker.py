"""The worker: claims queued runs and generates them, many at once, in one process.

Claims come from the database; a message of the channel layer only says "look". Every few seconds all leases are
renewed in one UPDATE, and the run log is asked whether its logs are still there. Told to end, the worker claims no
more, lets its runs go on for a while, then marks what is left interrupted, with its text.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from django.db import Error as DatabaseError

from chat import conf
from chat.announcement import Announcement
from chat.database import Database
from chat.generation import ledger
from chat.generation.engine import Engine
from chat.generation.stream import Stream
from chat.generation.sweep import Sweeper, remove_old
from chat.generation.writer import Writer
from chat.live.hub import Hub
from chat.live.topics import WORKERS
from chat.providers import Providers
from chat.replication.announce import announce
from chat.runlog.base import RunLog, RunLogUnavailable
from chat.tasks import end

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks at which checkpoints are due."""
AGAIN = 0.25
"""Seconds until what could not be claimed, for somebody was at it, is looked at again."""
SILENCE = 1.0
"""A run that has appended nothing for so many seconds is asked for its stop flag."""


class Worker:
    """``now``: the database's clock as an expression (default: its own). Everything else comes from the event loop."""

    topic = WORKERS

    def __init__(
        self,
        run_log: RunLog,
        layer: Any,
        hub: Hub,
        database: Database,
        providers: Providers,
        rng: random.Random,
        *,
        name: str = "",
        housekeeping: tuple[Callable[[], Any], ...] = (remove_old,),
        now: Any = None,
    ) -> None:
        self.name = name or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._log = run_log
        self._layer = layer
        self._hub = hub
        self._database = database
        self._providers = providers
        self._rng = rng
        self._now = now
        self._engines: dict[UUID, Engine] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()
        self._look.set()
        self._draining = False
        self._claiming = asyncio.Lock()
        self._writer = Writer(
            run_log, layer, self._renew_one, pause=conf.FLUSH_PAUSE, tail=conf.LOG_TAIL, cap=conf.CHECKPOINT_BYTES
        )
        self._sweeper = Sweeper(self.name, run_log, database, self._announce, rng, housekeeping=housekeeping, now=now)

    async def run(self) -> None:
        """Work until cancelled (then everything is dropped, as in a crash) or until :meth:`drain` is done."""
        await self._hub.join(self)
        log.info("action=worker_started worker=%s", self.name)
        loops = [
            asyncio.create_task(loop)
            for loop in (self._claim(), self._renew(), self._watch(), self._writer.run(), self._sweeper.run())
        ]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        finally:
            await end([*loops, *self._tasks])
            await self._hub.leave(self)

    async def drain(self, seconds: float) -> None:
        """Claim no more; after ``seconds`` what still runs is interrupted, its text kept. Returns when all is
        settled."""
        async with self._claiming:  # a claim that is under way is settled too
            self._draining = True
        log.info("action=worker_draining worker=%s runs=%d", self.name, len(self._engines))
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        for engine in self._engines.values():
            engine.draining.set()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=conf.LEASE)
        try:
            await self._database(ledger.retire, self.name)
        except DatabaseError:
            log.warning("action=retire_failed worker=%s", self.name)
        log.info("action=worker_stopped worker=%s", self.name)

    # the hub's listener ----------------------------------------------------------------------------------------

    def hint(self, message: dict[str, Any]) -> None:
        if message["type"] == "look":
            self._look.set()
        elif message["type"] == "stop":
            engine = self._engines.get(UUID(message["run"]))
            if engine is not None:
                engine.stream.stopping.set()

    def missed(self) -> None:
        """Hints were lost: look, and ask for the stops of all runs at the next renewal."""
        self._look.set()

    def compare(self, truth: Any) -> None:
        """Nothing to compare: the sweep finds what no hint announced."""

    def overdue(self) -> bool:
        return True  # join the group again at every comparison: a layer may have forgotten it

    # claiming --------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(conf.SWEEP * self._rng.uniform(0.7, 1)):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._claim_all()
            except DatabaseError as error:
                log.warning("action=claim_failed error=%s", type(error).__name__)
                await asyncio.sleep(0.5)

    async def _claim_all(self) -> None:
        loop = asyncio.get_running_loop()
        passed: set[UUID] = set()
        while (free := conf.WORKER_RUNS - len(self._engines)) > 0:
            found = await self._database(ledger.claimable, min(free, 20), passed)
            for run in found:
                async with self._claiming:
                    if self._draining:
                        return
                    begun = loop.time()
                    claim = await self._database(ledger.claim, run, self.name, self._now)
                    if claim is not None:
                        self._start(claim, begun)
                    else:
                        passed.add(run)
            if not found:
                break
        if passed:  # they were another's, or their threads were locked
            loop.call_later(AGAIN, self._look.set)

    def _start(self, claim: ledger.Claim, begun: float) -> None:
        provider, model = self._providers.choose(claim.conversation.model)
        engine = Engine(
            claim.for_model(model), provider, self._writer, self._log, self._database, self._announce, self._rng
        )
        engine.stream.deadline = begun + conf.LEASE
        if claim.run in self._engines:  # lost, and claimed again before its engine has noticed
            self._engines[claim.run].stream.give_up()
        self._engines[claim.run] = engine
        task = asyncio.create_task(self._generate(claim, engine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _generate(self, claim: ledger.Claim, engine: Engine) -> None:
        log.info("action=run_claimed run=%s thread=%s lease=%d", claim.run, claim.thread, claim.lease)
        try:
            await self._announce(claim.announcement)
            if await engine.run():
                self._sweeper.soon()
        except Exception:
            # The lease runs out and the sweep ends the run with what database and log hold.
            log.exception("action=engine_failed run=%s", claim.run)
        finally:
            if self._engines.get(claim.run) is engine:
                del self._engines[claim.run]
            self._look.set()

    async def _announce(self, announcement: Announcement) -> None:
        await announce(self._layer, self._log, announcement)
        if announcement.look:
            self._look.set()

    # leases ----------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            try:
                await self._renew_all()
            except DatabaseError as error:
                log.warning("action=renew_failed error=%s", type(error).__name__)
            await asyncio.sleep(conf.RENEW * self._rng.uniform(0.8, 1))

    async def _renew_all(self) -> None:
        begun = asyncio.get_running_loop().time()
        engines = dict(self._engines)
        leases = {run: engine.claim.lease for run, engine in engines.items()}
        renewed = await self._database(ledger.renew, self.name, leases, self._now)
        for run, engine in engines.items():
            if run in renewed.pushed:
                engine.stream.deadline = begun + conf.LEASE
            elif run not in renewed.held and self._engines.get(run) is engine:
                engine.stream.give_up()
            if run in renewed.stopped:
                engine.stream.stopping.set()
        try:
            there = await self._log.touch({engine.stream.run: engine.stream.lease for engine in engines.values()})
        except RunLogUnavailable:
            return
        for engine in engines.values():
            if not there.get(engine.stream.run, True):
                engine.stream.lost_log = True
                self._writer.written(engine.stream)

    async def _renew_one(self, stream: Stream) -> bool:
        """Confirm one run's lease in the database, before its log is seeded."""
        begun = asyncio.get_running_loop().time()
        run = UUID(stream.run)
        try:
            renewed = await self._database(ledger.renew, self.name, {run: stream.lease}, self._now)
        except DatabaseError:
            return False
        if run not in renewed.pushed:
            if run not in renewed.held:
                stream.give_up()
            return False
        stream.deadline = begun + conf.LEASE
        return True

    # watching --------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Checkpoints that are due, and the stop flags of silent runs."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        while True:
            await asyncio.sleep(TICK)
            now = clock()
            for engine in list(self._engines.values()):
                engine.look(now)
            if now - asked < SILENCE:
                continue
            asked = now
            silent = [engine.stream for engine in self._engines.values() if now - engine.stream.last_append >= SILENCE]
            if not silent or self._writer.away:
                continue
            try:
                heads = await self._log.heads([stream.run for stream in silent])
            except RunLogUnavailable:
                continue
            for stream in silent:
                if heads[stream.run].stop:
                    stream.stopping.set()
