"""The stream: seqs, batches, what is kept, what may go, and when a checkpoint is due."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.fold import Answer, Fold
from chat.generation.stream import BATCH_CHARACTERS, Stream
from chat.protocol import MAX_FRAME, Part, done, end, reasoning, start, text
from chat.replication.batches import delta_frame, group_batches

MESSAGES = [str(uuid4()), str(uuid4())]
ONE, TWO = MESSAGES
RUN, THREAD = str(uuid4()), str(uuid4())
FIRST = 1_000_000


def stream(bound: int = 1024 * 1024, held: dict[str, Answer] | None = None) -> Stream:
    return Stream(RUN, THREAD, 1, FIRST, held or {}, bound=bound)


def put(stream: Stream, *parts: Part, now: float = 0.0) -> None:
    for part in parts:
        stream.put(part, now)


def frames(stream: Stream) -> list[str]:
    """The deltas that all unsent batches make."""
    return [delta_frame(THREAD, RUN, *group) for group in group_batches(list(stream.unsent))]


# ----------------------------------------------------------------------------------------------------------- batches


def test_each_part_gets_the_next_seq_and_joining_takes_none_away() -> None:
    running = stream()
    put(running, start(ONE), text(ONE, "a"), text(ONE, "b"), text(ONE, "c"), end(ONE))
    [batch] = running.cut(0.0)
    assert (batch.frm, batch.to, running.seq) == (FIRST, FIRST + 5, FIRST + 5)
    assert json.loads(batch.parts) == [list(start(ONE)), ["text", ONE, "abc"], ["end", ONE]]


def test_a_batch_once_cut_stays_as_it_is() -> None:
    running = stream()
    put(running, text(ONE, "a"))
    before = list(running.cut(0.0))
    put(running, text(ONE, "b"))
    assert list(running.cut(1.0))[:1] == before
    assert [batch.frm for batch in running.unsent] == [FIRST, FIRST + 1]


def test_nothing_to_cut_makes_no_batch() -> None:
    running = stream()
    assert not running.cut(0.0)
    assert not running.waiting


PART = st.one_of(
    st.builds(text, st.sampled_from(MESSAGES), st.text(max_size=200)),
    st.builds(reasoning, st.sampled_from(MESSAGES), st.text(max_size=200)),
    st.builds(start, st.sampled_from(MESSAGES)),
    st.builds(end, st.sampled_from(MESSAGES)),
)


@given(st.lists(st.lists(PART, max_size=20), max_size=8))
def test_the_batches_are_without_a_gap_and_mean_what_was_put(flushes: list[list[Part]]) -> None:
    running, plain = stream(), Fold(FIRST)
    for parts in flushes:
        put(running, *parts)
        plain.add(parts, plain.seq + len(parts))
        running.cut(0.0)
    again, seq = Fold(FIRST), FIRST
    for batch in running.unsent:
        assert batch.frm == seq
        again.add(json.loads(batch.parts), batch.to)
        seq = batch.to
    assert seq == running.seq == running.fold.seq == again.seq
    for fold in (again, running.fold):
        assert {m: (a.text, a.reasoning, a.ended) for m, a in fold.answers.items()} == {
            m: (a.text, a.reasoning, a.ended) for m, a in plain.answers.items()
        }


WIDEST = ["x", "漢", "😀", '"', "\\", "\n", "\x1b", "\x01", "\x7f"]


@pytest.mark.parametrize("character", WIDEST)
def test_whatever_the_text_is_made_of_a_delta_is_a_frame(character: str) -> None:
    running = stream()
    put(running, *[text(ONE, character * 100)] * 1000)
    running.cut(0.0)
    assert max(len(frame.encode()) for frame in frames(running)) < MAX_FRAME - 200


def test_two_messages_that_took_turns_for_long_still_come_in_frames() -> None:
    running = stream()
    put(running, *[text(ONE, "a"), reasoning(TWO, "b")] * 5000)
    running.cut(0.0)
    assert max(len(frame.encode()) for frame in frames(running)) < MAX_FRAME - 200


@given(st.lists(st.tuples(PART, st.integers(1, 400)), max_size=12), st.sampled_from(WIDEST))
@settings(max_examples=40, deadline=None)
def test_every_delta_is_a_frame(parts: list[tuple[Part, int]], character: str) -> None:
    running = stream()
    for part, times in parts:
        wide = (part[0], part[1], character * 100) if part[0] in ("text", "reasoning") else part
        put(running, *[wide] * times)  # type: ignore[list-item]
    running.cut(0.0)
    assert all(len(frame.encode()) < MAX_FRAME - 200 for frame in frames(running))


def test_a_backlog_of_small_parts_comes_in_few_batches() -> None:
    running = stream()
    put(running, *[text(ONE, "word ")] * 2000)
    assert len(running.cut(0.0)) <= 2


# ----------------------------------------------------------------------------------------- what the log has, and seeds


def test_what_the_log_has_is_no_longer_unsent_but_kept_to_seed_it_again() -> None:
    running = stream()
    put(running, text(ONE, "a"))
    running.cut(0.0)
    running.appended(FIRST + 1, 0.0)
    assert not running.unsent
    assert [batch.to for batch in running.kept()] == [FIRST + 1]
    assert not running.lost_log


def test_an_append_that_is_told_again_or_late_changes_nothing() -> None:
    running = stream()
    for n in range(3):
        put(running, text(ONE, "a"))
        running.cut(0.0)
        running.appended(FIRST + n + 1, 0.0)
    running.appended(FIRST + 1, 0.0)
    assert (running.sent, list(running.unsent)) == (FIRST + 3, [])


async def test_it_is_settled_when_the_log_has_everything() -> None:
    running = stream()
    await running.settled()
    put(running, text(ONE, "a"))
    waiting = asyncio.ensure_future(running.settled())
    running.cut(0.0)
    put(running, text(ONE, "b"))
    running.appended(FIRST + 1, 0.0)
    await asyncio.sleep(0)
    assert not waiting.done()
    running.cut(0.0)
    running.appended(FIRST + 2, 0.0)
    await waiting


async def test_giving_up_lets_everybody_go() -> None:
    running = stream(bound=10)
    put(running, text(ONE, "a" * 100))
    assert running.full
    running.give_up()
    await running.settled()
    await running.room()
    assert running.lost.is_set()


# -------------------------------------------------------------------------------------------- trimming, and the bound


def filled(count: int, size: int = 100, **fields: Any) -> Stream:
    """So many batches, one a second, all in the log."""
    running = stream(**fields)
    for n in range(count):
        put(running, text(ONE, "x" * size), now=float(n))
        running.cut(float(n))
        running.appended(running.seq, float(n))
    return running


def test_nothing_goes_before_a_checkpoint_has_it() -> None:
    running = filled(5)
    assert running.trim(1000.0, tail=10.0, cap=0) == FIRST
    assert len(running.kept()) == 5


def test_nothing_goes_before_the_log_has_it() -> None:
    running = filled(2)
    put(running, text(ONE, "x"))
    running.cut(2.0)
    running.checkpointed(running.fold, 2.0)
    assert running.trim(1000.0, tail=0.0, cap=0) == FIRST + 2
    assert [batch.to for batch in running.kept()] == [FIRST + 3]


def test_what_a_checkpoint_has_goes_but_for_the_last_seconds() -> None:
    running = filled(5)
    running.checkpointed(Fold(FIRST + 4), 5.0)
    assert running.trim(5.0, tail=3.5, cap=10_000) == FIRST + 2
    assert [batch.frm for batch in running.kept()] == [FIRST + 2, FIRST + 3, FIRST + 4]


def test_the_last_seconds_go_too_when_they_are_too_much() -> None:
    running = filled(5, size=1000)
    running.checkpointed(Fold(FIRST + 4), 5.0)
    running.trim(5.0, tail=100.0, cap=2500)
    assert running.buffered <= 2500


def test_past_its_bound_it_is_full_and_has_room_when_enough_has_gone() -> None:
    running = filled(5, size=1000, bound=4000)
    assert running.full
    running.checkpointed(running.fold, 5.0)
    running.trim(5.0, tail=100.0, cap=3000)
    assert not running.full


# -------------------------------------------------------------------------------------------------------- checkpoints


def said(running: Stream, characters: int, now: float) -> None:
    put(running, text(ONE, "x" * characters), now=now)
    running.cut(now)


def due(running: Stream, now: float, cap: int = 1_000_000) -> bool:
    return running.checkpoint_due(now, cap)


def checkpoint(running: Stream, now: float) -> None:
    running.checkpointed(running.fold, now)


def test_none_is_due_while_nothing_has_been_said() -> None:
    assert not due(stream(), 100.0)


def test_one_is_due_when_2_kb_were_said() -> None:
    running = stream()
    said(running, 2047, 0.0)
    assert not due(running, 0.0)
    said(running, 1, 0.0)
    assert due(running, 0.0)


def test_one_is_due_when_the_text_grew_by_a_quarter() -> None:
    running = stream()
    said(running, 100_000, 0.0)
    checkpoint(running, 0.0)
    said(running, 24_999, 10.0)
    assert not due(running, 10.0)
    said(running, 1, 10.0)
    assert due(running, 10.0)


def test_there_is_at_most_one_in_a_second() -> None:
    running = stream()
    said(running, 3000, 0.0)
    checkpoint(running, 0.0)
    said(running, 3000, 0.9)
    assert not due(running, 0.99)
    assert due(running, 1.0)


def test_one_is_due_when_the_run_falls_quiet_and_no_second_one() -> None:
    running = stream()
    said(running, 1, 0.0)
    assert not due(running, 1.99)
    assert due(running, 2.0)
    checkpoint(running, 2.0)
    assert not due(running, 100.0)


def test_one_is_due_at_once_when_the_log_alone_holds_too_much() -> None:
    running = stream()
    said(running, 100_000, 0.0)
    checkpoint(running, 0.0)
    said(running, 5_000, 0.5)
    assert not due(running, 0.5, cap=6_000)
    assert due(running, 0.5, cap=5_000)


def test_one_is_due_at_once_when_one_of_several_messages_has_ended_and_then_no_more() -> None:
    running = stream()
    put(running, start(ONE), end(ONE), now=0.0)
    running.cut(0.0)
    assert not due(running, 0.0)
    put(running, start(TWO), now=0.0)
    running.cut(0.0)
    assert due(running, 0.0)
    checkpoint(running, 0.0)
    put(running, text(TWO, "x"), now=0.5)
    running.cut(0.5)
    assert not due(running, 0.5)


def test_what_was_said_while_a_checkpoint_was_written_still_counts() -> None:
    running = stream()
    said(running, 3000, 0.0)
    written = running.fold.copy()
    said(running, 3000, 1.0)
    running.checkpointed(written, 1.0)
    assert due(running, 2.0)


def test_one_that_failed_is_tried_again_after_a_pause() -> None:
    running = stream()
    said(running, 3000, 0.0)
    running.checkpoint_failed(5.0)
    assert not due(running, 5.5)
    assert due(running, 6.0)


def test_none_is_due_after_the_runs_last_part_whose_place_is_the_final_row() -> None:
    # A finalizer looks for the last part in the log behind the checkpoint: it must not be before it.
    running = stream()
    said(running, 3000, 0.0)
    put(running, end(ONE), done())
    running.cut(0.0)
    assert not due(running, 100.0, cap=1)


def test_what_a_continued_message_had_is_no_growth() -> None:
    running = stream(held={ONE: Answer.of("x" * 10_000, "")})
    said(running, 100, 0.0)
    assert not due(running, 0.0)
    assert running.fold.answers[ONE].text == "x" * 10_100


@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=60))
@settings(max_examples=30, deadline=None)
def test_however_long_the_answer_what_is_kept_and_what_is_written_stays_bounded(sizes: list[int]) -> None:
    running, cap, written = stream(bound=10**9), 128 * 1024, 0
    for n, size in enumerate(sizes * 5):
        now = n * 1.0
        said(running, size, now)
        running.appended(running.seq, now)
        if due(running, now, cap):
            written += running.fold.length
            checkpoint(running, now)
        running.trim(now, tail=10.0, cap=cap)
        assert running.buffered <= cap + 2 * BATCH_CHARACTERS * 6 + 30_000
    total = sum(sizes * 5)
    assert written <= 5 * total + total**2 / cap
