"""The subscription: order, gaps, repair and pause, as pure decisions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.protocol import LEASE_SPAN, Cursor
from chat.replication.batches import delta_frame
from chat.replication.subscription import ENDED_RUNS, HELD_DELTAS, DeltaHint, Page, Subscription

RUN, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
FIRST = LEASE_SPAN


def delta(frm: int, to: int, run: str = RUN) -> DeltaHint:
    """Parts (frm, to] after the lease's first seq."""
    frm, to = FIRST + frm, FIRST + to
    return DeltaHint(run, frm, to, delta_frame("t", run, frm, to, "[]"))


def at(seq: int, version: int = 3, run: str = RUN) -> Cursor:
    return Cursor(version, run, FIRST + seq)


def level(cursor: Cursor) -> Subscription:
    """One that has caught up to here."""
    subscription = Subscription(cursor)
    subscription.begin()
    assert subscription.apply(Page([], cursor)) == []
    assert not subscription.behind
    return subscription


def seqs(frames: list[str | None]) -> list[tuple[int, int]]:
    return [(f["from"] - FIRST, f["to"] - FIRST) for f in map(json.loads, filter(None, frames))]


# ------------------------------------------------------------------------------------------------------------- order


def test_a_new_subscription_is_behind() -> None:
    assert Subscription(Cursor()).behind


def test_nothing_is_sent_before_a_catch_up_has_shown_that_it_may_be() -> None:
    subscription = Subscription(at(5))
    assert subscription.delta(delta(5, 8)) is None
    subscription.begin()
    assert subscription.delta(delta(5, 8)) is None
    assert subscription.fail() == []
    assert (subscription.cursor, subscription.behind) == (at(5), True)


def test_a_delta_that_follows_is_sent_with_the_viewers_own_cursor() -> None:
    subscription = level(at(5, version=9))
    frame = subscription.delta(delta(5, 8))
    assert frame is not None
    sent = json.loads(frame)
    assert (sent["type"], sent["from"], sent["to"], sent["cursor"]) == ("delta", FIRST + 5, FIRST + 8, str(at(8, 9)))
    assert (subscription.cursor, subscription.behind) == (at(8, 9), False)


@pytest.mark.parametrize("again", [(2, 5), (0, 5), (0, 3)])
def test_a_delta_that_was_sent_already_is_dropped(again: tuple[int, int]) -> None:
    subscription = level(at(5))
    assert subscription.delta(delta(*again)) is None
    assert not subscription.behind


@pytest.mark.parametrize("wrong", [(6, 8), (4, 8)], ids=["gap", "overlap"])
def test_a_gap_or_an_overlap_is_not_guessed_at_but_read_again(wrong: tuple[int, int]) -> None:
    subscription = level(at(5))
    assert subscription.delta(delta(*wrong)) is None
    assert subscription.behind
    assert subscription.begin() == at(5)


def test_a_delta_of_a_run_that_is_not_known_is_read_again() -> None:
    subscription = level(Cursor(3))
    assert subscription.delta(delta(0, 1)) is None
    assert subscription.behind


def test_late_deltas_of_a_run_that_has_ended_are_dropped() -> None:
    subscription = level(at(5))
    subscription.begin()
    subscription.apply(Page([], Cursor(4), ended=[RUN]))
    assert subscription.delta(delta(5, 8)) is None
    assert not subscription.behind


def test_a_run_that_is_started_again_has_not_ended() -> None:
    subscription = level(at(5))
    for page in (Page([], Cursor(4), ended=[RUN]), Page([], at(0, 5))):
        subscription.begin()
        subscription.apply(page)
    assert subscription.delta(delta(0, 2)) is not None


