"""What an answer's Markdown may and may not become."""

from __future__ import annotations

import re

import pytest

from chat import markdown
from tests.markdown import hostile
from tests.markdown.reading import shown, text_of


def test_code_in_a_known_language_is_coloured_by_classes_alone() -> None:
    html = markdown.render("```python\nx = '<b>'\n```\n")
    assert '<p class="language">python</p>' in html
    assert '<span class="n">x</span>' in html
    assert "&lt;b&gt;" in html
    assert "style=" not in html


def test_colours_leave_the_text_as_it_is() -> None:
    text = "```python\n\n\nx = 1 < 2 & 3\n\n\n```\n\n    plain < code\n\n- ```nosuch\n  a & b\n  ```\n\n"
    text += "```python\nreturn 'cut o"
    coloured = markdown.render(text)
    assert "<span" in coloured
    assert text_of(coloured) == shown(text)


def test_an_answer_that_grows_has_no_colours_yet() -> None:
    text = "```python\nx = 1\n```\n\nand"
    assert markdown.render_growing(text) == markdown.parser().render(text)


def test_code_that_is_very_long_is_left_without_colours() -> None:
    assert "<span" not in markdown.render("```python\n" + "x = 1\n" * 10_000 + "```\n")


def test_an_image_is_a_link_and_loads_nothing() -> None:
    html = markdown.render("![a cat](https://e.example/cat.png)")
    assert "<img" not in html
    assert 'href="https://e.example/cat.png"' in html


def test_links_take_nothing_along() -> None:
    html = markdown.render("[x](https://e.example/)")
    assert 'target="_blank" rel="noopener noreferrer nofollow"' in html


def test_columns_are_aligned_without_a_style() -> None:
    html = markdown.render("| a | b | c |\n|:--|:-:|--:|\n| 1 | 2 | 3 |\n")
    assert re.findall(r"<td([^>]*)>", html) == [' class="left"', ' class="center"', ' class="right"']
    assert "style=" not in html


def test_each_outermost_block_has_its_own_direction_and_code_goes_from_left_to_right() -> None:
    html = markdown.render("# a\n\nb\n\n- c\n\n  > d\n\n| e |\n|---|\n\n```\nf\n```\n")
    assert re.findall(r"<(\w+)[^<>]* dir=\"(\w+)\"", html) == [
        *(("h3", "auto"), ("p", "auto"), ("ul", "auto"), ("div", "auto"), ("div", "ltr"))
    ]


@pytest.mark.parametrize("piece", ["[", "[a](", "[a][", "![", "`a``", "**a", "~~a", "_a ", "*_"])
def test_a_text_of_nothing_but_marks_is_shown_as_it_is_instead_of_being_parsed_for_hours(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    assert text_of(markdown.render(text)).count(piece) >= 90_000 // len(piece)


@pytest.mark.parametrize("piece", [">", "- ", "1. ", "> - "])
def test_blocks_may_be_nested_without_end(piece: str) -> None:
    assert markdown.render(piece * 5_000 + "deep").count("<") < 1_000


def test_there_are_enough_hostile_texts() -> None:
    assert len(set(hostile.TEXTS)) >= 100


@pytest.mark.parametrize("text", hostile.TEXTS)
def test_a_hostile_text_becomes_nothing_but_harmless_tags(text: str) -> None:
    for html in (markdown.render(text), markdown.render_growing(text), markdown.render(f"- x\n\n  {text}\n\n*y*")):
        assert hostile.excesses(html) == []


def test_what_is_not_harmless_would_be_found() -> None:
    for html in (
        "<script>",
        "<a href='javascript:x'>",
        "<p onclick=x>",
        "<p style=x>",
        "<!--x-->",
        "<p class='dialog x'>",
    ):
        assert hostile.excesses(html), html
