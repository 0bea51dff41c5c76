"""What a worker does to a run in the database: each compares and sets on the lease."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from chat.errors import ProviderTimeout
from chat.generation import ledger
from chat.generation.ledger import Times
from chat.models import Message, Run
from chat.protocol import LEASE_SPAN, end, reasoning, start, text, usage
from tests.unit.chats import Chat, claimed, folded, make_user
from tests.unit.concurrency import together

# ---------------------------------------------------------------------------------------------------------- claiming


def test_a_claim_is_a_lease_with_a_number_an_owner_and_an_end(chat: Chat) -> None:
    claim = claimed(chat)
    run = chat.run(claim.run)
    assert (run.state, run.lease, run.lease_owner, run.attempts, run.seq) == ("running", 1, "worker", 1, LEASE_SPAN)
    assert run.lease_expires_at is not None
    assert run.started_at is not None
    assert (claim.lease, claim.first) == (1, LEASE_SPAN)


def test_of_many_workers_one_wins_the_claim(either_database: str) -> None:
    chat = Chat()
    asked = chat.send()
    claims = together(*[lambda n=n: ledger.claim(asked.run, f"worker {n}") for n in range(6)])
    [won] = [claim for claim in claims if claim is not None]
    assert (won.lease, chat.run(asked.run).attempts) == (1, 1)
    assert chat.path() == [asked.message]


def test_of_two_runs_in_a_thread_the_first_is_claimed_though_both_are_tried(either_database: str) -> None:
    chat = Chat()
    turn, first, second = chat.turn(), chat.send(), chat.send()
    tries = together(*[lambda run=run: ledger.claim(run, "worker") for run in (second.run, first.run)] * 2)
    # Who finds the thread locked does not wait: where those who tried the second came first, it is tried again.
    claims = [claim for claim in tries if claim is not None] or [chat.claim(first.run)]
    assert [claim.run for claim in claims] == [first.run]
    assert chat.path() == [turn.message, turn.answer, first.message]


def test_a_run_that_waits_again_is_not_overtaken(chat: Chat) -> None:
    claim = claimed(chat)
    second = chat.send()
    ledger.requeue(claim.run, claim.lease)
    assert ledger.claim(second.run, "worker") is None


def test_a_run_that_is_running_ended_or_not_there_is_not_claimed(chat: Chat) -> None:
    running, ended = claimed(chat).run, Chat().turn().run
    assert [ledger.claim(run, "other") for run in (running, ended, uuid4())] == [None] * 3


def test_first_in_the_queue_is_first_to_be_claimed(chat: Chat) -> None:
    first, second = chat.send(), chat.send()
    assert ledger.claimable(10) == [first.run]
    claim = chat.claim(first.run)
    assert ledger.claimable(10) == []
    chat.finish(claim, {})
    assert ledger.claimable(10) == [second.run]


def test_the_longest_waiting_of_all_threads_comes_first(db: None) -> None:
    runs = [Chat().send().run for _ in range(4)]
    assert ledger.claimable(3) == runs[:3]


def test_a_user_has_at_most_so_many_running_and_the_rest_waits(db: None, settings: Any) -> None:
    settings.REJOIN_MAX_RUNNING = 2
    user = make_user()
    runs = [Chat(user).send().run for _ in range(4)]
    other = Chat().send().run
    found = ledger.claimable(10)  # a worker with room for many takes what it found one by one
    assert [ledger.claim(run, "worker") is not None for run in runs] == [True, True, False, False]
    assert ledger.claimable(10) == [other]
    assert other in found


def test_workers_do_not_pass_the_limit_together(either_database: str, settings: Any) -> None:
    settings.REJOIN_MAX_RUNNING = 2
    user = make_user()
    runs = [Chat(user).send().run for _ in range(5)]
    together(*[lambda run=run: ledger.claim(run, "worker") for run in runs])
    assert Run.objects.filter(state="running").count() == 2


def test_what_waits_for_the_limit_is_claimed_when_a_run_ends(db: None, settings: Any) -> None:
    settings.REJOIN_MAX_RUNNING = 1
    first = Chat()
    waiting = Chat(first.owner)
    claim = first.claim(first.send().run)
    run = waiting.send().run
    assert ledger.claim(run, "worker") is None
    first.finish(claim, {})
    assert ledger.claim(run, "worker") is not None


def test_a_refused_claim_changes_nothing(db: None, settings: Any) -> None:
    settings.REJOIN_MAX_RUNNING = 1
    first = Chat()
    claimed(first)
    waiting = Chat(first.owner)
    asked = waiting.send()
    before = (waiting.thread.version, waiting.thread.inbox_version)
    assert ledger.claim(asked.run, "worker") is None
    assert (waiting.thread.version, waiting.thread.inbox_version) == before
    assert waiting.message(asked.message).status == "queued"


# ---------------------------------------------------------------------------------------------------------- messages


def test_the_first_message_of_a_run_answers_its_question_and_the_next_follows_it(chat: Chat) -> None:
    claim = claimed(chat)
    one, two = chat.begin(claim, 0), chat.begin(claim, 1)
    assert chat.path()[1:] == [one, two]
    assert chat.message(one).status == chat.message(two).status == "streaming"
    assert chat.message(one).author == "model"


def test_messages_of_several_agents_may_stand_side_by_side(chat: Chat) -> None:
    asked = chat.send()
    claim = chat.claim(asked.run)
    one, two = chat.begin(claim, 0), chat.begin(claim, 1, parent=asked.message)
    assert chat.message(one).parent_id == chat.message(two).parent_id == asked.message
    assert chat.path() == [asked.message, one]


def test_each_message_that_begins_raises_the_version_of_run_and_thread(chat: Chat) -> None:
    claim = claimed(chat)
    before = chat.thread.version
    answer = chat.begin(claim)
    assert chat.thread.version == chat.run(claim.run).version == chat.message(answer).version == before + 1


def test_a_message_that_an_earlier_attempt_began_is_begun_anew(chat: Chat) -> None:
    claim = claimed(chat)
    answer = chat.begin(claim)
    ledger.requeue(claim.run, claim.lease)
    again = chat.claim(claim.run)
    assert chat.begin(again) == answer
    assert Message.objects.filter(role="assistant").count() == 1
    assert chat.message(answer).seq == again.first == 2 * LEASE_SPAN
    assert chat.path()[-1] == answer


def test_a_message_that_only_an_earlier_attempt_began_does_not_stream_for_ever(chat: Chat) -> None:
    claim = claimed(chat)
    one, two = chat.begin(claim, 0), chat.begin(claim, 1)
    ledger.requeue(claim.run, claim.lease)
    again = chat.claim(claim.run)
    chat.begin(again, 0)
    chat.finish(again, {one: "said"})
    assert [chat.message(pk).status for pk in (one, two)] == ["complete", "cut"]


# ------------------------------------------------------------------------------------------------- checkpoint and end


def test_a_checkpoint_keeps_all_texts_and_the_seq_and_raises_no_version(chat: Chat) -> None:
    claim = claimed(chat)
    one, two = chat.begin(claim, 0), chat.begin(claim, 1)
    version = chat.thread.version
    parts = [text(str(one), "a"), text(str(two), "b"), reasoning(str(one), "r")]
    assert ledger.checkpoint(claim.run, claim.lease, folded(claim, *parts))
    rows = [chat.message(pk) for pk in (one, two)]
    assert [(row.text, row.reasoning, row.seq) for row in rows] == [
        ("a", "r", claim.first + 3),
        ("b", "", claim.first + 3),
    ]
    assert (chat.run(claim.run).seq, chat.thread.version) == (claim.first + 3, version)


def test_a_checkpoint_says_once_which_of_several_messages_have_ended(chat: Chat) -> None:
    claim = claimed(chat)
    one, two, three = [chat.begin(claim, n) for n in range(3)]
    version = chat.thread.version
    fold = folded(claim, text(str(one), "a"), end(str(one)), end(str(two), ProviderTimeout()), text(str(three), "c"))
    made = ledger.checkpoint(claim.run, claim.lease, fold)
    assert made is not None
    assert made.announcement is not None
    assert (made.announcement.thread, made.announcement.version) == (chat.id, version + 1)
    rows = [chat.message(pk) for pk in (one, two, three)]
    assert [(row.status, row.error_code) for row in rows] == [
        ("complete", ""),
        ("failed", "provider_timeout"),
        ("streaming", ""),
    ]
    assert [row.version for row in rows[:2]] == [version + 1] * 2
    again = ledger.checkpoint(claim.run, claim.lease, fold)
    assert again is not None
    assert (again.announcement, chat.thread.version) == (None, version + 1)


def test_a_message_that_failed_by_itself_says_why_though_its_run_is_complete(chat: Chat) -> None:
    claim = claimed(chat)
    one, two = chat.begin(claim, 0), chat.begin(claim, 1)
    parts = [text(str(one), "half of"), end(str(one), ProviderTimeout()), text(str(two), "whole"), end(str(two))]
    ledger.finish(claim.run, claim.lease, folded(claim, *parts), "completed")
    assert (chat.message(one).text, chat.message(one).status) == ("half of", "failed")
    assert chat.message(one).error == ProviderTimeout().as_dict()
    assert (chat.message(two).status, chat.message(two).error) == ("complete", None)
    assert chat.run(claim.run).error is None


def test_a_message_that_failed_and_was_cut_by_a_stop_is_cut(chat: Chat) -> None:
    claim = claimed(chat)
    one, two = chat.begin(claim, 0), chat.begin(claim, 1)
    chat.stop(claim.run, seen={one: 4})
    parts = [text(str(one), "half of"), end(str(one), ProviderTimeout()), text(str(two), "never seen"), end(str(two))]
    ledger.finish(claim.run, claim.lease, folded(claim, *parts), "completed")
    rows = [chat.message(pk) for pk in (one, two)]
    assert [(row.text, row.status, row.error_code) for row in rows] == [("half", "cut", ""), ("", "cut", "")]


def test_what_failed_in_one_attempt_begins_anew_in_the_next(chat: Chat) -> None:
    claim = claimed(chat)
    answer = chat.begin(claim)
    chat.begin(claim, 1)
    ledger.checkpoint(claim.run, claim.lease, folded(claim, end(str(answer), ProviderTimeout())))
    ledger.requeue(claim.run, claim.lease)
    again = chat.claim(claim.run)
    assert (chat.message(answer).status, chat.message(answer).error) == ("streaming", None)
    chat.begin(again)
    chat.finish(again, {answer: "said"})
    assert (chat.message(answer).status, chat.message(answer).error) == ("complete", None)


def test_the_final_row_has_text_usage_times_and_no_lease(chat: Chat) -> None:
    claim = claimed(chat)
    answer = chat.begin(claim)
    begun = chat.run(claim.run).started_at
    parts = [start(str(answer)), text(str(answer), "said"), usage(str(answer), input=7, output=3), end(str(answer))]
    ledger.finish(claim.run, claim.lease, folded(claim, *parts), "completed", times=Times(begun, begun))
    run, message = chat.run(claim.run), chat.message(answer)
    assert (run.state, run.seq, run.tokens_in, run.tokens_out) == ("completed", claim.first + 4, 7, 3)
    assert (run.first_token_at, run.last_token_at, run.lease_owner, run.lease_expires_at) == (begun, begun, "", None)
    assert (message.text, message.status, message.seq) == ("said", "complete", claim.first + 4)
    assert chat.thread.unread


@pytest.mark.parametrize(
    ("state", "status"), [("completed", "complete"), ("failed", "failed"), ("interrupted", "cut"), ("stopped", "cut")]
)
def test_a_message_without_its_end_shows_how_the_run_ended(chat: Chat, state: str, status: str) -> None:
    claim = claimed(chat)
    answer = chat.begin(claim)
    ledger.finish(claim.run, claim.lease, folded(claim, text(str(answer), "half of")), state)
    assert (chat.message(answer).status, chat.message(answer).text) == (status, "half of")


@pytest.mark.parametrize("state", ["failed", "interrupted", "stopped"])
def test_a_message_with_its_end_is_complete_however_the_run_ended(chat: Chat, state: str) -> None:
    claim = claimed(chat)
    answer = chat.begin(claim)
    chat.finish(claim, {answer: "whole"}, state)
    assert chat.message(answer).status == "complete"


def test_a_failed_run_says_why_as_the_protocol_does(chat: Chat) -> None:
    claim = claimed(chat)
    chat.finish(claim, {}, "failed", error_code="provider_rate_limited", retry_after=12.5)
    error = chat.run(claim.run).error
    assert error is not None
    assert (error["code"], error["status"], error["retryable"], error["retry_after"]) == (
        "provider_rate_limited",
        429,
        True,
        12.5,
    )


def test_a_run_that_answers_again_and_says_nothing_leaves_the_first_answer_on_screen(chat: Chat) -> None:
    turn = chat.turn()
    claim = chat.claim(chat.regenerate(turn.answer))
    assert chat.path() == [turn.message]
    chat.finish(claim, {}, "failed", error_code="provider_unavailable")
    assert chat.path() == [turn.message, turn.answer]


# -------------------------------------------------------------------------------------------------------------- clocks


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Sets the machine's clock back by a minute, when it is called."""
    now = timezone.now
    return lambda: monkeypatch.setattr(timezone, "now", lambda: now() - timedelta(minutes=1))


def test_a_clock_that_is_set_back_leaves_the_phases_of_an_answer_in_their_order(
    chat: Chat, slow_clock: Callable[[], None]
) -> None:
    claim = chat.claim(chat.send("question").run)
    draft = chat.begin(claim, 0)
    slow_clock()
    critique, final = chat.begin(claim, 1), chat.begin(claim, 2)
    chat.finish(claim, {draft: "draft", critique: "critique", final: "final"})
    assert chat.texts() == ["question", "draft", "critique", "final"]


def test_what_waits_comes_after_the_newest_answer_though_its_worker_has_a_slow_clock(
    chat: Chat, slow_clock: Callable[[], None]
) -> None:
    turn = chat.turn("question", "old answer")
    again = chat.regenerate(turn.answer)
    waiting = chat.send("and then?")
    slow_clock()
    chat.answered(again, "new answer")
    claim = chat.claim(waiting.run)
    assert [turn.text for turn in claim.conversation.turns] == ["question", "new answer", "and then?"]
    assert chat.texts() == ["question", "new answer", "and then?"]
