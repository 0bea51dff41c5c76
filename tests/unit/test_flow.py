"""Flow control: heartbeats, pauses, and the bucket."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.buckets import Bucket
from chat.protocol import HEARTBEAT_BYTES, HEARTBEAT_SILENCE, MAX_PAUSE, MAX_UNANSWERED
from chat.replication.flow import Flow


def new(seed: int = 0, *, at: float = 0.0) -> Flow:
    return Flow(at, random.Random(seed))


def test_a_heartbeat_is_due_after_so_many_bytes_and_then_again() -> None:
    flow = new()
    assert not flow.sent(HEARTBEAT_BYTES - 1, 0.0)
    assert flow.sent(1, 0.0)
    flow.beat(0.0)
    assert not flow.sent(HEARTBEAT_BYTES - 1, 0.0)


def test_a_heartbeat_is_due_after_silence_and_anything_sent_ends_the_silence() -> None:
    flow = new(at=100.0)
    assert not flow.silent(100.0 + HEARTBEAT_SILENCE - 0.01)
    assert flow.silent(100.0 + HEARTBEAT_SILENCE)
    flow.sent(1, 105.0)
    assert not flow.silent(100.0 + HEARTBEAT_SILENCE)
    flow.beat(200.0)
    assert not flow.silent(200.0)


def test_the_numbers_of_heartbeats_rise_and_do_not_tell_the_next() -> None:
    numbers, others = ([flow.beat(0.0) for _ in range(50)] for flow in (new(1), new(2)))
    assert numbers == sorted(set(numbers))
    assert not set(numbers) & set(others)
    steps = [after - before for before, after in pairwise([0, *numbers])]
    assert len(set(steps)) == 50


def paused() -> tuple[Flow, list[int]]:
    """A flow that is paused, and the numbers of its heartbeats."""
    flow = new()
    numbers = [flow.beat(0.0) for _ in range(MAX_UNANSWERED)]
    return flow, numbers


def test_four_unanswered_heartbeats_pause() -> None:
    flow = new()
    for n in range(MAX_UNANSWERED):
        assert not flow.paused
        flow.beat(float(n))
    assert flow.paused


@pytest.mark.parametrize("which", range(MAX_UNANSWERED))
def test_an_ack_of_any_of_them_answers_those_before_it_and_ends_the_pause(which: int) -> None:
    flow, numbers = paused()
    assert flow.ack(numbers[which])
    assert not flow.paused
    assert flow.unanswered == numbers[which + 1 :]


def test_an_ack_counts_once() -> None:
    flow, numbers = paused()
    assert flow.ack(numbers[1])
    assert not flow.ack(numbers[1])
    assert not flow.ack(numbers[0])


@pytest.mark.parametrize("n", [0, 1, 2**19, 10**9, 10**18])
def test_nobody_answers_what_was_not_sent(n: int) -> None:
    flow, numbers = paused()
    assert n not in numbers
    assert not flow.ack(n)
    assert flow.paused
    assert flow.unanswered == numbers


def test_a_pause_that_lasts_is_given_up_counted_from_its_beginning() -> None:
    flow = new()
    for n in range(MAX_UNANSWERED):
        flow.beat(float(n))
    begun = MAX_UNANSWERED - 1
    flow.sent(10, begun + 30.0)
    assert not flow.given_up(begun + MAX_PAUSE - 0.01)
    assert flow.given_up(begun + MAX_PAUSE)


def test_a_socket_that_is_not_paused_is_never_given_up() -> None:
    assert not new().given_up(1e9)


def test_a_bucket_gives_its_burst_at_once_then_says_how_long_to_wait() -> None:
    bucket = Bucket(10, 3, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(0.0) == pytest.approx(0.1)
    assert bucket.take(0.1) == 0.0
    assert bucket.take(0.1) > 0


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(10, 3, 3, 0.0)
    assert [bucket.take(1e6) == 0.0 for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 2), max_size=100))
def test_a_bucket_never_gives_more_than_burst_and_rate_together(pauses: list[float]) -> None:
    bucket, now, given_out = Bucket(5, 4, 4, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        given_out += bucket.take(now) == 0.0
    assert given_out <= 4 + 5 * now + 1e-6
