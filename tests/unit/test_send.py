"""Sending: where a message goes, how the queue stands, and the limits on both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat.errors import BadRequest, ChatError, RateLimited, TooLarge
from chat.generation import ledger
from chat.models import Message, Run
from tests.unit.chats import Chat, make_user
from tests.unit.concurrency import together

TITLES = json.loads((Path(__file__).parent.parent / "words" / "titles.json").read_text())["cases"]

# ------------------------------------------------------------------------------------------------------------- place


def test_a_message_that_was_sent_waits_and_is_not_on_the_path(chat: Chat) -> None:
    asked = chat.send("hello")
    message, run = chat.message(asked.message), chat.run(asked.run)
    assert (message.status, message.role, message.text, message.parent, message.run) == (
        "queued",
        "user",
        "hello",
        None,
        run,
    )
    assert (run.state, run.prompt, run.lease) == ("queued", message, 0)
    assert chat.path() == []


def test_a_message_gets_its_place_when_its_run_is_claimed(chat: Chat) -> None:
    first = chat.turn()
    asked = chat.send()
    assert chat.message(asked.message).after_id == first.answer
    chat.claim(asked.run)
    message = chat.message(asked.message)
    assert (message.status, message.parent_id, message.after) == ("complete", first.answer, None)
    assert chat.path() == [first.message, first.answer, asked.message]


def test_a_queued_message_goes_to_the_end_of_what_was_put_there_by_then(chat: Chat) -> None:
    first, second = chat.send("one"), chat.send("two")
    claim = chat.claim(first.run)
    answers = [chat.begin(claim, n) for n in range(3)]
    chat.finish(claim, dict.fromkeys(answers, "said"))
    chat.claim(second.run)
    assert chat.path() == [first.message, *answers, second.message]


def test_queued_messages_come_one_after_the_other_in_the_order_they_were_sent(chat: Chat) -> None:
    asked = [chat.send(f"question {n}") for n in range(4)]
    assert [chat.message(one.message).after_id for one in asked] == [None, *(one.message for one in asked[:-1])]
    for one in asked:
        chat.answered(one.run)
    assert chat.texts()[::2] == [f"question {n}" for n in range(4)]


def test_a_parent_at_the_paths_end_is_as_good_as_none(chat: Chat) -> None:
    turn = chat.turn()
    asked = chat.send(parent=turn.answer)
    assert not chat.message(asked.message).branch
    chat.claim(asked.run)
    assert chat.path() == [turn.message, turn.answer, asked.message]


def test_a_parent_at_the_queues_end_goes_on_from_there(chat: Chat) -> None:
    first = chat.send()
    second = chat.send(parent=first.message)
    assert not chat.message(second.message).branch
    answer = chat.answered(first.run)
    chat.claim(second.run)
    assert chat.path() == [first.message, answer, second.message]


def test_a_parent_that_the_path_went_on_from_begins_a_branch_there(chat: Chat) -> None:
    first, second = chat.turn("one"), chat.turn("two")
    asked = chat.send("instead", parent=first.answer)
    chat.claim(asked.run)
    assert chat.path() == [first.message, first.answer, asked.message]
    assert chat.message(asked.message).parent_id == first.answer
    assert chat.message(second.message).parent_id == first.answer


def test_a_branch_begins_at_its_parent_though_a_run_has_written_below_since(chat: Chat) -> None:
    first, _ = chat.turn("one"), chat.turn("two")
    running = chat.claim(chat.send("three").run)
    branch = chat.send("instead", parent=first.answer)
    chat.finish(running, {chat.begin(running): "said"})
    chat.claim(branch.run)
    assert chat.path() == [first.message, first.answer, branch.message]


def test_what_is_sent_after_a_queued_branch_goes_on_from_that_branch(chat: Chat) -> None:
    first, _ = chat.turn("one"), chat.turn("two")
    branch = chat.send("instead", parent=first.answer)
    after = chat.send("and then")
    answer = chat.answered(branch.run)
    chat.claim(after.run)
    assert chat.path() == [first.message, first.answer, branch.message, answer, after.message]


def test_further_messages_of_the_run_one_was_watching_are_no_reason_for_a_branch(chat: Chat) -> None:
    asked = chat.send()
    claim = chat.claim(asked.run)
    watched, later = chat.begin(claim, 0), chat.begin(claim, 1)
    follow = chat.send(parent=watched)
    chat.finish(claim, {watched: "said", later: "said"})
    chat.claim(follow.run)
    assert chat.path() == [asked.message, watched, later, follow.message]


def test_a_new_answer_that_begins_below_its_question_is_no_reason_for_a_branch(chat: Chat) -> None:
    turn = chat.turn()
    claim = chat.claim(chat.regenerate(turn.answer))
    answer = chat.begin(claim)
    asked = chat.send(parent=turn.message)  # what was the path's end when it was written
    chat.finish(claim, {answer: "said"})
    chat.claim(asked.run)
    assert chat.path() == [turn.message, answer, asked.message]


def test_a_parent_that_waits_itself_is_refused(chat: Chat) -> None:
    first, _ = chat.send(), chat.send()
    with pytest.raises(BadRequest) as caught:
        chat.send(parent=first.message)
    assert caught.value.detail == {"field": "parent"}


def test_a_parent_that_was_taken_back_is_refused(chat: Chat) -> None:
    asked = chat.send()
    chat.stop(asked.run)
    with pytest.raises(BadRequest):
        chat.send(parent=asked.message)


def test_a_run_takes_the_model_of_its_command_else_of_its_thread(chat: Chat) -> None:
    chat.do("update", model="usual")
    assert [chat.run(chat.send(**model).run).model for model in ({}, {"model": "other"})] == ["usual", "other"]


@pytest.mark.parametrize("case", TITLES, ids=[case["about"] for case in TITLES])
def test_the_first_message_gives_a_thread_its_title(chat: Chat, case: dict[str, str]) -> None:
    chat.send(case["text"])
    assert chat.thread.title == case["title"]


def test_a_title_that_is_there_stays(chat: Chat) -> None:
    chat.do("update", title="Rivers")
    chat.send("What is a sea?")
    assert chat.thread.title == "Rivers"


# ------------------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize("character", ["x", "ä", "漢", "😀"])
def test_a_message_may_have_32_kib_and_not_a_byte_more(chat: Chat, character: str) -> None:
    count, rest = divmod(32 * 1024, len(character.encode()))
    longest = character * count + "x" * rest
    chat.send(longest)
    with pytest.raises(TooLarge) as caught:
        chat.send(longest + "x")
    assert caught.value.detail == {"limit": 32 * 1024}


def test_a_user_may_have_so_many_runs_queued_in_all_threads_together(chat: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_QUEUED = 3
    other, third, turn = Chat(chat.owner), Chat(chat.owner), chat.turn()
    other.send(), third.send(), chat.regenerate(turn.answer)
    for refused in (chat.send, other.send, lambda: chat.regenerate(turn.answer)):
        with pytest.raises(RateLimited) as caught:
            refused()
        assert caught.value.retry_after
    assert Run.objects.filter(state="queued").count() == 3


def test_a_running_run_does_not_count_as_queued_nor_does_anothers(chat: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_QUEUED = 1
    Chat().send()
    chat.claim(chat.send().run)
    assert chat.run(chat.send().run).state == "queued"


def test_sends_at_the_same_moment_do_not_pass_the_limit_together(either_database: str, settings: Any) -> None:
    settings.REJOIN_MAX_QUEUED = 2
    user = make_user()
    chats = [Chat(user) for _ in range(5)]
    outcomes = together(*[chat.send for chat in chats])
    assert sorted(isinstance(outcome, RateLimited) for outcome in outcomes) == [False, False, True, True, True]


def test_sends_at_the_same_moment_all_get_a_place_of_their_own(either_database: str) -> None:
    chat = Chat()
    outcomes = together(*[chat.send] * 5)
    assert not [outcome for outcome in outcomes if isinstance(outcome, ChatError)]
    assert sorted(Run.objects.values_list("place", flat=True)) == [2, 3, 4, 5, 6]
    assert Message.objects.filter(after=None).count() == 1
    assert Message.objects.exclude(after=None).values("after").distinct().count() == 4


# --------------------------------------------------------------------------------------------------------- unqueueing


def test_stopping_a_queued_run_takes_its_message_back(chat: Chat) -> None:
    asked = chat.send()
    chat.stop(asked.run)
    assert (chat.message(asked.message).status, chat.run(asked.run).state) == ("unqueued", "stopped")
    assert chat.message(asked.message).text == "hello"
    assert chat.run(asked.run).finished_at is not None


def test_what_came_after_a_message_that_was_taken_back_comes_after_what_that_one_came_after(chat: Chat) -> None:
    turn = chat.turn()
    first, second, third = chat.send(), chat.send(), chat.send()
    chat.stop(first.run)
    assert chat.message(second.message).after_id == turn.answer
    assert chat.message(third.message).after_id == second.message
    answer = chat.answered(second.run)
    chat.claim(third.run)
    assert chat.path()[2:] == [second.message, answer, third.message]


def test_what_came_after_a_branch_that_was_taken_back_begins_the_branch_itself(chat: Chat) -> None:
    first, _ = chat.turn("one"), chat.turn("two")
    branch = chat.send("instead", parent=first.answer)
    after = chat.send("and then")
    chat.stop(branch.run)
    chat.claim(after.run)
    assert chat.path() == [first.message, first.answer, after.message]


def test_what_was_to_come_after_another_answer_that_is_taken_back_comes_after_the_paths_end(chat: Chat) -> None:
    turn = chat.turn("one", "first")
    chat.answered(chat.regenerate(turn.answer), "second")
    branch = chat.turn("on the first", parent=turn.answer)
    run = chat.regenerate(turn.answer)
    waiting = [chat.send("two"), chat.send("three")]
    assert chat.message(waiting[0].message).after_id == turn.message
    chat.stop(run)
    assert [chat.message(one.message).after_id for one in waiting] == [branch.answer, waiting[0].message]
    chat.claim(waiting[0].run)
    assert chat.texts() == ["one", "first", "on the first", "An answer.", "two"]


def test_when_the_first_question_is_taken_back_the_next_is_the_first(chat: Chat) -> None:
    first, second = chat.send("one"), chat.send("two")
    chat.stop(first.run)
    chat.claim(second.run)
    assert chat.texts() == ["two"]


def test_a_question_that_is_taken_back_and_a_claim_at_the_same_moment_are_one_or_the_other(
    either_database: str,
) -> None:
    for _ in range(5):
        chat = Chat()
        asked = chat.send()
        together(lambda chat=chat, asked=asked: chat.stop(asked.run), lambda asked=asked: ledger.claim(asked.run, "w"))
        run, message = chat.run(asked.run), chat.message(asked.message)
        assert (run.state, message.status) in [("stopped", "unqueued"), ("running", "complete")]
        assert run.stop is not None
        assert chat.path() == ([asked.message] if run.state == "running" else [])


def test_a_message_that_was_taken_back_may_be_sent_again_as_another(chat: Chat) -> None:
    asked = chat.send("first try")
    chat.stop(asked.run)
    again = chat.turn("second try")
    assert chat.path() == [again.message, again.answer]
