"""Selecting: another path is shown, with all that its viewers lack, and what runs and waits goes on where it is."""

from __future__ import annotations

import time
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from chat.actions import perform
from chat.errors import BadRequest, NotFound
from chat.fold import Answer, Fold
from chat.generation import ledger
from chat.models import Run
from chat.protocol import Cursor
from tests.unit.chats import Chat, Turn, in_database
from tests.unit.concurrency import together
from tests.unit.story import Story


def two_answers(chat: Chat) -> tuple[Turn, UUID]:
    """A question whose first answer is not shown: its turn, and the second answer."""
    turn = chat.turn("one", "first")
    return turn, chat.answered(chat.regenerate(turn.answer), "second")


def test_another_answer_is_shown_and_nothing_else_changes(chat: Chat) -> None:
    turn, second = two_answers(chat)
    chat.select(turn.answer)
    assert chat.texts() == ["one", "first"]
    assert [chat.message(pk).text for pk in (turn.message, turn.answer, second)] == ["one", "first", "second"]


def test_the_newest_path_through_the_message_is_shown(chat: Chat) -> None:
    turn = chat.turn("one", "first")
    below = chat.turn("two")
    other = chat.answered(chat.regenerate(turn.answer), "second")
    chat.select(turn.answer)
    assert chat.path() == [turn.message, turn.answer, below.message, below.answer]
    chat.select(turn.message)
    assert chat.path() == [turn.message, other]


def test_the_next_prompt_is_the_path_that_was_selected(chat: Chat) -> None:
    turn, _ = two_answers(chat)
    chat.select(turn.answer)
    asked = chat.send("two", parent=turn.answer)
    assert [said.text for said in chat.claim(asked.run).conversation.turns] == ["one", "first", "two"]
    assert not chat.message(asked.message).branch


def test_what_is_shown_already_is_no_change(chat: Chat) -> None:
    turn = chat.turn()
    before = chat.thread.version
    outcome = chat.select(turn.message)
    assert (outcome.result, outcome.announcement) == ({"version": before}, None)


def test_selecting_is_no_reason_to_show_the_chat_as_the_latest(chat: Chat) -> None:
    turn, _ = two_answers(chat)
    before = chat.thread
    outcome = chat.select(turn.answer)
    assert chat.thread.updated_at == before.updated_at
    assert chat.thread.inbox_version == before.inbox_version
    assert chat.thread.row_version == chat.thread.version == before.version + 1
    assert outcome.announcement is not None
    assert (outcome.announcement.version, outcome.announcement.look) == (before.version + 1, False)


def test_a_message_without_a_place_can_not_be_selected(chat: Chat) -> None:
    waiting, gone = chat.send(), chat.send()
    chat.stop(gone.run)
    for asked in (waiting, gone):
        with pytest.raises(BadRequest) as caught:
            chat.select(asked.message)
        assert caught.value.detail == {"field": "message"}


def test_anothers_message_can_not_be_selected(chat: Chat) -> None:
    with pytest.raises(NotFound):
        chat.select(Chat().turn().answer)


def test_a_selection_that_is_given_again_selects_nothing(chat: Chat) -> None:
    turn, second = two_answers(chat)
    command = chat.command("select", message=turn.answer)
    perform(chat.owner.pk, command)
    chat.do("select", message=second)
    perform(chat.owner.pk, command)
    assert chat.texts() == ["one", "second"]


# -------------------------------------------------------------------------------------------------- what runs and waits


def test_an_answer_that_runs_goes_on_where_it_is(chat: Chat) -> None:
    turn, _ = two_answers(chat)
    claim = chat.claim(chat.send("two").run)
    chat.select(turn.answer)
    answer = chat.begin(claim)
    chat.finish(claim, {answer: "said"})
    assert chat.texts() == ["one", "first"]
    assert (chat.message(answer).text, chat.run(claim.run).state) == ("said", "completed")
    chat.select(answer)
    assert chat.texts() == ["one", "second", "two", "said"]


def test_what_waits_goes_on_where_it_was_sent(chat: Chat) -> None:
    turn, _ = two_answers(chat)
    waiting = [chat.send("two"), chat.send("three")]
    chat.select(turn.answer)
    for asked in waiting:
        chat.answered(asked.run)
    assert chat.texts() == ["one", "first"]
    chat.select(waiting[0].message)
    assert chat.texts()[::2] == ["one", "two", "three"]


def test_what_is_sent_then_goes_on_from_what_is_shown_though_something_waits_elsewhere(chat: Chat) -> None:
    turn, _ = two_answers(chat)
    elsewhere = chat.send("elsewhere")
    chat.select(turn.answer)
    here = [chat.send("here", parent=turn.answer), chat.send("and here")]
    for asked in (elsewhere, *here):
        chat.answered(asked.run)
    assert chat.texts()[::2] == ["one", "here", "and here"]
    assert chat.texts()[1] == "first"


