"""The engine: one run, from its claim to its final row.

It reads the provider's parts, cleans them, and puts them into the run's stream; what the writer makes of them is not
its concern. It ends when the provider does, when somebody asked to stop, when the worker drains, after
REJOIN_RUN_TIMEOUT, or, silently, when the lease is lost.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from chat import conf
from chat.announcement import Announcement
from chat.database import Database
from chat.errors import CODES, Internal, ProviderTimeout, RunError, TooLarge, WorkerLost
from chat.generation import ledger
from chat.generation.ledger import Claim, Times
from chat.generation.stream import Stream
from chat.generation.writer import Writer
from chat.models import Message, Run
from chat.protocol import LEASE_SPAN, Part, clean, done, end, reasoned, reasoning, start, text, usage
from chat.providers.base import Provider
from chat.runlog.base import RunLog, RunLogUnavailable, Status
from chat.tasks import end as end_tasks

log = logging.getLogger(__name__)

PIECE = 10_000
"""Characters of the longest part: a longer one is put as several."""
MAX_PART = 16 * 1024
"""Bytes of any other part, as JSON."""
MAX_AUTHOR = 200
MAX_TOKENS = 10**8
SPARE_SEQS = 1000
"""Seqs of a lease that are left for what the engine itself puts at the end."""
FLUSH_PATIENCE = 2.0
"""Seconds that a run which has ended waits for the run log, before the database alone must do."""
RETRY_FIRST, RETRY_MOST = 0.1, 2.0

Announce = Callable[[Announcement], Awaitable[None]]


def fit(part: Part) -> Part:
    """A part other than text, made fit for log, rows and frames. Raises ValueError, TypeError or KeyError for one that
    the providers' contract does not allow: the writer, who would fail over it, writes for all runs."""
    kind, message, *values = part
    if kind == "start":
        said = values[0]
        if str(UUID(message)) != message or said["role"] != Message.Role.ASSISTANT:
            raise ValueError("A message that can't begin.")
        return start(message, parent=said["parent"], author=clean(said["author"])[:MAX_AUTHOR])
    if kind == "usage":
        counts = {name: min(max(int(values[0][name]), 0), MAX_TOKENS) for name in ("input", "output")}
        return usage(message, **counts)
    if kind == "end":
        return end(message, CODES.get(values[0]["error"]["code"], Internal)() if values else None)  # type: ignore[arg-type]
    if kind in ("reasoned", "done") or len(orjson.dumps(part)) > MAX_PART:
        raise ValueError(f"A part that is not a provider's: {kind}.")
    return part


@dataclass
class Ending:
    """How a run ended, as far as its engine knows (a recorded stop decides over it)."""

    state: str = Run.State.COMPLETED
    error_code: str = ""
    retry_after: float | None = None


