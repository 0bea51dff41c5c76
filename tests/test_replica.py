"""The test client's judgement: it must notice what a server does wrong, or its tests prove nothing."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.replica import Broken, Inbox, Thread
from tests.schema import check

THREAD, RUN, PROMPT, ANSWER = (str(uuid.UUID(int=number)) for number in range(1, 5))
SEQ = 1_000_000


def row(**fields: Any) -> dict[str, Any]:
    base = {"id": ANSWER, "parent": PROMPT, "after": None, "siblings": [ANSWER], "role": "assistant", "author": "model"}
    state = {
        "status": "streaming",
        "error": None,
        "run": RUN,
        "seq": SEQ,
        "version": 1,
        "created_at": "",
        "updated_at": "",
    }
    return base | state | fields


def run(**fields: Any) -> dict[str, Any]:
    return {"id": RUN, "prompt": PROMPT, "messages": [ANSWER], "state": "running", "seq": SEQ, "version": 1, **fields}


def change(frm: int, to: int, cursor: str = "", **fields: Any) -> dict[str, Any]:
    base = {"type": "change", "thread": THREAD, "from": frm, "to": to, "messages": [], "runs": []}
    return {**base, "cursor": cursor or str(to), **fields}


def delta(frm: int, to: int, *parts: list[Any], version: int = 1) -> dict[str, Any]:
    cursor = f"{version}.{RUN}.{SEQ + to}"
    base = {"type": "delta", "thread": THREAD, "run": RUN, "parts": list(parts), "cursor": cursor}
    return {**base, "from": SEQ + frm, "to": SEQ + to}


@pytest.fixture
def thread() -> Thread:
    """A thread with a running run that has said "ab"."""
    thread = Thread(THREAD)
    thread.apply(change(0, 1, f"1.{RUN}.{SEQ}", runs=[run()]))
    start = {"parent": PROMPT, "author": "model", "role": "assistant"}
    thread.apply(delta(0, 2, ["start", ANSWER, start], ["text", ANSWER, "ab"]))
    return thread


def test_deltas_are_appended_and_unknown_parts_move_the_seq(thread: Thread) -> None:
    thread.apply(delta(2, 4, ["future", ANSWER, 1], ["reasoning", ANSWER, "hm"]))
    thread.apply(delta(4, 5, ["text", ANSWER, "c"], ["end", ANSWER]))
    assert thread.transcript() == {ANSWER: ("abc", "hm", "streaming", 0)}
    assert thread.cursor == f"1.{RUN}.{SEQ + 5}"


@pytest.mark.parametrize("event", [delta(3, 4), delta(1, 3), change(2, 3), change(0, 1) | {"from": 5, "to": 6}])
def test_what_does_not_follow_is_a_gap(thread: Thread, event: dict[str, Any]) -> None:
    with pytest.raises(Broken, match="a gap"):
        thread.apply(event)
    assert thread.counts.gaps == 1


def test_a_delta_of_an_unknown_run_is_a_gap() -> None:
    with pytest.raises(Broken, match="a gap"):
        Thread(THREAD).apply(delta(0, 1))


def test_doubled_and_late_deltas_are_dropped_and_counted(thread: Thread) -> None:
    thread.apply(delta(1, 2, ["text", ANSWER, "b"]))
    final = row(status="complete", seq=SEQ + 2, version=2, text_length=2, reasoning_length=0)
    thread.apply(change(1, 2, messages=[final], runs=[run(state="completed", version=2)]))
    thread.apply(delta(2, 3, ["text", ANSWER, "late"], version=2))
    assert thread.counts.duplicates == 2
    assert thread.text(RUN) == "ab"


def test_a_row_without_text_cuts_to_its_lengths(thread: Thread) -> None:
    final = row(status="cut", seq=SEQ + 2, version=2, text_length=1, reasoning_length=0)
    thread.apply(change(1, 2, messages=[final], runs=[run(state="stopped", version=2)]))
    assert thread.transcript() == {ANSWER: ("a", "", "cut", 0)}
    assert thread.counts.cuts == 1


def test_a_row_that_is_longer_than_what_is_held_is_a_gap(thread: Thread) -> None:
    final = row(status="complete", seq=SEQ + 3, version=2, text_length=3, reasoning_length=0)
    with pytest.raises(Broken, match="a gap"):
        thread.apply(change(1, 2, messages=[final], runs=[run(state="completed", version=2)]))


def test_a_row_with_neither_text_nor_lengths_keeps_the_text(thread: Thread) -> None:
    thread.apply(change(1, 2, f"2.{RUN}.{SEQ + 2}", messages=[row(version=2)]))
    assert thread.text(RUN) == "ab"


def test_a_row_with_text_replaces_it_and_sets_the_seq_also_backwards(thread: Thread) -> None:
    thread.apply(change(1, 2, f"2.{RUN}.{SEQ + 1}", messages=[row(text="a", reasoning="", seq=SEQ + 1, version=2)]))
    thread.apply(delta(1, 2, ["text", ANSWER, "B"], version=2))
    assert thread.text(RUN) == "aB"
    assert thread.counts.full_texts == 1


def test_a_change_from_nothing_forgets_everything_held(thread: Thread) -> None:
    thread.apply(change(0, 1, messages=[row(id=PROMPT, role="user", run=None, text="?", reasoning="")]))
    assert list(thread.messages) == [PROMPT]
    assert not thread.runs
    assert thread.counts.resyncs == 1


def test_a_run_that_was_started_again_begins_its_answer_anew(thread: Thread) -> None:
    again = 2_000_000
    thread.apply(change(1, 2, f"2.{RUN}.{again}", runs=[run(seq=again, version=2)]))
    start = ["start", ANSWER, {"parent": PROMPT, "author": "model", "role": "assistant"}]
    event = delta(0, 0, start, ["text", ANSWER, "A"]) | {"from": again, "to": again + 2}
    thread.apply(event | {"cursor": f"2.{RUN}.{again + 2}"})
    assert thread.text(RUN) == "A"


@pytest.mark.parametrize("cursor", ["2", f"1.{RUN}.{SEQ + 9}"])
def test_a_cursor_that_says_something_else_than_the_event_breaks_the_protocol(thread: Thread, cursor: str) -> None:
    with pytest.raises(Broken, match="the cursor is not of"):
        thread.apply(delta(2, 3, ["text", ANSWER, "c"]) | {"cursor": cursor})


def test_text_of_a_message_that_has_not_begun_breaks_the_protocol(thread: Thread) -> None:
    with pytest.raises(Broken, match="has not begun"):
        thread.apply(delta(2, 3, ["text", str(uuid.uuid4()), "c"]))


def test_an_inbox_takes_items_and_removals_and_notices_a_gap() -> None:
    inbox = Inbox()
    event = {"type": "inbox", "from": 0, "to": 2, "items": [{"id": "1"}, {"id": "2"}], "removed": [], "cursor": "2"}
    inbox.apply(event)
    inbox.apply(event | {"from": 2, "to": 3, "items": [], "removed": ["1"], "cursor": "3"})
    assert list(inbox.items) == ["2"]
    with pytest.raises(Broken, match="a gap in the inbox"):
        inbox.apply(event | {"from": 4, "to": 5})


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ({"type": "news"}, "unknown event"),
        ({"type": "heartbeat", "n": "1", "server_time": ""}, "not by the schema"),
        ({"type": "heartbeat", "n": 1}, "not by the schema"),
        ({"type": "heartbeat", "n": 1, "server_time": "", "more": 1}, "not by the schema"),
        (delta(0, 1, ["text", ANSWER, "x" * 70_000]), "a frame of 70"),
    ],
)
def test_a_frame_that_is_not_as_published_breaks_the_protocol(frame: dict[str, Any], why: str) -> None:
    with pytest.raises(Broken, match=why):
        check(frame, len(json.dumps(frame)))


def test_a_single_row_may_be_larger_than_a_frame() -> None:
    large = row(text="x" * 70_000, reasoning="", text_length=70_000, reasoning_length=0)
    check(change(0, 1, messages=[large]), 71_000)
    with pytest.raises(Broken, match="a frame of"):
        check(change(0, 1, messages=[large, row()]), 71_500)
