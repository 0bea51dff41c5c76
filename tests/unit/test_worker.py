"""The worker whole: real claims, leases and run log, providers made for the test.

Where a hint is tested every sweep is far away, and where a sweep is tested no hint arrives.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import pytest
from channels.layers import InMemoryChannelLayer
from django.db import OperationalError

from chat import database
from chat.actions import Outcome
from chat.announcement import Announcement
from chat.generation import ledger
from chat.generation.worker import Worker
from chat.live.hub import Hub
from chat.models import Run
from chat.models import Worker as WorkerRow
from chat.protocol import Part, end, start, text
from chat.providers.base import Conversation, Provider
from chat.replication.announce import announce
from chat.runlog.memory import MemoryRunLog
from tests.unit.chats import Chat, answers, in_database, until
from tests.unit.rig import Scripted, saying

FAR = 3600.0


class One:
    """The provider of every model."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def choose(self, model: str) -> tuple[Provider, str]:
        return self.provider, model


class Works:
    """One deployment in this process: a run log, a channel layer, and workers that come and go."""

    def __init__(self) -> None:
        self.log = MemoryRunLog()
        self.layer = InMemoryChannelLayer(capacity=100_000)
        self.workers: dict[str, tuple[Worker, asyncio.Task[None], Hub]] = {}

    async def start(self, name: str, provider: Provider, call: Any = database.in_database) -> Worker:
        async def nothing(topics: Any) -> dict[str, Any]:
            return {}

        hub = Hub(self.layer, nothing, FAR)
        worker = Worker(self.log, self.layer, hub, call, One(provider), random.Random(0), name=name)  # type: ignore[arg-type]
        self.workers[name] = worker, asyncio.create_task(worker.run()), hub
        await until(lambda: "workers" in self.layer.groups)
        return worker

    async def kill(self, name: str) -> None:
        """As a crash does it: nothing is settled."""
        _, task, hub = self.workers.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await hub.close()

    async def do(self, call: Callable[[], Outcome]) -> None:
        """A verb, with its hints."""
        await self.tell((await in_database(call)).announcement)

    async def tell(self, announcement: Announcement | None) -> None:
        await announce(self.layer, self.log, announcement)

    async def close(self) -> None:
        for name in list(self.workers):
            await self.kill(name)


@pytest.fixture
async def works(sqlite: None, settings: Any) -> AsyncIterator[Works]:
    settings.REJOIN_SWEEP = settings.REJOIN_RENEW = FAR
    settings.REJOIN_LEASE = 3 * FAR
    works = Works()
    yield works
    await works.close()


@pytest.fixture
async def chat(works: Works) -> Chat:
    return await in_database(Chat)


async def state(chat: Chat, run: UUID) -> str:
    return str((await in_database(chat.run, run)).state)


async def reaches(chat: Chat, run: UUID, *states: str) -> Run:
    """The run, once it is in one of these states."""
    for _ in range(2000):
        row: Run = await in_database(chat.run, run)
        if row.state in states:
            return row
        await asyncio.sleep(0.005)
    raise AssertionError(f"The run never became {states}, it is {row.state}.")


async def texts(run: Run) -> list[str]:
    return [message.text for message in await in_database(answers, run)]


