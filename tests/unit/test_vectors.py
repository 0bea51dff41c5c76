"""tests/vectors: the same frames in, the same transcript out, in every client (tests/js/vectors.test.js)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat.client import Inbox, Transcript
from tests.vectors import VECTORS, check_vector

FILES = sorted(VECTORS.glob("*.json"))


def load(path: Path) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return vector


def played(vector: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a client holds after the vector's frames, and what each of them did."""
    if vector.get("inbox"):
        inbox = Inbox()
        effects: list[str] = [inbox.apply(frame) for frame in vector["frames"]]
        shown = [{name: item[name] for name in ("id", "title", "status", "unread")} for item in inbox.latest]
        return {"items": shown, **ends(inbox, effects)}, effects
    transcript = Transcript(vector["thread"])
    effects = [transcript.apply(frame) for frame in vector["frames"]]
    path = [
        {name: getattr(message, name) for name in ("id", "role", "status", "text", "reasoning", "reasoning_ms")}
        for message in transcript.path
    ]
    queued = [message.id for message in transcript.queued]
    return {"path": path, "queued": queued, "gone": transcript.gone, **ends(transcript, effects)}, effects


def ends(replica: Inbox | Transcript, effects: list[str]) -> dict[str, Any]:
    assert replica.gaps == effects.count("gap")
    return {"version": replica.version, "cursor": replica.cursor, "resync": "gap" in effects}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_same_frames_give_the_same_transcript(path: Path) -> None:
    vector = load(path)
    held, effects = played(vector)
    assert effects == vector["effects"]
    assert held == vector["expected"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_vector_says_what_it_is_about_and_is_made_of_frames_of_the_protocol(path: Path) -> None:
    vector = load(path)
    assert vector["name"] == path.stem
    assert vector["about"].endswith(".")
    check_vector(vector)


def test_no_vector_lies_where_nobody_reads_it() -> None:
    assert sorted(VECTORS.rglob("*.json")) == FILES
    assert len(FILES) >= 35
