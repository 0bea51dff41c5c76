"""Naming the authors in a prompt: only where there are several, and so that servers take it."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from chat.providers.authors import NOTE, named, several, sizes
from chat.providers.base import Conversation, Turn

Q, Q2 = Turn("user", "why?"), Turn("user", "and?")
ADA, BOB = Turn("assistant", "Ada's", "ada"), Turn("assistant", "Bob's", "bob")

TURNS = st.lists(
    st.builds(Turn, st.just("user"), st.text(max_size=5))
    | st.builds(Turn, st.just("assistant"), st.text(max_size=5), st.sampled_from(["", "ada", "bob"])),
    max_size=8,
)


def made(*turns: Turn, **fields: Any) -> tuple[str, list[tuple[str, str]]]:
    system_prompt, made = named(Conversation(uuid4(), "", turns, **fields))
    return system_prompt, [(turn.role, turn.text) for turn in made]


def test_a_chat_with_one_author_goes_out_as_it_is() -> None:
    assert made(Q, ADA, Q2, ADA, Q, system_prompt="Be kind.", author="ada") == (
        "Be kind.",
        [("user", "why?"), ("assistant", "Ada's"), ("user", "and?"), ("assistant", "Ada's"), ("user", "why?")],
    )


def test_of_several_authors_each_answer_says_whose_it_is_and_neighbours_are_one_turn() -> None:
    assert made(Q, ADA, BOB, Q2, system_prompt="Be kind.") == (
        f"Be kind.\n\n{NOTE}",
        [("user", "why?"), ("assistant", "[ada]\nAda's\n\n[bob]\nBob's"), ("user", "and?")],
    )


def test_who_answers_is_told_under_which_name() -> None:
    assert made(Q, ADA, Q, BOB, Q, author="bob")[0] == f"{NOTE} You are bob."


def test_two_answers_of_one_author_are_one_turn_without_a_name() -> None:
    assert made(Q, ADA, ADA)[1] == [("user", "why?"), ("assistant", "Ada's\n\nAda's")]


def test_an_answer_that_is_gone_on_with_stays_as_it_is() -> None:
    assert made(Q, ADA, Q2, BOB, continues="b")[1][-1] == ("assistant", "Bob's")
    assert made(Q, ADA, BOB, continues="b")[1] == [("user", "why?"), ("assistant", "[ada]\nAda's\n\n[bob]\nBob's")]


def test_empty_turns_are_left_out_and_nobodys() -> None:
    assert made(Q, ADA, Turn("assistant", "", "bob"), Q2) == (
        "",
        [("user", "why?"), ("assistant", "Ada's"), ("user", "and?")],
    )


@given(TURNS, st.booleans())
def test_no_two_answers_stand_in_a_row_and_nothing_is_lost(turns: list[Turn], going_on: bool) -> None:
    _, found = made(*turns, continues="x" if going_on else None)
    roles = [role for role, _ in found]
    assert ("assistant", "assistant") not in itertools.pairwise(roles)
    everything = "\0".join(text for _, text in found)
    at = 0
    for turn in turns:
        at = everything.index(turn.text, at) + len(turn.text)


@given(TURNS)
def test_the_sizes_are_those_of_what_goes_out(turns: list[Turn]) -> None:
    kept = [turn for turn in turns if turn.text]
    _, found = made(*kept)
    joints = 2 * (len(kept) - len(found))
    assert sum(sizes(kept)) + joints == sum(len(text) for _, text in found)
    if not several(kept):
        assert sizes(kept) == [len(turn.text) for turn in kept]