class Slow(Provider):
    """Says a word, then waits until it is told to go on. ``asked``: the questions so far."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.asked: list[str] = []
        self.go_on = asyncio.Event()
        self.closed = 0

    async def stream(self, conversation: Conversation) -> AsyncIterator[Part]:
        self.asked.append(conversation.turns[-1].text)
        answer = conversation.answer_id(0)
        try:
            yield start(answer)
            if not self.silent:
                yield text(answer, "first ")
            await self.go_on.wait()
            yield text(answer, "last")
            yield end(answer)
        finally:
            self.closed += 1


# ----------------------------------------------------------------------------------------------------------- claiming


async def test_a_hint_alone_makes_a_worker_look(works: Works, chat: Chat) -> None:
    await works.start("w", saying("An answer."))
    await asyncio.sleep(0.05)
    asked = await in_database(chat.send)
    await works.tell(Announcement(look=True))
    run = await reaches(chat, asked.run, "completed")
    assert await texts(run) == ["An answer."]


async def test_without_any_hint_a_worker_looks_by_itself(works: Works, chat: Chat, settings: Any) -> None:
    settings.REJOIN_SWEEP = 0.05
    await works.start("w", saying("An answer."))
    await asyncio.sleep(0.05)
    asked = await in_database(chat.send)
    await reaches(chat, asked.run, "completed")


async def test_what_waits_when_a_worker_starts_is_done(works: Works, chat: Chat) -> None:
    asked = await in_database(chat.send)
    await works.start("w", saying("An answer."))
    await reaches(chat, asked.run, "completed")


async def test_the_queue_of_a_thread_is_worked_off_in_order_without_further_hints(works: Works, chat: Chat) -> None:
    asked = [await in_database(chat.send, f"question {n}") for n in range(5)]
    await works.start("w", saying("An answer."))
    await reaches(chat, asked[-1].run, "completed")
    assert (await in_database(chat.texts))[::2] == [f"question {n}" for n in range(5)]


async def test_many_runs_are_generated_at_once(works: Works) -> None:
    chats = [await in_database(Chat) for _ in range(20)]
    for chat in chats:
        await in_database(chat.send)
    provider = Slow()
    await works.start("w", provider)
    await until(lambda: len(provider.asked) == 20)  # none of them has ended yet
    provider.go_on.set()
    for chat in chats:
        await reaches(chat, (await in_database(lambda chat=chat: chat.thread.runs.get())).pk, "completed")


async def test_a_worker_takes_no_more_than_it_may_until_one_ends(works: Works, settings: Any) -> None:
    settings.REJOIN_WORKER_RUNS = 2
    for _ in range(3):
        await in_database((await in_database(Chat)).send)
    provider = Slow()
    await works.start("w", provider)
    await until(lambda: len(provider.asked) == 2)
    await asyncio.sleep(0.1)
    assert len(provider.asked) == 2
    provider.go_on.set()
    await until(lambda: len(provider.asked) == 3)


async def test_a_user_with_many_questions_has_only_so_many_running(works: Works, chat: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_RUNNING = 2
    for _ in range(5):
        await in_database((await in_database(Chat, chat.owner)).send)
    provider = Slow()
    await works.start("w", provider)
    await until(lambda: len(provider.asked) == 2)
    await asyncio.sleep(0.1)
    assert len(provider.asked) == 2
    provider.go_on.set()
    await until(lambda: len(provider.asked) == 5)


async def test_two_workers_do_every_run_once(works: Works) -> None:
    provider = saying("An answer.")
    asked: list[str] = []
    stream = provider.stream

    def counting(conversation: Conversation) -> AsyncIterator[Part]:
        asked.append(str(conversation.run))
        return stream(conversation)

    provider.stream = counting  # type: ignore[method-assign,assignment]
    for name in ("one", "two"):
        await works.start(name, provider)
    chats = [await in_database(Chat) for _ in range(20)]
    runs = [(await in_database(chat.send)).run for chat in chats]
    await works.tell(Announcement(look=True))
    for chat, run in zip(chats, runs, strict=True):
        await reaches(chat, run, "completed")
    assert sorted(asked) == sorted(map(str, runs))


async def test_a_run_that_fails_harms_no_other(works: Works) -> None:
    async def fails_for_some(conversation: Conversation) -> AsyncIterator[Part]:
        yield start(conversation.answer_id(0))
        if conversation.turns[-1].text == "fail":
            raise RuntimeError
        yield text(conversation.answer_id(0), "fine")

    bad, good = await in_database(Chat), await in_database(Chat)
    await works.start("w", Scripted(fails_for_some))
    failing, fine = await in_database(bad.send, "fail"), await in_database(good.send)
    await works.tell(Announcement(look=True))
    await reaches(bad, failing.run, "failed")
    await reaches(good, fine.run, "completed")


async def test_a_database_away_for_a_while_is_asked_again(works: Works, chat: Chat, settings: Any) -> None:
    settings.REJOIN_SWEEP = 0.05
    failures = 0

    async def sometimes(function: Callable[..., Any], /, *args: object) -> Any:
        nonlocal failures
        if failures < 6:
            failures += 1
            raise OperationalError("away")
        return await database.in_database(function, *args)

    asked = await in_database(chat.send)
    await works.start("w", saying("An answer."), sometimes)
    await reaches(chat, asked.run, "completed")


# ----------------------------------------------------------------------------------------------------------- stopping


async def stopped(works: Works, chat: Chat, run: UUID, provider: Slow) -> None:
    assert await texts(await reaches(chat, run, "stopped")) == ["first "]
    assert provider.closed == 1


async def running(works: Works, chat: Chat, provider: Provider) -> UUID:
    asked = await in_database(chat.send)
    await works.start("w", provider)
    await until(lambda: works.log._runs.get(str(asked.run)) and works.log._runs[str(asked.run)].batches)
    return asked.run


async def test_a_stop_reaches_a_silent_run_by_its_hint_alone(
    works: Works, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.generation.worker.SILENCE", FAR)
    provider = Slow()
    run = await running(works, chat, provider)
    await works.do(lambda: chat.stop(run))
    await stopped(works, chat, run, provider)


async def test_a_stop_whose_hint_is_lost_reaches_a_silent_run_by_the_flag_beside_its_log(
    works: Works, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.generation.worker.SILENCE", 0.01)
    monkeypatch.setattr("chat.generation.worker.TICK", 0.01)
    provider = Slow()
    run = await running(works, chat, provider)
    await in_database(chat.stop, run)
    await works.log.stop(str(run))
    await stopped(works, chat, run, provider)


async def test_a_stop_of_which_only_the_row_knows_reaches_a_run_with_the_next_renewal(
    works: Works, chat: Chat, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.generation.worker.SILENCE", FAR)
    settings.REJOIN_RENEW = 0.05
    provider = Slow()
    run = await running(works, chat, provider)
    await in_database(chat.stop, run)
    await stopped(works, chat, run, provider)


async def test_a_thread_that_is_deleted_ends_its_generation(works: Works, chat: Chat) -> None:
    provider = Slow()
    await running(works, chat, provider)
    await works.do(lambda: chat.do("delete"))
    await until(lambda: provider.closed)


# ------------------------------------------------------------------------------------------------------- leases, death


async def test_a_worker_that_lost_its_lease_leaves_the_run_alone(works: Works, chat: Chat, settings: Any) -> None:
    settings.REJOIN_RENEW = 0.05
    provider = Slow()
    run = await running(works, chat, provider)
    await in_database(lambda: Run.objects.filter(pk=run).update(lease=2, lease_owner="another"))
    await until(lambda: provider.closed)
    row = await in_database(chat.run, run)
    assert (row.state, row.lease_owner) == ("running", "another")


async def test_a_lease_is_renewed_as_long_as_its_run_goes_on(works: Works, chat: Chat, settings: Any) -> None:
    settings.REJOIN_RENEW = 0.02
    run = await running(works, chat, Slow())
    ends = [(await in_database(chat.run, run)).lease_expires_at]
    for _ in range(1000):
        ends.append((await in_database(chat.run, run)).lease_expires_at)
        if len(set(ends)) > 3:
            break
        await asyncio.sleep(0.01)
    assert len(set(ends)) > 3
    assert ends == sorted(ends)


async def test_the_text_of_a_worker_that_was_killed_is_kept_by_another(works: Works, chat: Chat, settings: Any) -> None:
    settings.REJOIN_LEASE, settings.REJOIN_SWEEP = 0.4, 0.1
    run = await running(works, chat, Slow())
    await works.start("other", saying("never asked"))
    await works.kill("w")
    row = await reaches(chat, run, "interrupted")
    assert (await texts(row), row.error_code) == (["first "], "worker_lost")


async def test_a_run_whose_worker_was_killed_before_its_first_word_starts_again_elsewhere(
    works: Works, chat: Chat, settings: Any
) -> None:
    settings.REJOIN_LEASE, settings.REJOIN_SWEEP = 0.4, 0.1
    run = await running(works, chat, Slow(silent=True))
    await works.start("other", saying("the second time"))
    await works.kill("w")
    row = await reaches(chat, run, "completed")
    assert (await texts(row), row.attempts, row.lease_owner) == (["the second time"], 2, "")


async def test_a_log_that_was_emptied_while_a_run_is_silent_is_written_again(
    works: Works, chat: Chat, settings: Any
) -> None:
    settings.REJOIN_RENEW = 0.05
    run = str(await running(works, chat, Slow()))
    before = await works.log.read(run, 0)
    works.log._runs.clear()
    await until(lambda: run in works.log._runs)
    assert await works.log.read(run, 0) == before


async def test_what_was_said_is_in_the_database_when_a_run_falls_quiet(
    works: Works, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.generation.stream.QUIET", 0.01)
    monkeypatch.setattr("chat.generation.worker.TICK", 0.01)
    run = await running(works, chat, Slow())
    for _ in range(500):
        if await texts(await in_database(chat.run, run)) == ["first "]:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("no checkpoint")
    assert await state(chat, run) == "running"


# ------------------------------------------------------------------------------------------------------------ draining


async def test_a_worker_that_drains_claims_no_more_and_lets_its_runs_end(works: Works, chat: Chat) -> None:
    provider = Slow()
    run = await running(works, chat, provider)
    draining = asyncio.create_task(works.workers["w"][0].drain(FAR))
    await asyncio.sleep(0.02)
    other = await in_database(Chat)
    asked = await in_database(other.send)
    await works.tell(Announcement(look=True))
    await asyncio.sleep(0.1)
    assert not draining.done()
    provider.go_on.set()
    await draining
    assert (await state(chat, run), await state(other, asked.run)) == ("completed", "queued")
    assert not await in_database(WorkerRow.objects.exists)


async def test_what_has_not_ended_when_the_time_is_up_is_interrupted_with_its_text(works: Works, chat: Chat) -> None:
    run = await running(works, chat, Slow())
    await works.workers["w"][0].drain(0)
    row = await in_database(chat.run, run)
    assert (row.state, row.error_code, await texts(row)) == ("interrupted", "worker_lost", ["first "])


async def test_a_run_that_has_said_nothing_when_the_time_is_up_is_another_workers(works: Works, chat: Chat) -> None:
    run = await running(works, chat, Slow(silent=True))
    await works.workers["w"][0].drain(0)
    assert await state(chat, run) == "queued"
    await works.start("other", saying("elsewhere"))
    assert await texts(await reaches(chat, run, "completed")) == ["elsewhere"]


async def test_a_worker_without_runs_drains_at_once_and_its_loops_end(works: Works) -> None:
    worker = await works.start("w", saying("x"))
    await worker.drain(FAR)
    await works.kill("w")
    assert not await in_database(WorkerRow.objects.exists)


async def test_a_claim_that_was_under_way_when_draining_began_is_settled_too(works: Works, chat: Chat) -> None:
    asked, other = await in_database(chat.send), await in_database(Chat)
    later = await in_database(other.send)
    claiming, go_on = asyncio.Event(), asyncio.Event()

    async def slow(function: Callable[..., Any], /, *args: object) -> Any:
        if function is ledger.claim:
            claiming.set()
            await go_on.wait()
        return await database.in_database(function, *args)

    worker = await works.start("w", Slow(), slow)
    await claiming.wait()
    draining = asyncio.create_task(worker.drain(0))
    await asyncio.sleep(0.02)
    go_on.set()
    await draining
    await asyncio.sleep(0.05)
    await works.kill("w")
    assert await state(chat, asked.run) in ("queued", "interrupted")
    assert await state(other, later.run) == "queued"
