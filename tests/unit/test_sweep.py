"""The sweep: every run ends, whatever died, and the business hook hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.utils import timezone

from chat.errors import ProviderTimeout
from chat.fold import Answer
from chat.generation import ledger, sweep
from chat.generation.ledger import Claim
from chat.generation.stream import Stream
from chat.generation.sweep import Finalizer, Sweeper, settle
from chat.models import Command, Run, Worker
from chat.protocol import Part, done, end, reasoning, start, text
from chat.runlog.base import Append, Batch, Log, RunLogUnavailable, Status
from chat.runlog.memory import MemoryRunLog
from tests.unit.chats import Chat, answers, in_database, until
from tests.unit.rig import Rig

LATER = Now() + timedelta(seconds=60)


class Dead:
    """A run whose worker has died, with whatever it left in database and log."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.chat: Chat
        self.claim: Claim
        self.stream: Stream

    async def claimed(self, chat: Chat | None = None) -> Dead:
        self.chat = chat or await in_database(Chat)
        asked = await in_database(self.chat.send)
        return await self.again(asked.run)

    async def again(self, run: Any) -> Dead:
        self.claim = await in_database(self.chat.claim, run)
        self.stream = Stream(str(run), str(self.chat.id), self.claim.lease, self.claim.first, {}, bound=10**9)
        await self.rig.log.open(str(run), self.claim.lease, self.claim.first)
        return self

    async def began(self, n: int = 0) -> str:
        answer = str(await in_database(self.chat.begin, self.claim, n))
        await self.said(start(answer))
        return answer

    async def said(self, *parts: Part) -> None:
        for part in parts:
            self.stream.put(part, 0.0)
        batches = list(self.stream.cut(0.0))
        [answer] = await self.rig.log.append([Append(self.stream.run, self.stream.lease, batches)])
        assert answer.status is Status.OK
        self.stream.appended(batches[-1].to, 0.0)

    async def checkpoint(self) -> None:
        await in_database(ledger.checkpoint, self.claim.run, self.claim.lease, self.stream.fold.copy())

    async def trimmed(self) -> None:
        """The log no longer has what the checkpoint has."""
        self.stream.checkpointed(self.stream.fold, 0.0)
        await self.rig.log.seed(self.stream.run, self.stream.lease, self.stream.trim(1e9, 0.0, 0), self.stream.kept())

    async def ended(self, now: Any = LATER) -> tuple[str, str, list[tuple[str, str]]]:
        """State, error code and messages, when it was finalized."""
        assert await finalizer(self.rig, now).finalize(self.claim.run, "sweeper")
        run = await self.row()
        messages = await in_database(answers, run)
        return run.state, run.error_code, [(message.text, message.status) for message in messages]

    async def row(self) -> Run:
        return await in_database(self.chat.run, self.claim.run)


def finalizer(rig: Rig, now: Any = LATER) -> Finalizer:
    return Finalizer(rig.log, in_database, rig.announce, now)


@pytest.fixture
async def dead(rig: Rig) -> Dead:
    return await Dead(rig).claimed()


# ---------------------------------------------------------------------------------------------------- what was said


async def test_the_text_of_a_dead_worker_is_kept(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "said "))
    await dead.checkpoint()
    await dead.said(text(answer, "to the last"))
    assert await dead.ended() == ("interrupted", "worker_lost", [("said to the last", "cut")])


async def test_a_run_that_had_said_everything_is_completed_though_its_worker_died(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "all of it"), end(answer), done())
    assert await dead.ended() == ("completed", "", [("all of it", "complete")])


async def test_a_run_that_had_nothing_to_say_and_said_so_is_completed(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(end(answer), done())
    assert await dead.ended() == ("completed", "", [("", "complete")])


async def test_of_several_messages_each_is_as_it_was_when_their_worker_died(dead: Dead) -> None:
    whole, failed, half = [await dead.began(n) for n in range(3)]
    await dead.said(text(whole, "whole"), end(whole), text(failed, "as far as "), end(failed, ProviderTimeout()))
    await dead.checkpoint()
    await dead.trimmed()
    await dead.said(text(half, "half of"))
    assert await dead.ended() == (
        "interrupted",
        "worker_lost",
        [("whole", "complete"), ("as far as ", "failed"), ("half of", "cut")],
    )


async def test_a_message_that_was_ended_is_complete_though_its_run_is_interrupted(dead: Dead) -> None:
    one = await dead.began()
    two = str(await in_database(dead.chat.begin, dead.claim, 1))
    await dead.said(text(one, "whole"), end(one), start(two), text(two, "half"))
    assert await dead.ended() == ("interrupted", "worker_lost", [("whole", "complete"), ("half", "cut")])


async def test_without_its_log_a_run_ends_with_its_checkpoint(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "kept"))
    await dead.checkpoint()
    await dead.said(text(answer, " and lost"))
    dead.rig.log = MemoryRunLog()
    assert await dead.ended() == ("interrupted", "worker_lost", [("kept", "cut")])


