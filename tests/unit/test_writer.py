"""The writer: group commit, log first and hint second, and what it does when the log is away, emptied or another's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import orjson
import pytest
from channels.layers import InMemoryChannelLayer

from chat.fold import Fold
from chat.generation.stream import Stream
from chat.generation.writer import Writer
from chat.live import topics
from chat.protocol import text
from chat.runlog.base import Append, Appended, Batch, Log, RunLogUnavailable, Status
from chat.runlog.memory import MemoryRunLog
from tests.unit.chats import until

ONE = str(uuid4())


class FlakyLog(MemoryRunLog):
    """A run log that may be away, and that may do an append and then not answer."""

    away = silent = False

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[int] = []
        """How many runs each append was for."""

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        if self.away:
            raise RunLogUnavailable
        self.appends.append(len(appends))
        answer = await super().append(appends)
        if self.silent:
            raise RunLogUnavailable
        return answer

    async def seed(self, run: str, fence: int, first: int, batches: Sequence[Batch]) -> Status:
        if self.away:
            raise RunLogUnavailable
        return await super().seed(run, fence, first, batches)


class Bench:
    """A writer, its log, its layer, and who holds the leases."""

    def __init__(self) -> None:
        self.log = FlakyLog()
        self.layer: Any = InMemoryChannelLayer(capacity=100_000)
        self.held = True
        self.renewals = 0
        self.writer = Writer(self.log, self.layer, self._renew, pause=0.01, tail=10.0, cap=2_000)

    async def _renew(self, stream: Stream) -> bool:
        self.renewals += 1
        if self.held:
            stream.deadline = float("inf")
        return self.held

    async def stream(self, bound: int = 10**9, *, deadline: float = float("inf")) -> Stream:
        stream = Stream(str(uuid4()), str(uuid4()), 1, 1_000_000, {}, bound=bound)
        stream.deadline = deadline
        await self.log.open(stream.run, 1, stream.first)
        stream.lost_log = False
        self.writer.add(stream)
        return stream

    def say(self, stream: Stream, words: str) -> None:
        stream.put(text(ONE, words), asyncio.get_running_loop().time())
        self.writer.written(stream)

    async def read(self, stream: Stream) -> str:
        """What the log has, from its beginning on."""
        log = await self.log.read(stream.run, 0)
        assert log is not None
        return said(log)


def said(log: Log) -> str:
    fold, seq = Fold(0), log.first
    for batch in log.batches:
        assert batch.frm == seq, "a hole in the log"
        fold.add(orjson.loads(batch.parts), batch.to)
        seq = batch.to
    assert seq == log.last
    return fold.answers[ONE].text if ONE in fold.answers else ""


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    yield Bench()


@pytest.fixture
async def writing(bench: Bench) -> AsyncIterator[Bench]:
    """The same with the writer's loop running."""
    task = asyncio.create_task(bench.writer.run())
    yield bench
    assert not task.done(), "the writer must never end by itself"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# ---------------------------------------------------------------------------------------------------------- writing


async def test_what_many_runs_have_said_is_written_in_one_round_trip(bench: Bench) -> None:
    streams = [await bench.stream() for _ in range(50)]
    for n, stream in enumerate(streams):
        bench.say(stream, f"run {n}")
    await bench.writer.flush()
    assert bench.log.appends == [50]
    assert [await bench.read(stream) for stream in streams] == [f"run {n}" for n in range(50)]


async def test_what_a_run_says_between_two_flushes_is_one_batch(bench: Bench) -> None:
    stream = await bench.stream()
    for word in ("a", "b", "c"):
        bench.say(stream, word)
    await bench.writer.flush()
    log = await bench.log.read(stream.run, 0)
    assert log is not None
    assert [json.loads(batch.parts) for batch in log.batches] == [[["text", ONE, "abc"]]]
    assert log.last == stream.seq == stream.sent == 1_000_003


async def test_a_flush_without_anything_new_asks_nobody(bench: Bench) -> None:
    stream = await bench.stream()
    bench.say(stream, "a")
    for _ in range(3):
        await bench.writer.flush()
    assert bench.log.appends == [1]


async def test_the_log_has_it_before_anybody_hears_of_it(bench: Bench) -> None:
    stream = await bench.stream()
    had: list[str] = []

    class Listening(InMemoryChannelLayer):
        async def group_send(self, group: str, message: dict[str, Any]) -> None:
            had.append(await bench.read(stream))

    bench.writer._layer = Listening()
    bench.say(stream, "a")
    await bench.writer.flush()
    assert had == ["a"]


