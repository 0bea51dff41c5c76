"""Leases: who lost one can write nothing, and who is dead is noticed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from chat.fold import Answer
from chat.generation import ledger
from chat.generation.ledger import Claim
from chat.models import Message, Run, Thread, Worker
from chat.protocol import LEASE_SPAN, reasoning, start, text
from tests.unit.chats import LATER, Chat, claimed, folded
from tests.unit.concurrency import held_open, together

# ----------------------------------------------------------------------------------------------------- losing the lease


def taken_over(claim: Claim) -> ledger.Takeover:
    taken = ledger.take_over(claim.run, "sweeper", LATER)
    assert taken is not None
    return taken


def test_a_worker_that_lost_its_lease_can_write_nothing(either_database: str) -> None:
    chat = Chat()
    claim = claimed(chat)
    answer = chat.begin(claim)
    taken_over(claim)
    fold = folded(claim, text(str(answer), "too late"))
    before = (chat.thread.version, chat.run(claim.run).seq)
    assert ledger.begin(claim.run, claim.lease, uuid4(), None, "") is None
    assert ledger.checkpoint(claim.run, claim.lease, fold) is None
    assert ledger.finish(claim.run, claim.lease, fold, "completed") is None
    assert ledger.requeue(claim.run, claim.lease) is None
    ledger.release(claim.run, claim.lease)
    assert (chat.thread.version, chat.run(claim.run).seq, chat.message(answer).text) == (*before, "")
    assert not Run.objects.expired().exists()
    assert not ledger.renew("worker", {claim.run: claim.lease}).held


def test_a_lease_that_has_not_run_out_is_not_taken_over(either_database: str) -> None:
    claim = claimed(Chat())
    assert ledger.expired() == []
    assert ledger.take_over(claim.run, "sweeper") is None


def test_of_many_sweepers_one_wins_the_takeover(either_database: str) -> None:
    claim = claimed(Chat())
    results = together(
        *[lambda n=n: ledger.take_over(claim.run, f"sweeper {n}", Now() + timedelta(seconds=20)) for n in range(4)]
    )
    # Each sees the clock 20 s ahead; the winner's lease lasts 15 s from there.
    [won] = [result for result in results if result is not None]
    assert (won.lease, Run.objects.get(pk=claim.run).lease) == (2, 2)


def test_a_run_whose_worker_is_in_the_middle_of_a_checkpoint_is_not_taken_over(postgres: object) -> None:
    """Its text would be read as of the checkpoint and its seq as of before: what lies between would come twice."""
    chat = Chat()
    claim = claimed(chat)
    answer = chat.begin(claim)
    said = folded(claim, text(str(answer), "said so far"))

    def move_seq() -> None:
        assert Run.objects.held(claim.run, claim.lease).update(seq=said.seq)

    def write_text() -> None:
        Message.objects.filter(pk=answer).update(text="said so far", seq=said.seq)

    with held_open(move_seq, write_text):
        assert ledger.take_over(claim.run, "sweeper", LATER) is None
    taken = taken_over(claim)
    assert (taken.seq, taken.held[str(answer)].text) == (said.seq, "said so far")


def test_a_locked_run_keeps_no_other_from_being_renewed(postgres: object) -> None:
    locked, free = Chat(), Chat()
    claims = [claimed(chat) for chat in (locked, free)]
    runs = {claim.run: claim.lease for claim in claims}
    with held_open(lambda: Run.objects.select_for_update().get(pk=claims[0].run)):
        renewed = ledger.renew("worker", runs)
    assert (renewed.held, renewed.pushed) == (set(runs), {claims[1].run})
    assert ledger.renew("worker", runs).pushed == set(runs)


def test_a_locked_thread_keeps_no_other_from_being_claimed_or_settled(postgres: object) -> None:
    locked, waiting = Chat(), Chat()
    first, second = locked.send(), waiting.send()
    with held_open(lambda: Thread.objects.select_for_update().get(pk=locked.id)):
        assert ledger.claim(first.run, "worker") is None
        assert ledger.claimable(10, {first.run}) == [second.run]
        assert ledger.claim(second.run, "worker") is not None
    assert ledger.claimable(10) == [first.run]
    claim = locked.claim(first.run)
    with held_open(lambda: Thread.objects.select_for_update().get(pk=locked.id)):
        assert ledger.take_over(claim.run, "sweeper", LATER) is None


def test_a_takeover_knows_what_the_database_has_of_the_run(chat: Chat) -> None:
    claim = claimed(chat)
    answer = chat.begin(claim)
    ledger.checkpoint(claim.run, claim.lease, folded(claim, text(str(answer), "said so far")))
    chat.stop(claim.run)
    taken = taken_over(claim)
    assert (taken.lease, taken.seq, taken.attempts, taken.stopped, taken.said) == (2, claim.first + 1, 1, True, True)
    assert taken.held == {str(answer): Answer.of("said so far", "")}


@pytest.mark.parametrize(("part", "said"), [(text, True), (reasoning, True), (None, False)])
def test_a_run_has_said_something_when_text_or_reasoning_came(chat: Chat, part: Any, said: bool) -> None:
    claim = claimed(chat)
    answer = str(chat.begin(claim))
    ledger.checkpoint(claim.run, claim.lease, folded(claim, start(answer), *([part(answer, "x")] if part else [])))
    assert taken_over(claim).said is said


def test_a_run_that_is_started_again_keeps_its_place_and_gets_higher_seqs(chat: Chat) -> None:
    claim = claimed(chat)
    place, second = chat.run(claim.run).place, chat.send()
    taken = taken_over(claim)
    assert ledger.requeue(claim.run, taken.lease) is not None
    run = chat.run(claim.run)
    assert (run.state, run.place, run.lease_owner, run.lease_expires_at) == ("queued", place, "", None)
    assert ledger.claimable(10) == [claim.run]
    again = chat.claim(claim.run)
    assert (again.lease, again.attempts, again.first) == (3, 2, 3 * LEASE_SPAN)
    assert chat.message(second.message).status == "queued"
    assert chat.path() == [run.prompt_id]


def test_a_run_that_somebody_stopped_is_not_started_again(chat: Chat) -> None:
    claim = claimed(chat)
    chat.stop(claim.run)
    assert ledger.requeue(claim.run, claim.lease) is None
    assert chat.run(claim.run).state == "running"


def test_a_lease_that_was_given_back_can_be_taken_at_once(either_database: str) -> None:
    claim = claimed(Chat())
    taken = taken_over(claim)
    ledger.release(claim.run, taken.lease)
    assert ledger.expired() == [claim.run]


# ----------------------------------------------------------------------------------------------------- renewal, workers


def test_renewing_says_which_runs_are_still_held_and_which_were_stopped(either_database: str) -> None:
    one, two, lost = Chat(), Chat(), Chat()
    claims = [claimed(chat) for chat in (one, two, lost)]
    two.stop(claims[1].run)
    taken_over(claims[2])
    renewed = ledger.renew("worker", {claim.run: claim.lease for claim in claims})
    assert renewed.held == renewed.pushed == {claims[0].run, claims[1].run}
    assert renewed.stopped == {claims[1].run}


def test_renewing_pushes_the_end_of_the_lease_out(either_database: str) -> None:
    chat = Chat()
    claim = claimed(chat)
    Run.objects.filter(pk=claim.run).update(lease_expires_at=Now() + timedelta(seconds=1))
    ledger.renew("worker", {claim.run: claim.lease})
    assert ledger.expired(Now() + timedelta(seconds=10)) == []


def test_a_lease_that_ran_out_and_that_nobody_took_is_still_its_owners(either_database: str) -> None:
    claim = claimed(Chat())
    Run.objects.filter(pk=claim.run).update(lease_expires_at=Now() - timedelta(seconds=1))
    assert ledger.renew("worker", {claim.run: claim.lease}).held == {claim.run}
    assert ledger.expired() == []


def test_renewing_makes_a_worker_count_as_alive_and_retiring_ends_that(either_database: str) -> None:
    Chat().send()
    ledger.renew("worker", {})
    assert ledger.unserved(Now() + timedelta(seconds=10)) == []
    ledger.retire("worker")
    assert len(ledger.unserved(Now() + timedelta(seconds=10))) == 1


def test_the_leases_of_a_process_that_is_dead_run_out_at_once(either_database: str) -> None:
    mine, theirs = Chat(), Chat()
    claim = mine.claim(mine.send().run, "embedded:here:1")
    theirs.claim(theirs.send().run, "elsewhere:1")
    ledger.renew("embedded:here:1", [])
    ledger.orphan("embedded:")
    assert ledger.expired() == [claim.run]
    assert not Worker.objects.exists()


# ------------------------------------------------------------------------------------------------------- without worker


def test_a_queued_run_without_any_live_worker_is_marked_and_goes_on_waiting(either_database: str) -> None:
    chat = Chat()
    asked = chat.send()
    version = chat.thread.version
    [announcement] = ledger.unserved(Now() + timedelta(seconds=10))
    run = chat.run(asked.run)
    assert run.state == "queued"
    assert run.error is not None
    assert run.error["code"] == "no_worker"
    assert (announcement.thread, announcement.version) == (chat.id, version + 1)
    assert run.version == chat.thread.version == version + 1


def test_a_run_is_marked_once(chat: Chat) -> None:
    chat.send()
    assert len(ledger.unserved(LATER)) == 1
    assert ledger.unserved(LATER) == []


def test_a_run_that_only_just_came_is_not_marked_yet(either_database: str) -> None:
    Chat().send()
    assert ledger.unserved() == []


def test_a_worker_that_was_seen_a_lease_ago_counts_as_dead(either_database: str) -> None:
    Chat().send()
    ledger.renew("worker", {})
    assert len(ledger.unserved(Now() + timedelta(seconds=16))) == 1


def test_the_mark_goes_when_a_worker_takes_the_run(chat: Chat) -> None:
    asked = chat.send()
    ledger.unserved(LATER)
    chat.claim(asked.run)
    assert chat.run(asked.run).error is None


def test_the_mark_goes_from_what_still_waits_when_a_worker_is_back(chat: Chat) -> None:
    first, second = chat.send(), chat.send()
    ledger.unserved(LATER)
    assert {chat.run(asked.run).error_code for asked in (first, second)} == {"no_worker"}
    ledger.renew("worker", {})
    assert [announcement.thread for announcement in ledger.unserved()] == [chat.id, chat.id]
    assert {chat.run(asked.run).error_code for asked in (first, second)} == {""}
    assert Thread.objects.get(pk=chat.id).version == chat.run(second.run).version
