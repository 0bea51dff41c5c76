"""A message that is sent while an answer runs: it waits, interrupts, or is refused."""

from __future__ import annotations

from uuid import uuid4

import pytest

from chat.actions import perform
from chat.errors import Busy
from chat.generation import ledger
from chat.models import Message, Run
from tests.unit.chats import Asked, Chat
from tests.unit.concurrency import together


def order(chat: Chat) -> list[str]:
    """The texts that wait, in the order in which they will be claimed."""
    waiting = Run.objects.filter(thread=chat.id, state="queued").select_related("prompt")
    return [run.prompt.text for run in waiting.order_by("place")]


def interrupt(chat: Chat, text: str = "interrupting", **fields: object) -> Asked:
    return chat.send(text, on_busy="interrupt", **fields)


# ------------------------------------------------------------------------------------------------------------- queue


def test_a_message_that_waits_has_the_whole_first_answer_in_its_prompt(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    waiting = chat.send("two", on_busy="queue", seen={chat.begin(claim): 1})
    chat.finish(claim, {chat.begin(claim): "The whole answer."})
    turns = chat.claim(waiting.run).conversation.turns
    assert [turn.text for turn in turns] == ["one", "The whole answer.", "two"]


def test_a_message_that_waits_stops_nothing(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    chat.send("two", seen={})
    assert chat.run(claim.run).stop is None


# ------------------------------------------------------------------------------------------------------------ reject


def test_a_message_that_may_not_wait_is_busy_while_an_answer_runs(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    before = chat.thread.version
    with pytest.raises(Busy) as caught:
        chat.send("two", on_busy="reject")
    assert caught.value.as_dict()["retryable"]
    assert chat.thread.version == before
    assert not Message.objects.filter(text="two").exists()
    chat.finish(claim, {})
    chat.send("two", on_busy="reject")


def test_a_message_that_may_not_wait_is_busy_while_another_waits(chat: Chat) -> None:
    chat.send("one")
    with pytest.raises(Busy):
        chat.send("two", on_busy="reject")


def test_a_message_that_may_not_wait_is_not_kept_waiting_by_another_thread(chat: Chat) -> None:
    Chat(chat.owner).send()
    assert chat.run(chat.send(on_busy="reject").run).state == "queued"


def test_a_refused_message_may_be_sent_again_under_the_same_id(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    command = chat.command("send", message=uuid4(), run=uuid4(), text="two", on_busy="reject")
    with pytest.raises(Busy):
        perform(chat.owner.pk, command)
    chat.finish(claim, {})
    perform(chat.owner.pk, command)
    assert chat.run(command.run).state == "queued"


# --------------------------------------------------------------------------------------------------------- interrupt


def test_a_message_that_interrupts_stops_the_answer_at_what_was_seen_and_comes_after_it(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    answer = chat.begin(claim)
    asked = Asked(uuid4(), uuid4())
    fields = {"on_busy": "interrupt", "seen": {answer: 3}}
    outcome = chat.do("send", message=asked.message, run=asked.run, text="two", **fields)
    assert outcome.announcement is not None
    assert (outcome.announcement.stop, outcome.announcement.look) == (claim.run, True)
    chat.finish(claim, {answer: "abcdef"})
    turns = chat.claim(asked.run).conversation.turns
    assert [turn.text for turn in turns] == ["one", "abc", "two"]
    assert (chat.message(answer).status, chat.run(claim.run).state) == ("cut", "stopped")


def test_without_seen_the_interrupted_answer_is_stopped_and_not_cut(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    answer = chat.begin(claim)
    interrupt(chat)
    chat.finish(claim, {answer: "abcdef"})
    assert (chat.message(answer).text, chat.run(claim.run).state) == ("abcdef", "stopped")


def test_a_message_that_interrupts_goes_before_all_that_waits(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    answer = chat.begin(claim)
    two, three = chat.send("two"), chat.send("three")
    asked = interrupt(chat)
    assert order(chat) == ["interrupting", "two", "three"]
    assert chat.message(asked.message).after_id == answer
    assert chat.message(two.message).after_id == asked.message
    assert chat.message(three.message).after_id == two.message
    chat.finish(claim, {answer: "said"})
    for run in (asked.run, two.run, three.run):
        assert ledger.claimable(10) == [run]
        chat.answered(run)
    assert chat.texts()[::2] == ["one", "interrupting", "two", "three"]


def test_the_last_to_interrupt_is_the_first(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    chat.send("two")
    first, second = interrupt(chat, "first"), interrupt(chat, "second")
    assert order(chat) == ["second", "first", "two"]
    assert chat.message(first.message).after_id == second.message
    chat.finish(claim, {})
    for _ in range(3):
        chat.answered(ledger.claimable(1)[0])
    assert [words for words in chat.texts() if words != "An answer."] == ["one", "second", "first", "two"]


def test_who_waits_behind_an_interruption_hears_of_its_new_place(chat: Chat) -> None:
    chat.claim(chat.send("one").run)
    two, three = chat.send("two"), chat.send("three")
    interrupt(chat)
    assert {chat.run(one.run).version for one in (two, three)} == {chat.thread.version}
    assert chat.message(two.message).version == chat.thread.version


def test_when_what_interrupted_is_taken_back_the_queue_is_as_it_was(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    answer = chat.begin(claim)
    two = chat.send("two")
    chat.stop(interrupt(chat).run)
    assert chat.message(two.message).after_id == answer
    chat.finish(claim, {answer: "said"})
    chat.claim(two.run)
    assert chat.texts() == ["one", "said", "two"]


def test_what_interrupts_comes_after_a_branch_that_waits_or_the_branch_would_hide_it(chat: Chat) -> None:
    first, _ = chat.turn("one"), chat.turn("two")
    branch, behind = chat.send("instead", parent=first.answer), chat.send("behind")
    asked, last = interrupt(chat), interrupt(chat, "last")
    assert order(chat) == ["instead", "last", "interrupting", "behind"]
    assert chat.message(branch.message).after_id == first.answer
    for run in (branch.run, last.run, asked.run, behind.run):
        chat.answered(run)
    assert chat.texts()[::2] == ["one", "instead", "last", "interrupting", "behind"]


def test_an_edit_that_waits_is_not_overtaken(chat: Chat) -> None:
    first = chat.turn("one")
    claim = chat.claim(chat.send("two").run)
    answer = chat.begin(claim)
    edited = chat.edit(first.message, seen={answer: 0})
    asked = interrupt(chat, seen={answer: 0})
    chat.finish(claim, {answer: "said"})
    chat.answered(edited.run)
    chat.answered(asked.run)
    assert chat.path() == [edited.message, *chat.path()[1:2], asked.message, *chat.path()[3:]]


def test_another_answer_that_waits_is_given_up_for_what_interrupts(chat: Chat) -> None:
    turn = chat.turn("one")
    again = chat.regenerate(turn.answer)
    asked = interrupt(chat)
    assert chat.run(again).state == "stopped"
    chat.answered(asked.run)
    assert chat.path()[:3] == [turn.message, turn.answer, asked.message]


def test_with_nothing_that_runs_it_is_a_message_that_goes_first(chat: Chat) -> None:
    turn = chat.turn()
    chat.send("two")
    interrupt(chat, seen={turn.answer: 3})
    assert order(chat) == ["interrupting", "two"]


def test_an_answer_that_has_ended_before_the_interruption_came_is_cut_all_the_same(chat: Chat) -> None:
    turn = chat.turn("one", "abcdef")
    asked = interrupt(chat, seen={turn.answer: 3})
    assert (chat.message(turn.answer).text, chat.run(turn.run).state) == ("abc", "stopped")
    assert [said.text for said in chat.claim(asked.run).conversation.turns] == ["one", "abc", "interrupting"]


def test_an_answer_that_the_reader_has_not_heard_of_is_not_cut_by_an_interruption(chat: Chat) -> None:
    first, second = chat.turn("one", "abcdef"), chat.turn("two", "uvwxyz")
    interrupt(chat, seen={first.answer: 3})
    assert [chat.message(turn.answer).text for turn in (first, second)] == ["abcdef", "uvwxyz"]


def test_an_answer_that_the_thread_has_gone_on_from_is_not_cut_by_an_interruption(chat: Chat) -> None:
    turn = chat.turn("one", "abcdef")
    claim = chat.claim(chat.send("two").run)
    chat.select(turn.answer)
    interrupt(chat, seen={turn.answer: 3})
    assert chat.message(turn.answer).text == "abcdef"
    assert chat.run(claim.run).stop == {"seen": {str(turn.answer): 3}}


def test_an_interruption_gives_up_what_waits_to_be_tried_again(chat: Chat) -> None:
    asked = chat.send("one")
    claim = chat.claim(asked.run)
    answer = chat.begin(claim)
    ledger.requeue(claim.run, claim.lease)
    following = interrupt(chat)
    assert (chat.run(asked.run).state, chat.message(answer).status) == ("stopped", "cut")
    assert ledger.claimable(10) == [following.run]
    assert [turn.text for turn in chat.claim(following.run).conversation.turns] == ["one", "interrupting"]


def test_a_message_that_interrupts_from_further_up_begins_a_branch_there(chat: Chat) -> None:
    first, _ = chat.turn("one"), chat.turn("two")
    claim = chat.claim(chat.send("three").run)
    waiting = chat.send("four")
    asked = interrupt(chat, parent=first.answer)
    assert chat.message(asked.message).branch
    assert chat.message(waiting.message).after_id != asked.message
    chat.finish(claim, {})
    chat.claim(asked.run)
    assert chat.path() == [first.message, first.answer, asked.message]


def test_a_message_that_was_to_come_after_one_that_waits_interrupts_all_the_same(chat: Chat) -> None:
    claim = chat.claim(chat.send("one").run)
    waiting = chat.send("two")
    asked = interrupt(chat, parent=waiting.message)
    assert order(chat) == ["interrupting", "two"]
    chat.finish(claim, {})
    chat.claim(asked.run)
    assert chat.texts() == ["one", "interrupting"]


def test_an_interruption_in_an_empty_thread_is_its_first_message(chat: Chat) -> None:
    chat.send("one")
    asked = interrupt(chat)
    chat.claim(asked.run)
    assert chat.path() == [asked.message]


def test_an_interruption_and_the_end_of_the_answer_at_the_same_moment_leave_what_was_seen(either_database: str) -> None:
    for _ in range(3):
        chat = Chat()
        claim = chat.claim(chat.send("one").run)
        answer = chat.begin(claim)
        together(
            lambda chat=chat, answer=answer: interrupt(chat, seen={answer: 3}),
            lambda chat=chat, claim=claim, answer=answer: chat.finish(claim, {answer: "abcdef"}),
        )
        assert (chat.message(answer).text, chat.run(claim.run).state) == ("abc", "stopped")
        [run] = ledger.claimable(10)
        assert [turn.text for turn in chat.claim(run).conversation.turns] == ["one", "abc", "interrupting"]
