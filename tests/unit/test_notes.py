"""What the first paint says around messages, and where it puts them: the same as in the browser (tests/js/words.test.js
and outlook.test.js)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat.views import abreast, firsts, note, thoughts

WORDS = Path(__file__).parent.parent / "words"
CASES = json.loads((WORDS / "notes.json").read_text())["cases"]
ABREAST = json.loads((WORDS / "abreast.json").read_text())["cases"]
THOUGHTS = json.loads((WORDS / "thoughts.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["about"] for case in CASES])
def test_the_first_paint_says_below_a_message_what_the_page_says_there(case: dict[str, Any]) -> None:
    row = {"status": "complete", "error": None, **case["message"]}
    run = case["run"] and {"state": "running", "error": None, "place": None, "left_out": 0, **case["run"]}
    assert note(row, run, case.get("answering", False)) == case["note"]


@pytest.mark.parametrize("case", THOUGHTS, ids=[f"{case['thinking']}-{case['ms']}" for case in THOUGHTS])
def test_the_first_paint_names_thoughts_as_the_page_does(case: dict[str, Any]) -> None:
    assert thoughts(case["thinking"], case["ms"]) == case["words"]


@pytest.mark.parametrize("case", ABREAST, ids=[case["about"] for case in ABREAST])
def test_the_first_paint_puts_answers_side_by_side_as_the_page_does(case: dict[str, Any]) -> None:
    path, runs = case["path"], case["runs"]
    assert abreast(path, runs, firsts(path, runs)) == case["counts"]
