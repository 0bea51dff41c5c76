"""Generating an answer again: a sibling, and the end of what ran or waited on the path that is left."""

from __future__ import annotations

import pytest

from chat.errors import BadRequest
from chat.generation import ledger
from chat.models import Run
from tests.unit.chats import Chat


def test_an_answer_that_is_generated_again_is_a_sibling_of_the_first(chat: Chat) -> None:
    turn = chat.turn(words="first")
    again = chat.answered(chat.regenerate(turn.answer), "second")
    assert chat.message(again).parent_id == chat.message(turn.answer).parent_id == turn.message
    assert chat.texts() == ["hello", "second"]
    assert chat.message(turn.answer).text == "first"


def test_its_prompt_holds_nothing_of_the_first_answer(chat: Chat) -> None:
    chat.turn("one", "said")
    turn = chat.turn("two", "first")
    claim = chat.claim(chat.regenerate(turn.answer))
    assert [said.text for said in claim.conversation.turns] == ["one", "said", "two"]


def test_the_path_is_left_when_the_run_is_claimed_and_not_before(chat: Chat) -> None:
    turn = chat.turn()
    run = chat.regenerate(turn.answer)
    assert chat.path() == [turn.message, turn.answer]
    claim = chat.claim(run)
    assert chat.path() == [turn.message]
    answer = chat.begin(claim)
    assert chat.path() == [turn.message, answer]


def test_it_may_be_asked_of_another_model(chat: Chat) -> None:
    turn = chat.turn()
    assert chat.run(chat.regenerate(turn.answer, model="better")).model == "better"


def test_both_siblings_rows_have_changed(chat: Chat) -> None:
    turn = chat.turn()
    claim = chat.claim(chat.regenerate(turn.answer))
    again = chat.begin(claim)
    assert chat.message(turn.answer).version == chat.message(again).version == chat.thread.version


def test_an_earlier_answer_may_be_generated_again_and_what_followed_it_stays_on_its_branch(chat: Chat) -> None:
    first, second = chat.turn("one"), chat.turn("two")
    again = chat.answered(chat.regenerate(first.answer))
    assert chat.path() == [first.message, again]
    assert chat.message(second.message).parent_id == first.answer


def test_a_question_whose_run_said_nothing_may_be_asked_again(chat: Chat) -> None:
    asked = chat.send()
    chat.finish(chat.claim(asked.run), {}, Run.State.FAILED)
    again = chat.answered(chat.regenerate(asked.message))
    assert chat.path() == [asked.message, again]


def test_a_question_that_waits_can_not_be_asked_again(chat: Chat) -> None:
    asked = chat.send()
    with pytest.raises(BadRequest) as caught:
        chat.regenerate(asked.message)
    assert caught.value.detail == {"field": "of"}


def test_it_waits_for_its_turn_like_a_question(chat: Chat) -> None:
    turn = chat.turn()
    claim = chat.claim(chat.regenerate(turn.answer))
    second = chat.regenerate(turn.answer)
    assert ledger.claim(second, "worker") is None
    chat.finish(claim, {chat.begin(claim): "said"})
    chat.claim(second)


# -------------------------------------------------------------------------------------------- what ran there is stopped


def test_a_run_that_writes_on_the_path_that_is_left_is_stopped_where_it_was_seen(chat: Chat) -> None:
    claim = chat.claim(chat.send().run)
    answer = chat.begin(claim)
    command = chat.command("regenerate", of=answer, run=chat.id, seen={answer: 3})
    outcome = chat.do("regenerate", of=answer, run=command.run, seen={answer: 3})
    assert outcome.announcement is not None
    assert outcome.announcement.stop == claim.run
    chat.finish(claim, {answer: "abcdef"})
    assert (chat.message(answer).text, chat.run(claim.run).state) == ("abc", "stopped")
    again = chat.answered(command.run)
    assert chat.path() == [chat.run(claim.run).prompt_id, again]