class Engine:
    """Generates one claimed run. ``stream`` is what the worker renews, stops and drains it by."""

    def __init__(
        self,
        claim: Claim,
        provider: Provider,
        writer: Writer,
        run_log: RunLog,
        database: Database,
        announce: Announce,
        rng: random.Random,
    ) -> None:
        self.claim = claim
        self.stream = Stream(
            str(claim.run), str(claim.thread), claim.lease, claim.first, claim.held, bound=conf.RUN_BUFFER
        )
        self.draining = asyncio.Event()
        self._provider = provider
        self._writer = writer
        self._log = run_log
        self._database = database
        self._announce = announce
        self._rng = rng
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._open: dict[str, float | None] = dict.fromkeys(claim.held)
        """The messages that have no end yet, and since when each has been thinking."""
        self._begun = set(claim.held)
        self._halves: dict[tuple[str, str], str] = {}
        self._used: dict[str, list[int]] = {}
        """Tokens in and out of messages that are not at their end: providers may count with every word."""
        self._checkpointing: asyncio.Task[None] | None = None

    async def run(self) -> bool:
        """Generate, and settle. Returns whether the run reached a final state by this engine."""
        stream = self.stream
        with suppress(RunLogUnavailable):
            stream.lost_log = await self._log.open(stream.run, stream.lease, stream.first) is not Status.OK
        self._writer.add(stream)
        try:
            ending = await self._generate()
            if stream.lost.is_set():
                return False
            return await self._settle(ending)
        finally:
            self._writer.remove(stream)
            if self._checkpointing is not None:
                self._checkpointing.cancel()

    # reading the provider --------------------------------------------------------------------------------------

    async def _generate(self) -> Ending:
        """Read until something ends it. The provider's connection is closed when this returns."""
        pump = asyncio.create_task(self._pump())
        ends = {
            asyncio.create_task(event.wait()): state
            for event, state in (
                (self.stream.lost, Run.State.INTERRUPTED),
                (self.stream.stopping, Run.State.STOPPED),
                (self.draining, Run.State.INTERRUPTED),
            )
        }
        try:
            finished, _ = await asyncio.wait(
                {pump, *ends}, timeout=conf.RUN_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
            )
            if pump in finished:
                return self._ending(pump)
            for waiter, state in ends.items():
                if waiter in finished:
                    return Ending(state, WorkerLost.code if state == Run.State.INTERRUPTED else "")
            return Ending(Run.State.FAILED, ProviderTimeout.code)
        finally:
            await end_tasks([pump, *ends])

    def _ending(self, pump: asyncio.Task[None]) -> Ending:
        if pump.cancelled():  # it found that the lease is lost
            return Ending(Run.State.INTERRUPTED)
        error = pump.exception()
        if error is None:
            return Ending()
        if isinstance(error, (RunError, TooLarge)):
            log.info("action=run_failed run=%s code=%s", self.claim.run, error.code)
            return Ending(Run.State.FAILED, error.code, error.retry_after)
        log.error("action=run_failed run=%s code=internal", self.claim.run, exc_info=error)
        return Ending(Run.State.FAILED, Internal.code)

    async def _pump(self) -> None:
        parts: AsyncIterator[Part] = self._provider.stream(self.claim.conversation)
        stream, written, clock = self.stream, self._writer.written, asyncio.get_running_loop().time
        length, limit = stream.fold.length, conf.MAX_ANSWER
        last = self.claim.first + LEASE_SPAN - SPARE_SEQS
        try:
            async for part in parts:
                kind = part[0]
                if stream.seq >= last:
                    raise TooLarge("The answer has more parts than the server allows.")
                if kind == "text" or kind == "reasoning":
                    if part[1] not in self._open:
                        raise ValueError(f"A {kind} of a message that has not begun, or has ended.")
                    value = self._cleaned(kind, part[1], part[2])  # type: ignore[misc]
                    if not value:
                        continue
                    length += len(value)
                    if length > limit:
                        raise TooLarge("The answer is longer than the server allows.")
                    if self._first is None:
                        self._first = timezone.now()
                    if kind == "text":
                        self._flush_thinking(part[1])
                    elif self._open[part[1]] is None:
                        self._open[part[1]] = clock()
                    for at in range(0, len(value), PIECE):
                        stream.put((kind, part[1], value[at : at + PIECE]), clock())
                elif kind == "start":
                    part = fit(part)
                    await self._begin(part)
                    stream.put(part, clock())
                elif kind == "usage":
                    self._use(fit(part))
                else:
                    part = fit(part)
                    self._flush_halves(part[1])
                    if kind == "end":
                        self._flush_thinking(part[1])
                        self._flush_used(part[1])
                        del self._open[part[1]]
                    stream.put(part, clock())
                written(stream)
                if stream.full:
                    await stream.room()
        finally:
            self._last = timezone.now() if self._first is not None else None
            closing = getattr(parts, "aclose", None)
            if closing is not None:
                await closing()
        for message in self._open:  # a provider that forgot an end has ended all the same
            self._flush_halves(message)
            self._flush_thinking(message)
            self._flush_used(message)
            stream.put(end(message), clock())
        stream.put(done(), clock())
        written(stream)

    async def _begin(self, part: Part) -> None:
        """A message begins: its row first, so that whoever reads the part finds it."""
        value = part[2]  # type: ignore[misc]
        if part[1] in self._begun:
            raise ValueError("A message that has begun before.")
        self._begun.add(part[1])
        self._open[part[1]] = None
        parent = UUID(value["parent"]) if value["parent"] else None
        announcement = await self._insist(
            ledger.begin, self.claim.run, self.claim.lease, UUID(part[1]), parent, value["author"]
        )
        if announcement is None:
            self.stream.give_up()
            raise asyncio.CancelledError
        await self._announce(announcement)

    def _cleaned(self, kind: str, message: str, value: str) -> str:
        """The text without what can't be stored. Half of a surrogate pair at the end waits for its other half."""
        key = (kind, message)
        half = self._halves.pop(key, "") if self._halves else ""
        value = half + value
        if value and "\ud800" <= value[-1] <= "\udbff":
            self._halves[key] = value[-1]
            value = value[:-1]
        return clean(value)

    def _flush_halves(self, message: str) -> None:
        now = asyncio.get_running_loop().time()
        for kind, maker in (("text", text), ("reasoning", reasoning)):
            if self._halves.pop((kind, message), ""):
                self.stream.put(maker(message, "\ufffd"), now)

    def _flush_thinking(self, message: str) -> None:
        """Its thoughts are over: say how long they took."""
        if (since := self._open.get(message)) is not None:
            self._open[message] = None
            now = asyncio.get_running_loop().time()
            self.stream.put(reasoned(message, round((now - since) * 1000)), now)

    def _use(self, part: Part) -> None:
        message, counts = part[1], part[2]  # type: ignore[misc]
        used = self._used.setdefault(message, [0, 0])
        used[0] += counts["input"]
        used[1] += counts["output"]
        if message not in self._open:
            self._flush_used(message)

    def _flush_used(self, message: str) -> None:
        if (used := self._used.pop(message, None)) is not None:
            tokens = [min(count, MAX_TOKENS) for count in used]
            self.stream.put(usage(message, input=tokens[0], output=tokens[1]), asyncio.get_running_loop().time())

    # checkpoints -----------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Called often by the worker: begins a checkpoint when one is due."""
        idle = self._checkpointing is None or self._checkpointing.done()
        if idle and self.stream.checkpoint_due(now, conf.CHECKPOINT_BYTES) and not self.stream.lost.is_set():
            self._checkpointing = asyncio.create_task(self._checkpoint())

    async def _checkpoint(self) -> None:
        stream, clock = self.stream, asyncio.get_running_loop().time
        fold = stream.fold.copy()
        try:
            made = await self._database(ledger.checkpoint, self.claim.run, self.claim.lease, fold)
        except DatabaseError as error:
            log.warning("action=checkpoint_failed run=%s error=%s", self.claim.run, type(error).__name__)
            stream.checkpoint_failed(clock())
            return
        if made is None:
            stream.give_up()
            return
        stream.checkpointed(fold, clock())
        self._writer.written(stream)  # a full one may have room again
        if made.announcement is not None:
            await self._announce(made.announcement)

    # the end ---------------------------------------------------------------------------------------------------

    async def _settle(self, ending: Ending) -> bool:
        """The last flush, then the final row: its text is the database's from then on."""
        stream, run = self.stream, self.claim.run
        for message in self._open:  # of what was stopped, or broke off
            self._flush_thinking(message)
        for message in list(self._used):
            self._flush_used(message)
        stream.cut(asyncio.get_running_loop().time())
        self._writer.written(stream)
        if not self._writer.away:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_PATIENCE):
                    await stream.settled()
        if self._checkpointing is not None:
            await asyncio.gather(self._checkpointing, return_exceptions=True)
        if ending.state == Run.State.INTERRUPTED and not stream.fold.said and self.claim.attempts < conf.ATTEMPTS:
            announcement = await self._insist(ledger.requeue, run, self.claim.lease)
            if announcement is not None:
                log.info("action=run_requeued run=%s", run)
                await self._announce(announcement)
                return False
        announcement = await self._insist(
            ledger.finish,
            run,
            self.claim.lease,
            stream.fold,
            ending.state,
            ending.error_code,
            ending.retry_after,
            Times(self._first, self._last),
        )
        if announcement is None:
            log.info("action=run_lost run=%s lease=%d", run, self.claim.lease)
            stream.give_up()
            return False
        log.info("action=run_ended run=%s state=%s parts=%d", run, ending.state, stream.seq - self.claim.first)
        await self._announce(announcement)
        with suppress(RunLogUnavailable):
            await self._log.expire(stream.run, conf.LOG_LINGER)
        return True

    async def _insist(self, function: Callable[..., Announcement | None], *args: object) -> Announcement | None:
        """Do it in the database, however long that is away: what was said is kept meanwhile. None: the lease is lost.
        What the database refuses is raised.

        A transaction that was done although its answer got lost looks like a lost lease the second time; whoever
        reads then finds it done.
        """
        pause = 0.0
        while not self.stream.lost.is_set():
            try:
                return await self._database(function, *args)
            except (OperationalError, InterfaceError) as error:
                log.warning("action=database_away run=%s error=%s", self.claim.run, type(error).__name__)
                pause = min(RETRY_MOST, max(RETRY_FIRST, pause * 2))
                await asyncio.sleep(pause * self._rng.uniform(0.5, 1))
        return None
