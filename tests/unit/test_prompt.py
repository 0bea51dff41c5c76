"""The prompt: the active path, within its budget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import prompt
from chat.models import Message, Run
from chat.providers import authors
from chat.providers.base import Conversation, Turn
from tests.unit.chats import Chat


def prompted(chat: Chat, question: str = "now") -> tuple[Conversation, Run]:
    claim = chat.claim(chat.send(question).run)
    return claim.conversation, chat.run(claim.run)


def texts(conversation: Conversation) -> list[str]:
    return [turn.text for turn in conversation.turns]


def test_it_is_the_path_oldest_first_ending_with_the_question(chat: Chat) -> None:
    chat.turn("one", "first")
    chat.turn("two", "second")
    conversation, run = prompted(chat)
    assert [(turn.role, turn.text) for turn in conversation.turns] == [
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("assistant", "second"),
        ("user", "now"),
    ]
    assert (conversation.run, run.left_out) == (run.pk, 0)


@pytest.fixture
def texts_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has come out of the database since."""
    found: list[str] = []
    from_db = Message.from_db.__func__  # type: ignore[attr-defined]

    def noted(cls: Any, *args: Any) -> Message:
        message: Message = from_db(cls, *args)
        found.append(message.__dict__.get("text", ""))
        return message

    monkeypatch.setattr(Message, "from_db", classmethod(noted))
    return found


def test_of_a_long_chat_no_more_is_read_than_may_fit(
    either_database: str, settings: Any, texts_read: list[str]
) -> None:
    settings.REJOIN_PROMPT_BUDGET = 1_000
    chat = Chat()
    for number in range(20):
        chat.turn(f"{number}", "漢" * 100)
    asked = chat.send("now")
    texts_read.clear()
    conversation = chat.claim(asked.run).conversation
    assert texts(conversation)[0] == "11"
    assert len("".join(texts_read)) < 4_000
    texts_read.clear()
    chat.do("delete")
    assert "".join(texts_read) == ""


def test_it_says_which_model_or_agent_gave_an_answer(chat: Chat) -> None:
    chat.turn()
    conversation, _ = prompted(chat)
    assert [turn.author for turn in conversation.turns] == ["", "model", ""]


def test_nothing_of_another_branch_is_in_it(chat: Chat) -> None:
    first = chat.turn("one", "first")
    chat.turn("left", "left")
    branch = chat.send("branch", parent=first.answer)
    assert texts(chat.claim(branch.run).conversation) == ["one", "first", "branch"]


def test_a_message_that_was_taken_back_is_not_in_it(chat: Chat) -> None:
    taken_back, asked = chat.send("never mind"), chat.send("now")
    chat.stop(taken_back.run)
    assert texts(chat.claim(asked.run).conversation) == ["now"]


def test_empty_answers_are_left_out_and_not_counted(chat: Chat) -> None:
    asked = chat.send("one")
    claim = chat.claim(asked.run)
    chat.begin(claim)
    chat.finish(claim, {}, Run.State.FAILED)
    conversation, run = prompted(chat)
    assert texts(conversation) == ["one", "now"]
    assert run.left_out == 0


def test_a_cut_answer_goes_in_as_it_was_cut(chat: Chat) -> None:
    turn = chat.turn("one", "abcdef")
    chat.stop(turn.run, seen={turn.answer: 3})
    assert texts(prompted(chat)[0]) == ["one", "abc", "now"]


def test_reasoning_is_not_in_it(chat: Chat) -> None:
    turn = chat.turn("one", "said")
    row = chat.message(turn.answer)
    row.reasoning = "thought"
    row.save()
    assert "thought" not in repr(prompted(chat)[0])


def test_the_threads_system_prompt_goes_before_that_of_the_settings(chat: Chat, settings: Any) -> None:
    settings.REJOIN_SYSTEM_PROMPT = "of the settings"
    claim = chat.claim(chat.send().run)
    assert claim.conversation.system_prompt == "of the settings"
    chat.finish(claim, {})
    chat.do("update", system_prompt="of the thread")
    assert prompted(chat)[0].system_prompt == "of the thread"


def test_the_oldest_turns_are_left_out_first_and_counted(chat: Chat, settings: Any) -> None:
    settings.REJOIN_PROMPT_BUDGET = 10
    for n in range(4):
        chat.turn(f"q{n}", f"a{n}")
    conversation, run = prompted(chat, "now")
    assert texts(conversation) == ["q3", "a3", "now"]
    assert run.left_out == 6


def test_the_prompt_begins_with_a_question(chat: Chat, settings: Any) -> None:
    settings.REJOIN_PROMPT_BUDGET = 5
    chat.turn("a long question", "a")
    conversation, run = prompted(chat, "now")
    assert texts(conversation) == ["now"]
    assert run.left_out == 2


def test_the_system_prompt_takes_its_part_of_the_budget_and_stays(chat: Chat, settings: Any) -> None:
    settings.REJOIN_PROMPT_BUDGET = 10
    chat.do("update", system_prompt="system")
    chat.turn("q", "a")
    conversation, _ = prompted(chat, "now")
    assert (texts(conversation), conversation.system_prompt) == (["now"], "system")


@pytest.mark.parametrize(("spare", "left_out"), [(0, 0), (-1, 3)])
def test_the_names_of_several_authors_and_the_note_on_them_take_their_part_of_the_budget(
    chat: Chat, settings: Any, spare: int, left_out: int
) -> None:
    claim = chat.claim(chat.send("q").run)
    one, two = chat.begin(claim, 0), chat.begin(claim, 1)
    Message.objects.filter(pk=two).update(author="other")
    chat.finish(claim, {one: "a", two: "b"})
    settings.REJOIN_PROMPT_BUDGET = len("q" + "[model]\na" + "[other]\nb" + "now" + authors.NOTE) + spare
    _, run = prompted(chat, "now")
    assert run.left_out == left_out


def test_the_question_is_in_it_though_it_alone_is_over_the_budget(chat: Chat, settings: Any) -> None:
    settings.REJOIN_PROMPT_BUDGET = 0
    chat.turn("q", "a")
    assert texts(prompted(chat, "a long question")[0]) == ["a long question"]


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20), st.integers(-10, 200))
def test_what_is_kept_is_the_most_that_fits(words: list[str], budget: int) -> None:
    turns = [Turn("assistant" if n % 2 else "user", text) for n, text in enumerate(words)]
    kept = list(prompt._within(turns, budget))
    assert kept == turns[len(turns) - len(kept) :]
    assert len(kept) >= 1
    size = sum(len(turn.text) for turn in kept)
    assert size <= budget or len(kept) == 1
    more = turns[len(turns) - len(kept) - 2 :] if len(kept) + 2 <= len(turns) else []
    if more and more[0].role == "user":
        assert sum(len(turn.text) for turn in more) > budget
    assert kept[0].role == "user" or len(kept) == 1


def test_every_attempt_of_a_run_gives_its_answers_the_same_ids(chat: Chat) -> None:
    first = chat.claim(chat.send().run).conversation
    again = Conversation(first.run, "another", ())
    assert [again.answer_id(n) for n in range(3)] == [first.answer_id(n) for n in range(3)]
    assert len({first.answer_id(n) for n in range(3)}) == 3