async def test_a_log_with_a_hole_behind_the_checkpoint_counts_for_nothing(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "kept"))
    await dead.checkpoint()
    seq = dead.stream.seq
    hole = Batch(seq + 1, seq + 2, orjson.dumps([text(answer, "hole")]).decode())
    await dead.rig.log.seed(dead.stream.run, 1, seq + 1, [hole])
    assert await dead.ended() == ("interrupted", "worker_lost", [("kept", "cut")])


async def test_a_stop_that_was_recorded_cuts_what_a_dead_worker_said(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "abcdef"), end(answer), done())
    await in_database(dead.chat.stop, dead.claim.run, seen={answer: 2})
    assert await dead.ended() == ("stopped", "", [("ab", "cut")])


async def test_the_dead_can_write_nothing_more_to_the_log(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "said"))
    await dead.ended()
    late = Batch(dead.stream.seq, dead.stream.seq + 1, "[]")
    [answered] = await dead.rig.log.append([Append(dead.stream.run, dead.stream.lease, [late])])
    assert answered.status is Status.FENCED


async def test_viewers_and_workers_hear_of_the_end(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "said"))
    await dead.ended()
    [announcement] = dead.rig.announced
    version = (await in_database(lambda: dead.chat.thread)).version
    assert (announcement.thread, announcement.version, announcement.look) == (dead.chat.id, version, True)


def test_what_the_checkpoint_has_is_not_added_again_from_the_log() -> None:
    taken = ledger.Takeover(uuid4(), uuid4(), 2, 105, 1, False, {"a": Answer.of("one two", "")}, True)
    batches = [Batch(100, 105, "[]"), Batch(105, 107, orjson.dumps([text("a", " three")]).decode())]
    fold = settle(taken, Log(100, 107, batches))
    assert (fold.answers["a"].text, fold.seq) == ("one two three", 107)


# --------------------------------------------------------------------------------------------------- starting again


async def test_a_run_that_had_said_nothing_waits_again(dead: Dead) -> None:
    await dead.began()
    assert await finalizer(dead.rig).finalize(dead.claim.run, "sweeper")
    row = await dead.row()
    assert (row.state, row.error_code) == ("queued", "")
    assert dead.rig.announced[-1].look


async def test_thinking_aloud_counts_as_having_said_something(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(reasoning(answer, "hm"))
    assert (await dead.ended())[0] == "interrupted"


async def test_a_run_whose_workers_always_die_silently_ends_after_three_attempts(dead: Dead) -> None:
    for _ in range(2):
        await dead.began()
        await finalizer(dead.rig).finalize(dead.claim.run, "sweeper")
        assert (await dead.row()).state == "queued"
        await dead.again(dead.claim.run)
    await dead.began()
    assert await dead.ended() == ("interrupted", "worker_lost", [("", "cut")])
    assert (await dead.row()).attempts == 3


async def test_a_silent_run_that_somebody_stopped_is_stopped_and_not_started_again(dead: Dead) -> None:
    await dead.began()
    await in_database(dead.chat.stop, dead.claim.run)
    assert (await dead.ended())[0] == "stopped"


async def test_the_log_of_an_attempt_says_nothing_about_the_next(dead: Dead) -> None:
    await dead.began()
    await finalizer(dead.rig).finalize(dead.claim.run, "sweeper")
    await dead.again(dead.claim.run)
    answer = await dead.began()
    await dead.said(text(answer, "the second time"))
    assert (await dead.ended())[2] == [("the second time", "cut")]


# ----------------------------------------------------------------------------------------------------- who may end it


async def test_a_run_whose_worker_lives_is_let_be(dead: Dead) -> None:
    alive = Finalizer(dead.rig.log, in_database, dead.rig.announce)
    assert not await alive.finalize(dead.claim.run, "sweeper")
    assert (await dead.row()).lease == 1


async def test_of_many_finalizers_one_ends_the_run(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "said"))
    results = await asyncio.gather(
        *[finalizer(dead.rig).finalize(dead.claim.run, f"sweeper {n}") for n in range(5)], return_exceptions=True
    )
    assert True in results
    assert len(dead.rig.announced) == 1
    assert (await dead.row()).state == "interrupted"