def test_the_memory_of_ended_runs_is_bounded_and_what_was_forgotten_is_read_again() -> None:
    subscription = level(Cursor(1))
    runs = [f"00000000-0000-4000-8000-{n:012}" for n in range(ENDED_RUNS + 1)]
    for version, run in enumerate(runs):
        subscription.begin()
        subscription.apply(Page([], Cursor(version + 2), ended=[run]))
    assert subscription.delta(delta(0, 1, runs[-1])) is None
    assert not subscription.behind
    assert subscription.delta(delta(0, 1, runs[0])) is None
    assert subscription.behind


# -------------------------------------------------------------------------------------------------------- catching up


def test_a_change_that_is_newer_than_the_cursor_leaves_the_viewer_behind() -> None:
    subscription = level(Cursor(3))
    subscription.changed(3)
    assert not subscription.behind
    subscription.changed(4)
    assert subscription.behind


def test_deltas_that_come_while_catching_up_are_sent_after_it() -> None:
    subscription = Subscription(Cursor())
    subscription.begin()
    assert [subscription.delta(delta(0, 2)), subscription.delta(delta(2, 3))] == [None, None]
    sent = subscription.apply(Page(["change"], at(2)))
    assert sent[0] == "change"
    assert seqs(sent[1:]) == [(2, 3)]
    assert (subscription.cursor, subscription.behind) == (at(3), False)


def test_a_change_that_comes_while_catching_up_is_not_forgotten() -> None:
    subscription = Subscription(Cursor())
    subscription.begin()
    subscription.changed(5)
    subscription.apply(Page([], Cursor(4)))
    assert subscription.behind


def test_a_hint_of_before_the_catch_up_that_was_never_true_leads_to_one_reading_only() -> None:
    subscription = level(Cursor(4))
    subscription.changed(1000)
    subscription.begin()
    subscription.apply(Page([], Cursor(4)))
    assert not subscription.behind


def test_more_deltas_than_are_held_while_catching_up_are_read_again() -> None:
    subscription = Subscription(Cursor())
    subscription.begin()
    for n in range(HELD_DELTAS + 5):
        subscription.delta(delta(n, n + 1))
    sent = subscription.apply(Page([], at(0)))
    assert seqs(sent) == [(n, n + 1) for n in range(HELD_DELTAS)]
    assert (subscription.cursor, subscription.behind) == (at(HELD_DELTAS), True)


def test_between_pages_nothing_live_is_sent() -> None:
    subscription = Subscription(at(5, 1))
    subscription.begin()
    subscription.delta(delta(5, 6))
    assert subscription.apply(Page(["page"], at(5, 2), more=True)) == ["page"]
    assert subscription.behind


def test_a_catch_up_that_failed_is_owed_and_what_is_live_goes_on() -> None:
    subscription = level(at(5))
    subscription.changed(4)
    subscription.begin()
    subscription.delta(delta(5, 6))
    assert seqs(list(subscription.fail())) == [(5, 6)]
    assert subscription.behind
    assert subscription.begin() == at(6)


def test_the_cursor_follows_a_full_resync_backwards() -> None:
    subscription = level(at(50, 9))
    subscription.begin()
    subscription.apply(Page(["all"], at(2, 4)))
    assert subscription.cursor == at(2, 4)


# --------------------------------------------------------------------------------------------------------- comparison


def late(subscription: Subscription, truth: Cursor) -> bool:
    subscription.compare(truth)
    return subscription.overdue()


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (at(5), False),
        (at(6), True),
        (at(4), False),
        (at(5, 4), True),
        (Cursor(4), True),
        (Cursor(3), False),
        (at(9, 2), False),
    ],
)
def test_the_comparison_finds_what_no_hint_told(truth: Cursor, expected: bool) -> None:
    subscription = level(at(5))
    assert late(subscription, truth) is expected
    assert subscription.behind is expected


def test_what_arrives_between_comparison_and_judgement_was_only_on_its_way() -> None:
    subscription = level(at(5))
    subscription.compare(at(8))
    subscription.delta(delta(5, 8))
    assert not subscription.overdue()
    assert not subscription.behind


def test_one_comparison_is_judged_once() -> None:
    subscription = level(at(5))
    assert late(subscription, at(8))
    assert not subscription.overdue()


