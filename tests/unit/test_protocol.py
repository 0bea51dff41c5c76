"""The protocol's values: parts, clean text, cursors."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.errors import BadRequest
from chat.fold import Fold
from chat.protocol import Cursor, Part, clean, done, end, join, reasoning, start, text, usage

MESSAGES = st.sampled_from(["one", "two"])
PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(text, MESSAGES, st.text(max_size=3)),
    st.builds(reasoning, MESSAGES, st.text(max_size=3)),
    st.builds(start, MESSAGES),
    st.builds(end, MESSAGES),
    st.just(usage("one", input=1, output=2)),
    st.just(("image", "one", "a kind of later")),
    st.just(done()),
)


def said(parts: list[Part]) -> Fold:
    fold = Fold(0)
    fold.add(parts, 0)
    for answer in fold.answers.values():
        assert answer.text is not None  # (puts the pieces together, so that folds can be compared)
        assert answer.reasoning is not None
    return fold


@given(st.lists(PARTS))
def test_joined_parts_mean_the_same(parts: list[Part]) -> None:
    joined, plain = said(join(parts)), said(parts)
    assert {name: (answer.text, answer.reasoning, answer.ended) for name, answer in joined.answers.items()} == {
        name: (answer.text, answer.reasoning, answer.ended) for name, answer in plain.answers.items()
    }
    assert (joined.tokens_in, joined.tokens_out, joined.done) == (plain.tokens_in, plain.tokens_out, plain.done)


@given(st.lists(PARTS))
def test_nothing_can_be_joined_twice(parts: list[Part]) -> None:
    assert join(join(parts)) == join(parts)


@given(st.lists(PARTS))
def test_only_text_and_reasoning_are_joined_and_nothing_changes_its_order(parts: list[Part]) -> None:
    def others(parts: list[Part]) -> list[Part]:
        return [part for part in parts if part[0] not in ("text", "reasoning")]

    assert others(join(parts)) == others(parts)


def test_neighbouring_text_of_one_message_becomes_one_part() -> None:
    parts = [text("one", "a"), text("one", "b"), reasoning("one", "c"), text("one", "d"), text("two", "e")]
    assert join(parts) == [text("one", "ab"), *parts[2:]]


ANY_TEXT = st.text(st.characters(codec=None), max_size=20)


@given(ANY_TEXT)
def test_clean_text_can_be_stored_and_sent(value: str) -> None:
    cleaned = clean(value)
    assert "\0" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert clean(cleaned) == cleaned


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_text_that_is_clean_comes_back_as_it_is(value: str) -> None:
    assert clean(value) is value


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("a\ud83db", "a\ufffdb"),
        ("a\ude00b", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("ä\0\ud83d", "ä\ufffd\ufffd"),
    ],
)
def test_halves_are_joined_and_what_is_left_is_replaced(value: str, cleaned: str) -> None:
    assert clean(value) == cleaned


SEQ = st.integers(0, 10**18 - 1)


@given(SEQ.map(Cursor) | st.tuples(SEQ, st.uuids().map(str), SEQ).map(Cursor._make))
def test_a_cursor_comes_back_from_its_string(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor
    assert len(str(cursor)) <= 100


def test_the_cursor_of_who_has_nothing_is_the_least() -> None:
    assert Cursor() == Cursor(0, None, 0)
    assert str(Cursor()) == "0"


RUN = "c51ae67d-8ada-4138-8ece-0109556cc56d"


NUMBERS = ["", "x", "-1", "+1", " 1", "1 ", "1\n", "1e3", "1.5", "٣", "1" * 19, "null", "{}", "\0"]
HALVES = [f"1.{RUN}", f"1.{RUN}.", f"1.{RUN}.-1", f"1.{RUN}.x", f"1.{RUN}.1.1", f".{RUN}.1", f"x.{RUN}.1", "1.run.1"]


@pytest.mark.parametrize("value", [*NUMBERS, *HALVES])
def test_anything_else_is_no_cursor(value: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Cursor.parse(value)
    assert caught.value.detail == {"field": "cursor"}


@given(st.text(max_size=80))
def test_no_text_breaks_the_reading_of_cursors(value: str) -> None:
    with suppress(BadRequest):
        assert Cursor.parse(str(Cursor.parse(value))) == Cursor.parse(value)
