"""The engine: what was said is what is in log and row, and whoever stops it, the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import groupby
from typing import Any
from uuid import UUID

import orjson
import pytest
from django.db import OperationalError

from chat.fold import Fold
from chat.generation import ledger
from chat.generation.ledger import Claim
from chat.models import Run
from chat.protocol import Part, end, reasoned, reasoning, start, text, usage
from chat.providers.base import Conversation
from chat.runlog.base import RunLogUnavailable
from tests.unit.chats import Chat, answers, in_database, until
from tests.unit.rig import Rig, Scripted, endless, saying, silent

Script = Callable[[Conversation], AsyncIterator[Part]]


@pytest.fixture
async def chat(rig: Rig) -> Chat:
    return await in_database(Chat)


async def ended(rig: Rig, chat: Chat, script: Script) -> tuple[Run, list[Any]]:
    """The run of a provider that does this, and its messages, both as they ended."""
    run = await rig.generate(chat, Scripted(script))
    return run, list(await in_database(answers, run))


async def logged(rig: Rig, run: Run) -> Fold:
    """What the run log holds of the run."""
    log = await rig.log.read(str(run.pk), 0)
    assert log is not None
    fold = Fold(log.first)
    for batch in log.batches:
        fold.add(orjson.loads(batch.parts), batch.to)
    return fold


# -------------------------------------------------------------------------------------------------------- what was said


async def test_log_and_row_hold_what_the_provider_said(rig: Rig, chat: Chat) -> None:
    run = await rig.generate(chat, saying("Hello", ", ", "world"))
    [answer] = await in_database(answers, run)
    fold = await logged(rig, run)
    assert (answer.text, answer.status, answer.author) == ("Hello, world", "complete", "model")
    assert fold.answers[str(answer.pk)].text == "Hello, world"
    assert (run.state, run.seq, fold.done) == ("completed", fold.seq, True)


async def test_the_row_of_a_message_is_there_before_its_first_part(rig: Rig, chat: Chat) -> None:
    found: list[bool] = []
    append = rig.log.append

    async def look(appends: Any) -> Any:
        for one in appends:
            if '"start"' in one.batches[0].parts:
                found.append(bool(await in_database(answers, await in_database(chat.run, UUID(one.run)))))
        return await append(appends)

    rig.log.append = look  # type: ignore[method-assign]
    await rig.generate(chat, saying("a"))
    assert found == [True]


async def test_the_halves_of_a_surrogate_pair_that_come_apart_are_joined(rig: Rig, chat: Chat) -> None:
    run = await rig.generate(chat, saying("a\ud83d", "\ude00b", "\ud83d", "\ude00"))
    [answer] = await in_database(answers, run)
    assert answer.text == "a😀b😀"
    assert (await logged(rig, run)).answers[str(answer.pk)].text == "a😀b😀"


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["a\0b"], "a\ufffdb"),
        (["a\ud83d"], "a\ufffd"),
        (["\ude00a"], "\ufffda"),
        (["\ud83d", "a"], "\ufffda"),
        (["\ud83d", "\ud83d", "\ude00"], "\ufffd😀"),
        (["\ud83d", "", "\ude00"], "😀"),
        (["\ud83d", "\0"], "\ufffd\ufffd"),
    ],
)
async def test_what_can_not_be_stored_is_replaced(rig: Rig, chat: Chat, pieces: list[str], said: str) -> None:
    run = await rig.generate(chat, saying(*pieces))
    [answer] = await in_database(answers, run)
    assert answer.text == said
    assert (await logged(rig, run)).answers[str(answer.pk)].text == said


async def test_halves_of_different_messages_and_of_reasoning_are_never_joined(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        one, two = conversation.answer_id(0), conversation.answer_id(1)
        yield start(one)
        yield start(two)
        yield text(one, "\ud83d")
        yield text(two, "\ude00")
        yield reasoning(one, "\ude00")
        yield text(one, "\ude00")

    _, [one, two] = await ended(rig, chat, script)
    assert (one.text, one.reasoning, two.text) == ("😀", "\ufffd", "\ufffd")


async def test_one_part_of_100_kb_is_said_whole(rig: Rig, chat: Chat) -> None:
    words = "".join(f"{n:06} 漢字 😀\n" for n in range(7_000))
    run = await rig.generate(chat, saying(words))
    [answer] = await in_database(answers, run)
    assert answer.text == words
    assert (await logged(rig, run)).answers[str(answer.pk)].text == words


async def test_two_messages_that_interleave_are_both_whole(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        one, two = conversation.answer_id(0), conversation.answer_id(1)
        yield start(one, author="first")
        yield start(two, author="second")
        for n in range(20):
            yield text(one, f"a{n} ")
            yield reasoning(two, f"r{n} ")
            yield text(two, f"b{n} ")
        yield end(two)
        yield text(one, "last")
        yield end(one)

    run, [one, two] = await ended(rig, chat, script)
    assert one.text == "".join(f"a{n} " for n in range(20)) + "last"
    assert (two.text, two.reasoning) == tuple("".join(f"{kind}{n} " for n in range(20)) for kind in "br")
    assert (one.author, two.author, two.parent_id) == ("first", "second", one.pk)
    assert run.state == "completed"


async def test_a_message_that_nobody_ended_has_ended_with_its_run(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer)
        yield text(answer, "no end\ud83d")

    run, [answer] = await ended(rig, chat, script)
    assert (answer.text, answer.status, run.state) == ("no end\ufffd", "complete", "completed")
    assert (await logged(rig, run)).answers[str(answer.pk)].ended


async def test_a_provider_that_says_nothing_at_all_has_completed_its_run(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        return
        yield

    run, messages = await ended(rig, chat, script)
    assert (run.state, messages, run.first_token_at) == ("completed", [], None)


async def test_usage_and_times_are_on_the_run(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer)
        yield text(answer, "said")
        yield usage(answer, input=11, output=7)

    run, _ = await ended(rig, chat, script)
    assert (run.tokens_in, run.tokens_out) == (11, 7)
    assert run.started_at <= run.first_token_at <= run.last_token_at <= run.finished_at


async def test_how_long_it_thought_is_said_of_each_message_before_what_follows_and_adds_up(
    rig: Rig, chat: Chat
) -> None:
    clock = asyncio.get_running_loop().time
    least: dict[str, float] = {}
    most: dict[str, float] = {}

    async def thoughts(answer: str) -> AsyncIterator[Part]:
        before = clock()
        yield reasoning(answer, "h")
        begun = clock()
        await asyncio.sleep(0.03)
        yield reasoning(answer, "m ")
        done = clock()
        yield text(answer, "said ")
        least[answer] = least.get(answer, 0) + (done - begun) * 1000 - 1
        most[answer] = most.get(answer, 0) + (clock() - before) * 1000 + 1

    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        for n in range(2):
            yield start(conversation.answer_id(n))
        for n in (0, 1, 0):
            async for part in thoughts(conversation.answer_id(n)):
                yield part

    run, messages = await ended(rig, chat, script)
    told = (await logged(rig, run)).answers
    for message in messages:
        assert least[str(message.pk)] <= message.reasoning_ms <= most[str(message.pk)]
        assert told[str(message.pk)].reasoning_ms == message.reasoning_ms
    log = await rig.log.read(str(run.pk), 0)
    assert log is not None
    parts = [part for batch in log.batches for part in orjson.loads(batch.parts)]
    kinds = [kind for kind, _ in groupby(part[0] for part in parts if part[1] == str(messages[0].pk))]
    assert kinds == ["start", *["reasoning", "reasoned", "text"] * 2, "end"]


async def test_thoughts_that_no_text_follows_have_their_time_too(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        for n in range(2):
            yield start(conversation.answer_id(n))
            yield reasoning(conversation.answer_id(n), "hm")
        await asyncio.sleep(0.03)
        yield end(conversation.answer_id(0))

    _, messages = await ended(rig, chat, script)
    assert [message.reasoning_ms >= 29 for message in messages] == [True, True]


async def test_how_long_it_thought_is_not_for_a_provider_to_say(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer)
        yield reasoned(answer, 10**12)

    run, [answer] = await ended(rig, chat, script)
    assert (run.state, run.error_code, answer.reasoning_ms) == ("failed", "internal", 0)


async def test_a_usage_that_can_not_be_is_no_reason_to_lose_an_answer(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer)
        yield usage(answer, input=10**12, output=-1)

    run, _ = await ended(rig, chat, script)
    assert (run.state, run.tokens_in, run.tokens_out) == ("completed", 10**8, 0)


async def test_a_kind_of_part_that_is_not_known_reaches_the_log_and_harms_nothing(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer)
        yield ("image", answer, {"url": "x"})
        yield text(answer, "said")

    run, [answer] = await ended(rig, chat, script)
    assert (run.state, answer.text) == ("completed", "said")
    log = await rig.log.read(str(run.pk), 0)
    assert log is not None
    assert '"image"' in "".join(batch.parts for batch in log.batches)


# ------------------------------------------------------------------------------------------------- stopped from outside


class Running:
    """A run under way."""

    def __init__(self, rig: Rig, chat: Chat, script: Script) -> None:
        self.rig, self.chat, self.script = rig, chat, script
        self.provider = Scripted(script)

    async def __aenter__(self) -> Running:
        self.rig.write()
        asked = await in_database(self.chat.send)
        self.claim: Claim = await in_database(self.chat.claim, asked.run)
        self.engine = self.rig.engine(self.claim, self.provider)
        self.task = asyncio.create_task(self.engine.run())
        await until(lambda: self.engine.stream.fold.said)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def row(self) -> Run:
        return await in_database(self.chat.run, self.claim.run)

    async def written(self) -> list[list[tuple[Any, ...]]]:
        """All columns of the run and of its answers."""
        run = await self.row()
        rows = [Run.objects.filter(pk=run.pk), run.messages.order_by("id")]
        return await in_database(lambda: [list(found.values_list()) for found in rows])  # type: ignore[no-any-return]

    async def texts(self) -> list[tuple[str, str]]:
        return [(message.text, message.status) for message in await in_database(answers, await self.row())]


@pytest.mark.parametrize("script", [endless, silent])
async def test_a_stop_ends_the_run_with_what_was_seen_and_leaves_the_provider(
    rig: Rig, chat: Chat, script: Script
) -> None:
    async with Running(rig, chat, script) as running:
        answer = running.claim.conversation.answer_id(0)
        await in_database(chat.stop, running.claim.run, seen={answer: 6})
        running.engine.stream.stopping.set()
        assert await running.task
        assert (await running.row()).state == "stopped"
        assert await running.texts() == [(("on and on " * 2)[:6] if script is endless else "a word", "cut")]
        assert running.provider.closed


async def thinking(conversation: Conversation) -> AsyncIterator[Part]:
    answer = conversation.answer_id(0)
    yield start(answer)
    yield reasoning(answer, "hm")
    await asyncio.Event().wait()


async def test_who_stops_it_in_its_thoughts_learns_how_long_they_took(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, thinking) as running:
        await asyncio.sleep(0.03)
        await in_database(chat.stop, running.claim.run)
        running.engine.stream.stopping.set()
        assert await running.task
        [answer] = await in_database(answers, await running.row())
        assert (answer.status, answer.reasoning) == ("cut", "hm")
        assert answer.reasoning_ms >= 29
        assert (await logged(rig, await running.row())).answers[str(answer.pk)].reasoning_ms == answer.reasoning_ms


async def counting(conversation: Conversation) -> AsyncIterator[Part]:
    answer = conversation.answer_id(0)
    yield start(answer, author="model")
    for n in range(3):
        yield text(answer, "word ")
        yield usage(answer, input=0 if n else 11, output=1)
    await asyncio.Event().wait()


async def test_what_was_counted_by_then_is_on_the_run_that_was_stopped(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, counting) as running:
        await until(lambda: running.engine.stream.fold.length == 15)
        await in_database(chat.stop, running.claim.run)
        running.engine.stream.stopping.set()
        assert await running.task
        run = await running.row()
        assert (run.state, run.tokens_in, run.tokens_out) == ("stopped", 11, 3)
        assert (await logged(rig, run)).tokens_out == 3, "it is in the log, too, should the last commit fail"


async def test_a_stop_that_comes_as_the_run_completes_still_cuts(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, silent) as running:
        answer = running.claim.conversation.answer_id(0)
        await in_database(chat.stop, running.claim.run, seen={answer: 1})
        running.task.cancel()  # (the engine heard nothing of it: what settles reads the row)
        fold = running.engine.stream.fold
        await in_database(ledger.finish, running.claim.run, running.claim.lease, fold, "completed")
        assert await running.texts() == [("a", "cut")]


async def test_draining_keeps_what_was_said_and_says_why_it_ended(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, silent) as running:
        running.engine.draining.set()
        assert await running.task
        row = await running.row()
        assert (row.state, row.error_code) == ("interrupted", "worker_lost")
        assert await running.texts() == [("a word, and then ", "cut")]
        assert running.provider.closed


async def test_draining_a_run_that_said_nothing_lets_it_start_again_elsewhere(rig: Rig, chat: Chat) -> None:
    async def thinking(conversation: Conversation) -> AsyncIterator[Part]:
        yield start(conversation.answer_id(0))
        await asyncio.sleep(3600)

    rig.write()
    asked = await in_database(chat.send)
    engine = rig.engine(await in_database(chat.claim, asked.run), Scripted(thinking))
    task = asyncio.create_task(engine.run())
    await until(lambda: engine.stream.seq > engine.claim.first)
    engine.draining.set()
    await task
    assert (await in_database(chat.run, asked.run)).state == "queued"
    again = await in_database(chat.claim, asked.run)
    assert await rig.engine(again, saying("the second time")).run()
    assert (await in_database(chat.texts))[-1] == "the second time"


async def test_who_lost_the_lease_goes_silently_and_writes_nothing(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, silent) as running:
        running.engine.stream.give_up()
        before = await running.written()
        assert not await running.task
        assert await running.written() == before
        assert (await running.row()).state == "running"
        assert running.provider.closed


async def test_who_learns_at_his_first_message_that_the_lease_is_lost_goes_too(rig: Rig, chat: Chat) -> None:
    asked = await in_database(chat.send)
    claim = await in_database(chat.claim, asked.run)
    await in_database(lambda: Run.objects.filter(pk=asked.run).update(lease=2))
    rig.write()
    assert not await rig.engine(claim, saying("never")).run()
    assert await in_database(answers, await in_database(chat.run, asked.run)) == []


async def test_a_deleted_thread_ends_its_run(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, silent) as running:
        await in_database(chat.do, "delete")
        running.engine.stream.stopping.set()
        assert not await running.task
        assert not await in_database(Run.objects.exists)


# ---------------------------------------------------------------------------------------------------- database, run log


class Away:
    """A database that may be away."""

    def __init__(self, engine: Any) -> None:
        self.away, self._there = False, engine._database
        engine._database = self

    async def __call__(self, function: Callable[..., Any], /, *args: object) -> Any:
        if self.away:
            raise OperationalError("server closed the connection unexpectedly")
        return await self._there(function, *args)


async def test_a_database_away_at_the_final_commit_loses_nothing(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, silent) as running:
        database = Away(running.engine)
        database.away = True
        running.engine.stream.stopping.set()
        await asyncio.sleep(0.3)
        assert not running.task.done()
        database.away = False
        assert await running.task
        assert await running.texts() == [("a word, and then ", "cut")]


async def test_a_checkpoint_that_fails_is_made_later(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, silent) as running:
        database, stream = Away(running.engine), running.engine.stream
        database.away = True
        running.engine.look(stream.last_part + 10)
        assert running.engine._checkpointing is not None
        await running.engine._checkpointing
        database.away = False
        running.engine.look(stream.last_part + 20)
        await running.engine._checkpointing
        row = await running.row()
        assert (row.state, row.seq) == ("running", stream.seq)
        assert await running.texts() == [("a word, and then ", "streaming")]


async def test_a_checkpoint_of_who_lost_the_lease_gives_the_run_up(rig: Rig, chat: Chat) -> None:
    async with Running(rig, chat, silent) as running:
        await in_database(lambda: Run.objects.filter(pk=running.claim.run).update(lease=2))
        running.engine.look(running.engine.stream.last_part + 10)
        assert not await running.task
        assert await running.texts() == [("", "streaming")]


async def test_without_a_run_log_an_answer_is_still_completed(rig: Rig, chat: Chat, monkeypatch: Any) -> None:
    async def away(*args: object) -> None:
        raise RunLogUnavailable

    for name in ("open", "append", "seed", "expire"):
        monkeypatch.setattr(rig.log, name, away)
    run = await rig.generate(chat, saying("said", " all the same"))
    [answer] = await in_database(answers, run)
    assert (run.state, answer.text) == ("completed", "said all the same")


async def test_a_model_is_read_no_further_than_the_bound_while_the_log_is_away_and_then_to_its_end(
    rig: Rig, chat: Chat, settings: Any, monkeypatch: Any
) -> None:
    settings.REJOIN_RUN_BUFFER = 20_000
    said = 0

    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        nonlocal said
        answer = conversation.answer_id(0)
        yield start(answer)
        for _ in range(100):
            said += 1
            yield text(answer, "x" * 1_000)

    async def away(*args: object) -> None:
        raise RunLogUnavailable

    with monkeypatch.context() as patch:
        for name in ("append", "seed"):
            patch.setattr(rig.log, name, away)
        async with Running(rig, chat, script) as running:
            await until(lambda: running.engine.stream.full)
            await asyncio.sleep(0.05)
            assert said <= 22
            patch.undo()
            while not running.task.done():  # what the worker does four times a second
                running.engine.look(asyncio.get_running_loop().time() + 10)
                await asyncio.sleep(0.01)
            assert await running.task
            assert await running.texts() == [("x" * 100_000, "complete")]