def test_a_viewer_who_is_catching_up_is_not_late() -> None:
    subscription = level(at(5))
    subscription.begin()
    assert not late(subscription, at(8))


def test_ahead_of_the_truth_once_is_a_change_since_and_twice_a_restored_backup() -> None:
    subscription = level(Cursor(9))
    assert not late(subscription, Cursor(4))
    assert not subscription.behind
    late(subscription, Cursor(4))
    assert subscription.behind


def test_ahead_then_level_then_ahead_is_no_restored_backup() -> None:
    subscription = level(Cursor(9))
    for truth in (Cursor(8), Cursor(9), Cursor(8)):
        late(subscription, truth)
    assert not subscription.behind


# -------------------------------------------------------------------------------------------------------------- pause


def test_nothing_is_sent_while_paused_and_it_is_read_again_afterwards() -> None:
    subscription = level(at(5))
    subscription.pause()
    assert [subscription.delta(delta(5, 6)), subscription.delta(delta(6, 7))] == [None, None]
    assert (subscription.cursor, subscription.behind) == (at(5), True)
    subscription.resume()
    assert subscription.delta(delta(7, 8)) is None
    assert subscription.begin() == at(5)


def test_a_pause_in_which_nothing_happened_needs_no_reading() -> None:
    subscription = level(at(5))
    subscription.pause()
    subscription.resume()
    assert not subscription.behind
    assert subscription.delta(delta(5, 6)) is not None


def test_what_is_held_when_a_pause_begins_is_not_sent_by_a_failed_catch_up() -> None:
    subscription = level(at(5))
    subscription.begin()
    subscription.delta(delta(5, 6))
    subscription.pause()
    assert subscription.fail() == []
    assert (subscription.cursor, subscription.behind) == (at(5), True)


# ----------------------------------------------------------------------------------------------------- whatever comes

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 3)),
        st.tuples(st.just("deliver"), st.integers(0, 30)),
        st.tuples(st.just("begin"), st.just(0)),
        st.tuples(st.just("end"), st.booleans()),
        st.tuples(st.just("pause"), st.booleans()),
        st.tuples(st.just("compare"), st.just(0)),
    ),
    max_size=80,
)


@given(EVENTS)
def test_whatever_is_lost_doubled_late_or_out_of_order_is_sent_once_and_in_order(events: list[tuple[str, Any]]) -> None:
    subscription = Subscription(at(0))
    said: list[DeltaHint] = []
    busy: tuple[int, int] | None = None
    sent: list[str | None] = []

    def last() -> int:
        return said[-1].to - FIRST if said else 0

    def settle(works: bool) -> None:
        nonlocal busy
        assert busy is not None
        frm, to = busy
        busy = None
        if works:
            frames = [f'{delta(frm, to).frame},"cursor":"x"}}'] if to > frm else []
            sent.extend(subscription.apply(Page(frames, at(to))))
        else:
            sent.extend(subscription.fail())

    for event, value in events:
        if event == "say":
            said.append(delta(last(), last() + value))
        elif event == "deliver" and said:
            sent.append(subscription.delta(said[value % len(said)]))
        elif event == "begin" and busy is None and subscription.behind and not subscription.paused:
            busy = (subscription.begin().seq - FIRST, last())
        elif event == "end" and busy is not None:
            settle(value)
        elif event == "pause":
            subscription.pause() if value else subscription.resume()
        elif event == "compare":
            subscription.compare(at(last()))
            subscription.overdue()
    # At the end all is quiet: what is missing is noticed, and read.
    if busy is not None:
        settle(True)
    subscription.resume()
    subscription.compare(at(last()))
    subscription.overdue()
    if subscription.behind:
        busy = (subscription.begin().seq - FIRST, last())
        settle(True)
    reached = 0
    for frm, to in seqs(sent):
        assert frm == reached
        reached = to
    assert reached == last()
    assert subscription.cursor == at(last())