async def test_a_hint_is_the_delta_that_viewers_are_sent(bench: Bench) -> None:
    stream = await bench.stream()
    topic = topics.thread(stream.thread)
    await bench.layer.group_add(topic, "viewer")
    bench.say(stream, "a")
    await bench.writer.flush()
    hint = await bench.layer.receive("viewer")
    assert (hint["type"], hint["topic"], hint["run"]) == ("delta", topic, stream.run)
    assert json.loads(hint["frame"] + "}") == {
        "type": "delta",
        "thread": stream.thread,
        "run": stream.run,
        "from": hint["from"],
        "to": hint["to"],
        "parts": [["text", ONE, "a"]],
    }
    assert (hint["from"], hint["to"]) == (1_000_000, 1_000_001)


async def test_a_layer_that_fails_keeps_nothing_from_the_log(writing: Bench) -> None:
    class Dead(InMemoryChannelLayer):
        async def group_send(self, group: str, message: dict[str, Any]) -> None:
            raise ConnectionError("gone")

    writing.writer._layer = Dead()
    stream = await writing.stream()
    for n in range(3):
        writing.say(stream, str(n))
        await stream.settled()
    assert await writing.read(stream) == "012"


async def test_a_stream_that_was_removed_is_written_no_more(bench: Bench) -> None:
    stream = await bench.stream()
    bench.say(stream, "a")
    bench.writer.remove(stream)
    bench.writer.remove(stream)
    bench.say(stream, "b")
    await bench.writer.flush()
    assert bench.log.appends == []


async def test_a_stop_that_was_asked_for_comes_with_the_answer_to_an_append(bench: Bench) -> None:
    stream, other = await bench.stream(), await bench.stream()
    await bench.log.stop(stream.run)
    for one in (stream, other):
        bench.say(one, "a")
    await bench.writer.flush()
    assert stream.stopping.is_set()
    assert not other.stopping.is_set()


async def test_the_log_is_trimmed_behind_the_checkpoint(bench: Bench) -> None:
    stream = await bench.stream()
    for _ in range(20):
        bench.say(stream, "x" * 500)
        await bench.writer.flush()
        stream.checkpointed(stream.fold, 0.0)
    log = await bench.log.read(stream.run, 0)
    assert log is not None
    assert sum(len(batch.parts) for batch in log.batches) <= 2_000 + 1_000
    assert [batch.frm for batch in log.batches] == [batch.frm for batch in stream.kept()][-len(log.batches) :]


# ------------------------------------------------------------------------------------------- a log away, or emptied


async def test_what_is_said_while_the_log_is_away_is_written_when_it_is_back(writing: Bench) -> None:
    stream = await writing.stream()
    writing.say(stream, "before ")
    await stream.settled()
    writing.log.away = True
    for n in range(10):
        writing.say(stream, f"{n} ")
        await asyncio.sleep(0.005)
    await until(lambda: writing.writer.away)
    writing.log.away = False
    await stream.settled()
    assert await writing.read(stream) == "before " + "".join(f"{n} " for n in range(10))
    await until(lambda: not writing.writer.away)


async def test_an_append_that_was_done_and_not_answered_is_not_done_twice(writing: Bench) -> None:
    stream = await writing.stream()
    writing.log.silent = True
    writing.say(stream, "once")
    await until(lambda: writing.log.appends)
    writing.say(stream, " and more")
    await until(lambda: len(writing.log.appends) > 1)
    writing.log.silent = False
    await stream.settled()
    assert await writing.read(stream) == "once and more"


async def test_a_retry_sends_the_same_batches(bench: Bench) -> None:
    stream = await bench.stream()
    sent: list[list[Batch]] = []
    append = bench.log.append

    async def keep(appends: Sequence[Append]) -> list[Appended]:
        sent.append(list(appends[0].batches))
        if len(sent) < 3:
            raise RunLogUnavailable
        return await append(appends)

    bench.log.append = keep  # type: ignore[method-assign]
    for word in ("a", "b", "c"):
        bench.say(stream, word)
        try:
            await bench.writer.flush()
        except RunLogUnavailable:
            continue
    assert sent[1][:1] == sent[0]
    assert sent[2][:2] == sent[1]
    assert len(sent[2]) == 3


async def test_a_log_that_was_emptied_is_seeded_again_with_the_same_seqs(writing: Bench) -> None:
    stream = await writing.stream()
    for word in ("a", "b"):
        writing.say(stream, word)
        await stream.settled()
    before = await writing.log.read(stream.run, 0)
    writing.log._runs.clear()
    writing.say(stream, "c")
    await until(lambda: stream.run in writing.log._runs)
    await stream.settled()
    after = await writing.log.read(stream.run, 0)
    assert before is not None
    assert after is not None
    assert list(after.batches)[:2] == list(before.batches)
    assert (after.first, said(after)) == (before.first, "abc")


async def test_what_a_checkpoint_has_need_not_be_seeded(writing: Bench) -> None:
    stream = await writing.stream()
    for _ in range(10):
        writing.say(stream, "x" * 1_000)
        await stream.settled()
        stream.checkpointed(stream.fold, 0.0)
    writing.log._runs.clear()
    writing.say(stream, "y")
    await until(lambda: stream.run in writing.log._runs)
    log = await writing.log.read(stream.run, 0)
    assert log is not None
    assert log.first == stream.first > 1_000_000
    assert said(log).endswith("y")