def test_without_seen_a_run_that_is_left_is_stopped_and_not_cut(chat: Chat) -> None:
    claim = chat.claim(chat.send().run)
    answer = chat.begin(claim)
    chat.regenerate(answer)
    chat.finish(claim, {answer: "abcdef"})
    assert (chat.message(answer).text, chat.run(claim.run).state) == ("abcdef", "stopped")


def test_a_stop_that_was_recorded_before_stays_the_first(chat: Chat) -> None:
    claim = chat.claim(chat.send().run)
    answer = chat.begin(claim)
    chat.stop(claim.run, seen={answer: 1})
    chat.regenerate(answer, seen={answer: 4})
    chat.finish(claim, {answer: "abcdef"})
    assert chat.message(answer).text == "a"


def test_a_run_below_the_answer_is_stopped_before_it_has_said_anything(chat: Chat) -> None:
    first = chat.turn()
    claim = chat.claim(chat.send().run)
    chat.regenerate(first.answer)
    assert chat.run(claim.run).stop == {"seen": None}


def test_a_new_answer_below_is_stopped_before_it_has_said_anything(chat: Chat) -> None:
    first, second = chat.turn(), chat.turn()
    claim = chat.claim(chat.regenerate(second.answer))
    chat.regenerate(first.answer)
    assert chat.run(claim.run).stop == {"seen": None}


def test_a_run_on_another_path_goes_on(chat: Chat) -> None:
    first, second = chat.turn(), chat.turn()
    claim = chat.claim(chat.send(parent=first.answer).run)
    chat.begin(claim)
    chat.regenerate(second.answer)
    assert chat.run(claim.run).stop is None


# ----------------------------------------------------------------------------------------- what waits there is unqueued


def test_questions_that_wait_on_the_path_that_is_left_are_taken_back(chat: Chat) -> None:
    turn = chat.turn()
    waiting = [chat.send(), chat.send(), chat.send()]
    run = chat.regenerate(turn.answer)
    assert [chat.message(one.message).status for one in waiting] == ["unqueued"] * 3
    assert [chat.run(one.run).state for one in waiting] == ["stopped"] * 3
    assert ledger.claimable(10) == [run]


def test_questions_that_wait_after_the_answer_that_is_being_written_are_taken_back(chat: Chat) -> None:
    claim = chat.claim(chat.send().run)
    waiting = [chat.send(), chat.send()]
    chat.regenerate(chat.begin(claim))
    assert [chat.message(one.message).status for one in waiting] == ["unqueued"] * 2


def test_a_question_that_waits_on_another_path_goes_on_waiting(chat: Chat) -> None:
    first, second = chat.turn(), chat.turn()
    branch = chat.send(parent=first.answer)
    after = chat.send()
    run = chat.regenerate(second.answer)
    assert [chat.message(one.message).status for one in (branch, after)] == ["queued"] * 2
    answer = chat.answered(branch.run)
    later = chat.answered(after.run)
    assert chat.path() == [first.message, first.answer, branch.message, answer, after.message, later]
    chat.claim(run)


def test_an_answer_that_waits_to_be_generated_again_below_is_taken_back(chat: Chat) -> None:
    first, second = chat.turn(), chat.turn()
    below = chat.regenerate(second.answer)
    run = chat.regenerate(first.answer)
    assert chat.run(below).state == "stopped"
    assert ledger.claimable(10) == [run]
    assert chat.message(second.message).status == "complete"


def test_who_waits_behind_another_answer_that_is_taken_back_comes_after_the_first_one(chat: Chat) -> None:
    """Also where something else, on another path, waits between the two."""
    first = chat.turn("one", "first")
    chat.answered(chat.regenerate(first.answer), "second")
    elsewhere = chat.send("elsewhere")
    chat.select(first.answer)
    again = chat.regenerate(first.answer)
    chat.send("further elsewhere", parent=elsewhere.message)
    here = chat.send("here")
    assert chat.message(here.message).after_id == first.message
    chat.stop(again)
    assert chat.message(here.message).after_id == first.answer