def test_what_follows_the_end_of_a_queue_elsewhere_waits_there(chat: Chat) -> None:
    turn, _ = two_answers(chat)
    elsewhere = chat.send("elsewhere")
    chat.select(turn.answer)
    behind = chat.send("behind", parent=elsewhere.message)
    for asked in (elsewhere, behind):
        chat.answered(asked.run)
    assert chat.texts() == ["one", "first"]
    chat.select(behind.message)
    assert chat.texts()[::2] == ["one", "elsewhere", "behind"]


def test_an_interruption_goes_on_from_what_is_shown_and_what_waits_elsewhere_stays_there(chat: Chat) -> None:
    turn, _ = two_answers(chat)
    claim = chat.claim(chat.send("two").run)
    waiting = chat.send("three")
    chat.select(turn.answer)
    here = chat.send("here", on_busy="interrupt")
    assert (
        str(chat.message(waiting.message).after_id) == str(claim.conversation.run)
        or chat.message(waiting.message).after_id == chat.run(claim.run).prompt_id
    )
    chat.finish(claim, {})
    for asked in (here, waiting):
        chat.answered(asked.run)
    assert chat.texts()[::2] == ["one", "here"]
    chat.select(waiting.message)
    assert [words for words in chat.texts() if words != "An answer."] == ["one", "second", "two", "three"]


def test_another_answer_that_waits_is_shown_with_its_claim_wherever_one_looks_by_then(chat: Chat) -> None:
    turn, _ = two_answers(chat)
    run = chat.regenerate(turn.answer)
    chat.select(turn.answer)
    answer = chat.answered(run, "third")
    assert chat.path() == [turn.message, answer]


# ------------------------------------------------------------------------------------------------ what its viewers lack


async def test_who_holds_only_the_path_that_was_shown_gets_the_other_one(story: Story) -> None:
    chat = story.chat
    turn = await in_database(chat.turn, "one", "first")
    below = await in_database(chat.turn, "two")
    again = await in_database(chat.regenerate, turn.answer)
    await in_database(chat.answered, again, "second")
    viewer = await story.catch_up(everything=False)
    assert str(below.answer) not in viewer.messages
    await in_database(chat.select, turn.answer)
    await story.catch_up(viewer)
    path = await in_database(chat.path)
    assert path == [turn.message, turn.answer, below.message, below.answer]
    assert {str(pk) for pk in path} <= viewer.messages.keys()
    assert {str(turn.run), str(below.run)} <= viewer.runs.keys()


async def test_who_is_shown_the_old_answer_again_because_the_new_one_said_nothing_gets_it(story: Story) -> None:
    chat = story.chat
    turn = await in_database(chat.turn, "one", "first")
    claim = await in_database(chat.claim, await in_database(chat.regenerate, turn.answer))
    viewer = await story.catch_up(everything=False)
    assert str(turn.answer) not in viewer.messages
    await in_database(chat.finish, claim, {}, Run.State.FAILED, error_code="provider_timeout")
    await story.catch_up(viewer)
    assert viewer.messages[str(turn.answer)]["text"] == "first"


async def test_a_long_path_comes_with_its_last_messages_and_no_more(story: Story) -> None:
    chat = story.chat
    turn = await in_database(chat.turn, "one")
    below = [await in_database(chat.turn, f"{n}") for n in range(30)]
    await in_database(chat.answered, await in_database(chat.regenerate, turn.answer))
    viewer = await story.catch_up(everything=False)
    before = Cursor(await in_database(lambda: chat.thread.version))
    assert viewer.cursor == before
    await in_database(chat.select, turn.answer)
    await story.catch_up(viewer)
    held = [str(row.message) in viewer.messages for row in below]
    assert held == [False] * 5 + [True] * 25


@pytest.mark.postgres
def test_an_answer_is_shown_in_the_middle_of_its_checkpoint(postgres: Any) -> None:
    """Both write the run and its message: in the same order, or they would wait for each other."""
    chat = Chat()
    turn = chat.turn("one", "first")
    claim = chat.claim(chat.regenerate(turn.answer))
    answer = chat.begin(claim)
    chat.select(turn.answer)
    begun = Event()

    class Said(Answer):
        """Read when the checkpoint has written the run: goes on when the other waits for that."""

        @property
        def text(self) -> str:
            begun.set()
            with connection.cursor() as cursor:
                for _ in range(1000):
                    cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                    if cursor.fetchone()[0]:
                        return "second"
                    time.sleep(0.01)
            raise AssertionError("Nobody waits.")

    fold = Fold(claim.first + 1, {str(answer): Said()})

    def select() -> Any:
        assert begun.wait(10)
        return chat.select(answer)

    made, selected = together(lambda: ledger.checkpoint(claim.run, claim.lease, fold), select)
    assert isinstance(made, ledger.Checkpoint), made
    assert selected.result == {"version": chat.thread.version}, selected
    assert chat.texts() == ["one", "second"]
