"""Folding: what parts add up to, however they are put together."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chat.errors import ProviderTimeout
from chat.fold import Fold
from chat.protocol import Part, done, end, reasoned, reasoning, start, text, usage

PARTS = st.lists(
    st.builds(text, st.sampled_from("ab"), st.text(max_size=3))
    | st.builds(reasoning, st.sampled_from("ab"), st.text(max_size=3))
    | st.builds(reasoned, st.sampled_from("ab"), st.integers(0, 9))
    | st.sampled_from(
        [start("a"), end("a"), end("b"), end("b", ProviderTimeout()), usage("a", input=1, output=1), done()]
    )
)


def plain(fold: Fold) -> dict[str, Any]:
    answers = {
        name: (a.text, a.reasoning, a.reasoning_ms, a.length, a.ended, a.error) for name, a in fold.answers.items()
    }
    return {
        "seq": fold.seq,
        "answers": answers,
        "ended": fold.ended,
        "tokens": (fold.tokens_in, fold.tokens_out),
        "said": fold.said,
        "done": fold.done,
    }


@given(PARTS, st.data())
def test_it_does_not_matter_how_parts_are_put_into_batches(parts: list[Part], data: st.DataObject) -> None:
    whole, pieces = Fold(0), Fold(0)
    whole.add(parts, len(parts))
    at = 0
    while at < len(parts):
        to = data.draw(st.integers(at + 1, len(parts)))
        pieces.add(parts[at:to], to)
        if data.draw(st.booleans()):
            assert pieces.length == sum(len(a.text) + len(a.reasoning) for a in pieces.answers.values())
        at = to
    assert plain(pieces) == plain(whole)


@given(PARTS, PARTS)
def test_a_copy_stays_as_it_was(first: list[Part], second: list[Part]) -> None:
    fold = Fold(0)
    fold.add(first, 1)
    before, copy = plain(fold), fold.copy()
    fold.add(second, 2)
    assert plain(copy) == before


@given(PARTS, PARTS)
def test_a_copy_goes_on_like_the_original(first: list[Part], second: list[Part]) -> None:
    fold = Fold(0)
    fold.add(first, 1)
    copy = fold.copy()
    for one in (fold, copy):
        one.add(second, 2)
    assert plain(copy) == plain(fold)


def test_what_is_held_comes_first_and_was_not_said_by_this_run() -> None:
    fold = Fold(5)
    fold.hold("a", "before", "thought", 1200)
    assert not fold.said
    fold.add([reasoned("a", 300), text("a", " and after")], 7)
    assert fold.answers["a"].reasoning_ms == 1500
    assert (fold.answers["a"].text, fold.answers["a"].reasoning, fold.length, fold.said) == (
        "before and after",
        "thought",
        23,
        True,
    )


def test_a_message_that_began_and_ended_without_a_word_is_there_and_says_nothing() -> None:
    fold = Fold(0)
    fold.add([start("a"), end("a")], 2)
    assert plain(fold)["answers"] == {"a": ("", "", 0, 0, True, "")}
    assert not fold.said


def test_reasoning_alone_counts_as_said() -> None:
    fold = Fold(0)
    fold.add([reasoning("a", "hm")], 1)
    assert fold.said


def test_usage_adds_up_and_is_unknown_when_none_came() -> None:
    fold = Fold(0)
    assert (fold.tokens_in, fold.tokens_out) == (None, None)
    fold.add([usage("a", input=5, output=0), usage("b", input=1, output=2)], 2)
    assert (fold.tokens_in, fold.tokens_out) == (6, 2)


def test_an_unknown_kind_moves_the_seq_and_nothing_else() -> None:
    fold = Fold(0)
    fold.add([("image", "a", {"url": "x"}), ("ping", "")], 2)
    assert plain(fold) == plain(Fold(2))
