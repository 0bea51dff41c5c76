"""Editing: another version beside a message, and the end of what ran or waited on the path that is left."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from chat.actions import perform
from chat.errors import BadRequest, NotFound, RateLimited, TooLarge
from chat.generation import ledger
from chat.models import Message
from tests.unit.chats import Chat

# ----------------------------------------------------------------------------------------------------- the new version


def test_an_edited_message_is_a_sibling_and_the_first_version_stays_with_all_below_it(chat: Chat) -> None:
    first, second = chat.turn("one", "said"), chat.turn("two", "more")
    edited = chat.edit(second.message, "two, edited")
    answer = chat.answered(edited.run, "else")
    assert chat.texts() == ["one", "said", "two, edited", "else"]
    assert chat.message(edited.message).parent_id == chat.message(second.message).parent_id == first.answer
    assert (chat.message(second.message).text, chat.message(second.answer).text) == ("two", "more")
    assert chat.message(second.answer).parent_id == second.message
    assert chat.message(answer).parent_id == edited.message


def test_its_prompt_holds_nothing_of_the_version_that_was_left(chat: Chat) -> None:
    chat.turn("one", "said")
    second = chat.turn("two", "more")
    claim = chat.claim(chat.edit(second.message, "two, edited").run)
    assert [turn.text for turn in claim.conversation.turns] == ["one", "said", "two, edited"]


def test_the_first_message_of_a_thread_can_be_edited(chat: Chat) -> None:
    turn = chat.turn("one")
    edited = chat.edit(turn.message)
    chat.claim(edited.run)
    assert chat.path() == [edited.message]
    assert chat.message(turn.message).parent is None


def test_a_version_that_was_left_can_be_edited_again(chat: Chat) -> None:
    turn = chat.turn("one")
    for words in ("second", "third"):
        chat.answered(chat.edit(turn.message, words).run)
    versions = Message.objects.filter(parent=None, role="user")
    assert [version.text for version in versions] == ["one", "second", "third"]
    assert chat.texts()[0] == "third"


def test_until_its_run_is_claimed_the_old_version_is_shown(chat: Chat) -> None:
    turn = chat.turn()
    edited = chat.edit(turn.message)
    assert chat.path() == [turn.message, turn.answer]
    assert (chat.message(edited.message).status, chat.message(edited.message).after) == ("queued", None)


def test_an_answer_can_not_be_edited(chat: Chat) -> None:
    turn = chat.turn()
    with pytest.raises(BadRequest) as caught:
        chat.edit(turn.answer)
    assert caught.value.detail == {"field": "of"}


def test_a_message_that_was_taken_back_can_not_be_edited(chat: Chat) -> None:
    asked = chat.send()
    chat.stop(asked.run)
    with pytest.raises(BadRequest):
        chat.edit(asked.message)


def test_anothers_message_can_not_be_edited(chat: Chat) -> None:
    with pytest.raises(NotFound):
        chat.edit(Chat().turn().message)


def test_an_edited_message_may_be_no_longer_than_others(chat: Chat) -> None:
    turn = chat.turn()
    with pytest.raises(TooLarge):
        chat.edit(turn.message, "x" * (32 * 1024 + 1))


def test_an_edit_that_is_given_again_changes_nothing(chat: Chat) -> None:
    turn = chat.turn()
    command = chat.command("edit", of=turn.message, message=uuid4(), run=uuid4(), text="edited")
    replies = [perform(chat.owner.pk, command).result for _ in range(2)]
    assert replies[0] == replies[1]
    assert Message.objects.filter(text="edited").count() == 1


# ------------------------------------------------------------------------------------------------ the path that is left


def test_the_answer_that_runs_is_stopped_where_it_was_seen(chat: Chat) -> None:
    asked = chat.send("one")
    claim = chat.claim(asked.run)
    answer = chat.begin(claim)
    run = uuid4()
    outcome = chat.do("edit", of=asked.message, message=uuid4(), run=run, text="edited", seen={answer: 3})
    assert outcome.announcement is not None
    assert (outcome.announcement.stop, outcome.announcement.look) == (claim.run, True)
    assert ledger.claimable(10) == []
    chat.finish(claim, {answer: "abcdef"})
    assert (chat.message(answer).text, chat.message(answer).status) == ("abc", "cut")
    assert ledger.claimable(10) == [run]


def test_an_answer_that_has_said_nothing_yet_is_stopped(chat: Chat) -> None:
    asked = chat.send()
    claim = chat.claim(asked.run)
    chat.edit(asked.message)
    assert chat.run(claim.run).stop == {"seen": None}


def test_an_answer_further_down_is_stopped(chat: Chat) -> None:
    first = chat.turn()
    claim = chat.claim(chat.send().run)
    chat.edit(first.message, seen={})
    assert chat.run(claim.run).stop == {"seen": {}}


def test_an_answer_further_up_or_elsewhere_goes_on(chat: Chat) -> None:
    first, second = chat.turn("one"), chat.turn("two")
    claim = chat.claim(chat.regenerate(first.answer))
    chat.edit(second.message)
    assert chat.run(claim.run).stop is None


def test_what_waits_on_the_path_that_is_left_is_taken_back(chat: Chat) -> None:
    turn = chat.turn()
    waiting = [chat.send(), chat.send(), chat.send()]
    edited = chat.edit(turn.message)
    assert [chat.message(one.message).status for one in waiting] == ["unqueued"] * 3
    assert ledger.claimable(10) == [edited.run]


def test_what_waits_after_an_answer_that_waits_to_be_continued_is_taken_back_with_it(chat: Chat) -> None:
    turn = chat.cut_turn()
    run = chat.go_on(turn.answer)
    waiting = chat.send("and then")
    chat.edit(turn.message)
    assert [chat.run(pk).state for pk in (run, waiting.run)] == ["stopped"] * 2
    assert chat.message(turn.answer).status == "cut"


def test_what_waits_on_another_path_goes_on_waiting(chat: Chat) -> None:
    first, second = chat.turn("one"), chat.turn("two")
    branch = chat.send("instead", parent=first.answer)
    chat.edit(second.message)
    assert chat.message(branch.message).status == "queued"


# ------------------------------------------------------------------------------------------- a message that still waits


def test_a_message_that_waits_is_taken_back_and_its_new_version_waits_in_its_place(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    two, three = chat.send("two"), chat.send("three")
    edited = chat.edit(two.message, "two, edited")
    assert (chat.message(two.message).status, chat.run(two.run).state) == ("unqueued", "stopped")
    assert chat.message(two.message).text == "two"
    assert chat.message(three.message).after_id == edited.message
    chat.finish(claim, {chat.begin(claim): "said"})
    for run in (edited.run, three.run):
        assert ledger.claimable(10) == [run]
        chat.answered(run)
    assert chat.texts()[::2] == ["one", "two, edited", "three"]


def test_the_answer_that_runs_before_it_goes_on(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    chat.edit(chat.send("two").message, seen={})
    assert chat.run(claim.run).stop is None


def test_the_new_version_is_asked_of_the_model_of_the_first(chat: Chat) -> None:
    waiting = chat.send(model="better")
    assert chat.run(chat.edit(waiting.message).run).model == "better"


def test_the_new_version_of_a_branch_begins_it(chat: Chat) -> None:
    first, _ = chat.turn("one"), chat.turn("two")
    branch = chat.send("instead", parent=first.answer)
    behind = chat.send("and then")
    edited = chat.edit(branch.message)
    answer = chat.answered(edited.run)
    chat.claim(behind.run)
    assert chat.path() == [first.message, first.answer, edited.message, answer, behind.message]


def test_a_message_that_waits_can_be_edited_when_no_more_may_wait(chat: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_QUEUED = 2
    waiting = [chat.send(), chat.send()]
    again = chat.edit(waiting[0].message)
    chat.edit(again.message)
    turn = Chat(chat.owner)
    with pytest.raises(RateLimited):
        turn.send()


def test_an_edit_counts_among_what_waits(chat: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_QUEUED = 1
    turn = chat.turn()
    Chat(chat.owner).send()
    before = chat.thread.version
    with pytest.raises(RateLimited):
        chat.edit(turn.message)
    assert chat.thread.version == before
