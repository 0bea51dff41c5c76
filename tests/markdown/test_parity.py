"""The server's Markdown and the browser's give the same HTML."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat import markdown
from tests.markdown import hostile

HERE = Path(__file__).parent
DOCUMENTS = sorted((HERE / "documents").glob("*.md"))


def in_the_browsers_way(texts: list[str]) -> list[str]:
    node = Path(sys.executable).with_name("node")
    done = subprocess.run([node, HERE / "render.js"], input=json.dumps(texts).encode(), capture_output=True, check=True)
    rendered: list[str] = json.loads(done.stdout)
    return rendered


@pytest.fixture(scope="module")
def theirs() -> dict[str, str]:
    texts = [path.read_bytes().decode() for path in DOCUMENTS]
    return dict(zip([path.name for path in DOCUMENTS], in_the_browsers_way(texts), strict=True))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_gives_the_same_html_on_both_sides(path: Path, theirs: dict[str, str]) -> None:
    assert markdown.parser().render(path.read_bytes().decode()) == theirs[path.name]


def test_a_hostile_text_gives_the_same_html_on_both_sides() -> None:
    for text, html in zip(hostile.TEXTS, in_the_browsers_way(hostile.TEXTS), strict=True):
        assert markdown.parser().render(text) == html


def test_there_are_enough_documents() -> None:
    assert len(DOCUMENTS) >= 34


MARKS = r"\n| |  |    |1.|-|*|**|_|`|```|~~~|#|>|[|]|(|)|!|:|\|~~|<b>|&amp;|---"
PIECES = [
    "\n",
    "\n\n",
    "\t",
    "|",
    "|-|-|",
    "a",
    "word",
    "é",
    "\u3000",
    "\u2028",
    "\xa0",
    "👍",
    # With a space: the two disagree about where an address ends that has an open bracket in it.
    "https://e.example/ ",
    "[a]: https://x.example/ ",
    "[a]",
]
PIECES += MARKS.split("|")[1:]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), min_size=150, max_size=150))
@settings(max_examples=3, deadline=None)
def test_any_heap_of_marks_gives_the_same_html_on_both_sides(texts: list[str]) -> None:
    for text, html in zip(texts, in_the_browsers_way(texts), strict=True):
        assert markdown.parser().render(text) == html
