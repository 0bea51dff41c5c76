"""Going on with an answer that was cut or broke off: in the same message, its text being the model's own last turn."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models.functions import Now

from chat.errors import BadRequest, Busy, Conflict, NotFound, RateLimited
from chat.fold import Answer, Fold
from chat.generation import ledger
from chat.generation.ledger import Claim
from chat.generation.sweep import settle
from chat.models import Run
from chat.protocol import LEASE_SPAN, end, reasoned, reasoning, text
from chat.runlog.base import Batch, Log
from tests.unit.chats import Chat
from tests.unit.concurrency import together

LATER = Now() + timedelta(seconds=60)


def going_on(chat: Chat, words: str = "half") -> tuple[Claim, UUID]:
    """An answer that was cut here and is gone on with: the claim, and the answer."""
    turn = chat.cut_turn("hello", words)
    return chat.claim(chat.go_on(turn.answer)), turn.answer


# ------------------------------------------------------------------------------------------------------- what goes on


def test_a_continued_answer_goes_on_in_the_same_message(chat: Chat) -> None:
    turn = chat.cut_turn("hello", "half")
    claim = chat.claim(chat.go_on(turn.answer))
    chat.finish(claim, {turn.answer: " and half"})
    answer = chat.message(turn.answer)
    assert (answer.text, answer.status, answer.run_id) == ("half and half", "complete", claim.run)
    assert chat.path() == [turn.message, turn.answer]


def test_its_text_so_far_is_the_last_turn_of_the_prompt(chat: Chat) -> None:
    claim, answer = going_on(chat, "half")
    turns = [(turn.role, turn.text) for turn in claim.conversation.turns]
    assert turns == [("user", "hello"), ("assistant", "half")]
    assert (claim.conversation.continues, claim.conversation.answer_id(0)) == (str(answer), str(answer))
    assert claim.held == {str(answer): Answer.of("half", "")}


def test_from_the_claim_on_it_streams_with_the_new_runs_seqs(chat: Chat) -> None:
    claim, pk = going_on(chat, "half")
    answer = chat.message(pk)
    assert (answer.status, answer.base_length, answer.seq) == ("streaming", 4, claim.lease * LEASE_SPAN)
    assert answer.version == chat.thread.version


def test_until_then_it_stays_as_it_is(chat: Chat) -> None:
    turn = chat.cut_turn()
    chat.go_on(turn.answer)
    assert (chat.message(turn.answer).status, chat.message(turn.answer).run_id) == ("cut", turn.run)


def test_the_run_that_wrote_it_before_has_changed_too(chat: Chat) -> None:
    turn = chat.cut_turn()
    chat.claim(chat.go_on(turn.answer))
    assert chat.run(turn.run).version == chat.thread.version


def test_it_is_asked_of_the_model_that_wrote_it(chat: Chat) -> None:
    answer = chat.broken_off(chat.claim(chat.send(model="better").run), "half")
    assert chat.run(chat.go_on(answer)).model == "better"


def test_an_answer_that_broke_off_can_be_gone_on_with(chat: Chat) -> None:
    answer = chat.broken_off(chat.claim(chat.send().run), "half", Run.State.FAILED)
    again = chat.claim(chat.go_on(answer))
    chat.finish(again, {answer: " and half"})
    assert (chat.message(answer).text, chat.message(answer).status) == ("half and half", "complete")


def test_an_answer_without_a_word_can_be_gone_on_with(chat: Chat) -> None:
    claim, answer = going_on(chat, "")
    assert claim.conversation.turns[-1].role == "assistant"
    chat.finish(claim, {answer: "a beginning"})
    assert chat.message(answer).text == "a beginning"


def test_the_second_of_a_runs_messages_goes_on_and_the_first_stays(chat: Chat) -> None:
    first = chat.claim(chat.send("hello").run)
    one, two = chat.begin(first, 0), chat.begin(first, 1)
    chat.stop(first.run, seen={one: 3, two: 3})
    chat.finish(first, {one: "abc", two: "uvwxyz"})
    claim = chat.claim(chat.go_on(two))
    assert [turn.text for turn in claim.conversation.turns] == ["hello", "abc", "uvw"]
    chat.finish(claim, {two: "…"})
    assert [chat.message(pk).text for pk in (one, two)] == ["abc", "uvw…"]


def test_a_further_message_of_the_run_comes_after_it(chat: Chat) -> None:
    claim, answer = going_on(chat)
    further = chat.begin(claim, 1)
    chat.finish(claim, {answer: " more", further: "another"})
    assert chat.message(further).parent_id == answer
    assert chat.texts() == ["hello", "half more", "another"]


def test_the_demo_model_is_told_of_no_other_answer_than_when_it_began(chat: Chat) -> None:
    turn = chat.turn()
    again = chat.claim(chat.regenerate(turn.answer))
    answer = chat.broken_off(again, "half")
    assert (again.conversation.others, chat.claim(chat.go_on(answer)).conversation.others) == (1, 1)


def test_what_is_sent_meanwhile_comes_after_it(chat: Chat) -> None:
    turn = chat.cut_turn("one", "half")
    chat.answered(chat.regenerate(turn.answer), "newer")
    chat.select(turn.answer)
    run = chat.go_on(turn.answer)
    waiting = chat.send("two")
    chat.finish(chat.claim(run), {turn.answer: " and half"})
    assert [said.text for said in chat.claim(waiting.run).conversation.turns] == ["one", "half and half", "two"]


# ---------------------------------------------------------------------------------------------------- again and again


def test_an_answer_may_be_gone_on_with_twice(chat: Chat) -> None:
    claim, answer = going_on(chat, "one")
    chat.stop(claim.run, seen={answer: 7})
    chat.finish(claim, {answer: " two three"})
    assert chat.message(answer).text == "one two"
    again = chat.claim(chat.go_on(answer))
    assert [turn.text for turn in again.conversation.turns] == ["hello", "one two"]
    assert chat.message(answer).base_length == 7
    chat.finish(again, {answer: " and three"})
    assert chat.message(answer).text == "one two and three"


def test_one_that_says_nothing_leaves_the_text_and_completes_the_answer(chat: Chat) -> None:
    claim, answer = going_on(chat, "half")
    fold = Fold(claim.first)
    fold.hold(str(answer), "half", "")
    fold.add([end(str(answer))], claim.first + 1)
    ledger.finish(claim.run, claim.lease, fold, Run.State.COMPLETED)
    assert (chat.message(answer).text, chat.message(answer).status) == ("half", "complete")


@pytest.mark.parametrize(("state", "status"), [("failed", "failed"), ("interrupted", "cut"), ("stopped", "cut")])
def test_one_that_breaks_off_leaves_what_was_there(chat: Chat, state: str, status: str) -> None:
    claim, answer = going_on(chat, "half")
    chat.broken_off(claim, " and", state)
    assert (chat.message(answer).text, chat.message(answer).status) == ("half and", status)
    chat.go_on(answer)


def test_asked_for_twice_at_the_same_moment_it_goes_on_once(either_database: str) -> None:
    chat = Chat()
    turn = chat.cut_turn()
    outcomes = together(*[lambda: chat.go_on(turn.answer)] * 2)
    assert sorted(isinstance(outcome, Busy) for outcome in outcomes) == [False, True]


# ------------------------------------------------------------------------------------------------------ the worker dies


def test_its_worker_dies_and_what_it_has_said_is_kept_after_what_was_there(chat: Chat) -> None:
    claim, answer = going_on(chat, "half")
    taken = ledger.take_over(claim.run, "sweeper", LATER)
    assert taken is not None
    said = Batch(claim.first, claim.first + 1, f'[["text","{answer}"," and"]]')
    fold = settle(taken, Log(claim.first, claim.first + 1, [said]))
    ledger.finish(claim.run, taken.lease, fold, Run.State.INTERRUPTED, "worker_lost")
    assert (chat.message(answer).text, chat.message(answer).status) == ("half and", "cut")


def test_its_worker_dies_before_it_said_anything_and_it_waits_to_be_tried_again(chat: Chat) -> None:
    claim, answer = going_on(chat, "half")
    taken = ledger.take_over(claim.run, "sweeper", LATER)
    assert taken is not None
    assert not taken.said
    ledger.requeue(claim.run, taken.lease)
    again = chat.claim(claim.run)
    assert [turn.text for turn in again.conversation.turns] == ["hello", "half"]
    assert again.held == {str(answer): Answer.of("half", "")}
    chat.finish(again, {answer: " and half"})
    assert chat.message(answer).text == "half and half"


def test_reasoning_from_before_is_nothing_that_it_said(chat: Chat) -> None:
    asked = chat.claim(chat.send().run)
    answer = chat.begin(asked)
    fold = Fold(asked.first)
    fold.add([reasoning(str(answer), "hm"), reasoned(str(answer), 1200), text(str(answer), "half")], asked.first + 3)
    ledger.finish(asked.run, asked.lease, fold, Run.State.INTERRUPTED, "worker_lost")
    claim = chat.claim(chat.go_on(answer))
    taken = ledger.take_over(claim.run, "sweeper", LATER)
    assert taken is not None
    assert not taken.said
    fold = settle(taken, None)
    fold.add([reasoning(str(answer), " hm"), reasoned(str(answer), 300)], claim.first + 2)
    ledger.checkpoint(claim.run, taken.lease, fold)
    again = ledger.take_over(claim.run, "sweeper", LATER + timedelta(seconds=600))
    assert again is not None
    assert again.said
    assert again.held[str(answer)] == Answer.of("half", "hm hm", 1500)


def test_taken_back_while_it_waits_to_be_tried_again_it_is_cut_as_before(chat: Chat) -> None:
    claim, answer = going_on(chat, "half")
    ledger.requeue(claim.run, claim.lease)
    chat.stop(claim.run)
    assert (chat.message(answer).text, chat.message(answer).status) == ("half", "cut")
    chat.go_on(answer)


# ------------------------------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize(("seen", "left"), [(0, "half"), (2, "half"), (6, "half a"), (99, "half and half")])
def test_a_stop_never_cuts_below_where_it_went_on(chat: Chat, seen: int, left: str) -> None:
    claim, answer = going_on(chat, "half")
    chat.stop(claim.run, seen={answer: seen})
    chat.finish(claim, {answer: " and half"})
    assert chat.message(answer).text == left


def test_a_late_stop_does_not_either(chat: Chat) -> None:
    claim, answer = going_on(chat, "half")
    chat.finish(claim, {answer: " and half"})
    chat.stop(claim.run, seen={})
    assert (chat.message(answer).text, chat.message(answer).status) == ("half", "cut")


def test_a_late_stop_of_the_run_before_is_a_conflict_once_it_goes_on(chat: Chat) -> None:
    first = chat.claim(chat.send().run)
    answer = chat.broken_off(first, "one")
    second = chat.claim(chat.go_on(answer))
    with pytest.raises(Conflict):
        chat.stop(first.run, seen={answer: 1})
    chat.broken_off(second, " two")
    third = chat.go_on(answer)
    chat.claim(third)
    with pytest.raises(Conflict):
        chat.stop(second.run, seen={answer: 5})
    assert chat.message(answer).text == "one two"


def test_a_late_stop_still_cuts_while_it_only_waits_to_go_on(chat: Chat) -> None:
    claim = chat.claim(chat.send().run)
    answer = chat.broken_off(claim, "half")
    run = chat.go_on(answer)
    chat.stop(claim.run, seen={answer: 2})
    assert chat.claim(run).held == {str(answer): Answer.of("ha", "")}


def test_generated_again_while_it_goes_on_it_is_stopped_first(chat: Chat) -> None:
    claim, answer = going_on(chat, "half")
    chat.regenerate(answer, seen={answer: 6})
    chat.finish(claim, {answer: " and half"})
    assert (chat.message(answer).text, chat.run(claim.run).state) == ("half a", "stopped")


def test_interrupted_before_it_went_on_it_does_not(chat: Chat) -> None:
    turn = chat.cut_turn("one", "half")
    run = chat.go_on(turn.answer)
    asked = chat.send("two", on_busy="interrupt", seen={turn.answer: 4})
    assert chat.run(run).state == "stopped"
    assert ledger.claimable(10) == [asked.run]
    assert [said.text for said in chat.claim(asked.run).conversation.turns] == ["one", "half", "two"]


# -------------------------------------------------------------------------------------------------------------- refused


def test_a_question_can_not_be_gone_on_with(chat: Chat) -> None:
    asked = chat.send()
    chat.finish(chat.claim(asked.run), {}, Run.State.FAILED)
    with pytest.raises(BadRequest) as caught:
        chat.go_on(asked.message)
    assert caught.value.detail == {"field": "of"}


def test_a_complete_answer_is_a_conflict(chat: Chat) -> None:
    turn = chat.turn()
    with pytest.raises(Conflict):
        chat.go_on(turn.answer)


def test_an_answer_that_is_not_the_paths_end_is_a_conflict(chat: Chat) -> None:
    turn = chat.cut_turn()
    chat.turn("and then")
    with pytest.raises(Conflict):
        chat.go_on(turn.answer)


def test_an_answer_on_a_path_that_is_not_shown_is_a_conflict(chat: Chat) -> None:
    turn = chat.cut_turn()
    chat.answered(chat.regenerate(turn.answer))
    with pytest.raises(Conflict):
        chat.go_on(turn.answer)


def test_while_something_runs_or_waits_it_is_busy(chat: Chat) -> None:
    turn = chat.cut_turn()
    asked = chat.send()
    with pytest.raises(Busy):
        chat.go_on(turn.answer)
    chat.claim(asked.run)
    with pytest.raises(Busy):
        chat.go_on(turn.answer)


def test_anothers_answer_can_not_be_gone_on_with(chat: Chat) -> None:
    with pytest.raises(NotFound):
        chat.go_on(Chat().cut_turn().answer)


def test_it_counts_among_what_waits(chat: Chat, settings: Any) -> None:
    turn = chat.cut_turn()
    settings.REJOIN_MAX_QUEUED = 1
    Chat(chat.owner).send()
    with pytest.raises(RateLimited):
        chat.go_on(turn.answer)