async def test_while_the_log_is_away_nothing_is_decided_and_then_nothing_was_lost(
    dead: Dead, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "said"))

    async def away(*args: object) -> None:
        raise RunLogUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(dead.rig.log, "read", away)
        with pytest.raises(RunLogUnavailable):
            await finalizer(dead.rig).finalize(dead.claim.run, "sweeper")
    assert (await dead.row()).state == "running"
    assert await in_database(ledger.expired) == [dead.claim.run]
    assert await dead.ended() == ("interrupted", "worker_lost", [("said", "cut")])


async def test_a_finalizer_that_dies_in_the_middle_is_followed_by_another(dead: Dead) -> None:
    answer = await dead.began()
    await dead.said(text(answer, "said"))
    await in_database(ledger.take_over, dead.claim.run, "died here", LATER)
    assert not await finalizer(dead.rig).finalize(dead.claim.run, "too early")
    assert await dead.ended(LATER + timedelta(seconds=60)) == ("interrupted", "worker_lost", [("said", "cut")])


async def test_the_queue_goes_on_after_an_interruption(dead: Dead) -> None:
    waiting = await in_database(dead.chat.send, "next")
    answer = await dead.began()
    await dead.said(text(answer, "said"))
    await dead.ended()
    assert await in_database(ledger.claimable, 10) == [waiting.run]


# ------------------------------------------------------------------------------------------------------------ sweeping


def sweeper(rig: Rig, **fields: Any) -> Sweeper:
    return Sweeper("sweeper", rig.log, in_database, rig.announce, rig.rng, **{"now": LATER, **fields})


async def test_a_sweep_ends_all_runs_whose_workers_died(rig: Rig) -> None:
    for _ in range(3):
        one = await Dead(rig).claimed()
        await one.said(text(await one.began(), "said"))
    await sweeper(rig).sweep()
    assert await in_database(lambda: set(Run.objects.values_list("state", flat=True))) == {"interrupted"}


async def test_a_run_that_can_not_be_ended_keeps_no_other_from_its_end(rig: Rig) -> None:
    broken, *others = [await Dead(rig).claimed() for _ in range(3)]
    for one in (broken, *others):
        await one.said(text(await one.began(), "said"))
    at = broken.stream.seq
    await rig.log.append([Append(broken.stream.run, broken.stream.lease, [Batch(at, at + 1, "no JSON")])])
    await sweeper(rig).sweep()
    assert [(await one.row()).state for one in (broken, *others)] == ["running", "interrupted", "interrupted"]


async def test_a_step_that_fails_keeps_no_other_from_being_done(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*args: object) -> None:
        raise RunLogUnavailable

    monkeypatch.setattr(rig.log, "fence", away)
    await Dead(rig).claimed()
    chat = await in_database(Chat)
    asked = await in_database(chat.send)
    await sweeper(rig).sweep()
    assert (await in_database(chat.run, asked.run)).error_code == "no_worker"


async def test_a_database_away_is_no_reason_to_stop_sweeping(rig: Rig, settings: Any) -> None:
    settings.REJOIN_SWEEP = 0.01
    one = await Dead(rig).claimed()
    await one.said(text(await one.began(), "said"))
    failures = 0

    async def sometimes(function: Callable[..., Any], /, *args: object) -> Any:
        nonlocal failures
        if failures < 10:
            failures += 1
            raise OperationalError("away")
        return await in_database(function, *args)

    sweeping = asyncio.create_task(Sweeper("s", rig.log, sometimes, rig.announce, rig.rng, now=LATER).run())
    await until(lambda: rig.announced)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    assert (await one.row()).state == "interrupted"


async def test_what_is_past_its_time_goes_once_an_hour(rig: Rig, settings: Any) -> None:
    called: list[int] = []
    chat = await in_database(Chat)

    def grow_old() -> None:
        Command.objects.update(created_at=timezone.now() - timedelta(days=settings.REJOIN_COMMAND_DAYS + 1))
        Worker.objects.create(name="old", seen_at=timezone.now() - timedelta(days=2))
        Worker.objects.create(name="new", seen_at=timezone.now())

    settings.REJOIN_COMMAND_DAYS = 3
    await in_database(grow_old)
    await in_database(chat.do, "delete")
    one = sweeper(rig, housekeeping=(sweep.remove_old, lambda: called.append(1)))
    await one.sweep()
    await one.sweep()
    assert called == [1]
    assert await in_database(lambda: [command.type for command in Command.objects.all()]) == ["delete"]
    assert await in_database(lambda: [worker.name for worker in Worker.objects.all()]) == ["new"]