async def test_viewers_hear_of_what_was_said_though_it_was_seeded(bench: Bench) -> None:
    stream = await bench.stream()
    await bench.layer.group_add(topics.thread(stream.thread), "viewer")
    stream.lost_log = True
    bench.say(stream, "a")
    await bench.writer.flush()
    assert (await bench.layer.receive("viewer"))["to"] == stream.seq


async def test_one_run_whose_log_was_lost_keeps_no_other_from_being_written(writing: Bench) -> None:
    lost, other = await writing.stream(), await writing.stream()
    writing.held = False
    del writing.log._runs[lost.run]
    for stream in (lost, other):
        writing.say(stream, "a")
    await other.settled()
    assert await writing.read(other) == "a"
    assert await writing.log.read(lost.run, 0) is None


# --------------------------------------------------------------------------------------------------------- the lease


async def test_nothing_is_seeded_before_the_lease_was_confirmed(bench: Bench) -> None:
    stream = await bench.stream()
    del bench.log._runs[stream.run]
    bench.held = False
    bench.say(stream, "a")
    for _ in range(3):
        await bench.writer.flush()
    assert await bench.log.read(stream.run, 0) is None
    assert bench.renewals > 0
    bench.held = True
    await bench.writer.flush()
    assert await bench.read(stream) == "a"


async def test_nothing_is_written_after_the_lease_may_have_run_out(bench: Bench) -> None:
    stream = await bench.stream(deadline=asyncio.get_running_loop().time())
    bench.say(stream, "a")
    await bench.writer.flush()
    assert (bench.log.appends, stream.sent) == ([], 1_000_000)
    del bench.log._runs[stream.run]
    stream.lost_log = True
    await bench.writer.flush()
    assert (bench.renewals, await bench.log.read(stream.run, 0)) == (0, None)


async def test_it_goes_on_when_the_lease_is_renewed_though_nothing_new_is_said(writing: Bench) -> None:
    stream = await writing.stream(deadline=0.0)
    writing.say(stream, "a")
    await asyncio.sleep(0.02)
    assert not stream.sent > 1_000_000
    stream.deadline = float("inf")
    await stream.settled()
    assert await writing.read(stream) == "a"


async def test_a_fenced_stream_is_given_up_and_writes_no_more(writing: Bench) -> None:
    stream = await writing.stream()
    await writing.log.fence(stream.run, 2)
    writing.say(stream, "a")
    await until(stream.lost.is_set)
    await stream.settled()
    writing.say(stream, "b")
    await asyncio.sleep(0.02)
    log = await writing.log.read(stream.run, 0)
    assert log is not None
    assert log.batches == []


async def test_a_stream_that_is_fenced_when_it_seeds_is_given_up(writing: Bench) -> None:
    stream = await writing.stream()
    await writing.log.fence(stream.run, 2)
    stream.lost_log = True
    writing.say(stream, "a")
    await until(stream.lost.is_set)


# --------------------------------------------------------------------------------------------- a full stream goes on
#
# The model is read no further then, so nothing new wakes the writer.


async def full(bench: Bench) -> Stream:
    """A stream past its bound, all of it in the log, and nothing of it in the database."""
    stream = await bench.stream(bound=5_000)
    for _ in range(10):
        bench.say(stream, "x" * 1_000)
        await stream.settled()
    assert stream.full
    return stream


async def test_a_full_stream_has_room_again_when_the_database_has_its_text(writing: Bench) -> None:
    stream = await full(writing)
    stream.checkpointed(stream.fold, 0.0)
    writing.writer.written(stream)
    await until(lambda: not stream.full)
    assert stream.buffered <= 5_000


async def test_a_stream_that_filled_while_the_log_was_away_has_room_again_when_it_is_back(writing: Bench) -> None:
    stream = await writing.stream(bound=5_000)
    writing.log.away = True
    for _ in range(10):
        writing.say(stream, "x" * 1_000)
    await until(lambda: writing.writer.away)
    stream.checkpointed(stream.fold, 0.0)
    assert stream.full
    writing.log.away = False
    await until(lambda: not stream.full)
    assert await writing.read(stream) == "x" * 10_000


async def test_a_stream_that_filled_while_the_log_was_emptied_has_room_again_when_it_is_seeded(
    writing: Bench,
) -> None:
    stream = await writing.stream(bound=5_000)
    writing.log.away = True
    for _ in range(10):
        writing.say(stream, "x" * 1_000)
    await until(lambda: writing.writer.away)
    stream.checkpointed(stream.fold, 0.0)
    writing.log._runs.clear()
    writing.log.away = False
    await until(lambda: not stream.full)
    await stream.settled()
