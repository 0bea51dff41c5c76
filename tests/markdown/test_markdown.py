"""What an answer's Markdown may and may not become."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.cache import cache
from markdown_it.rules_block import heading
from markdown_it.rules_inline import linkify

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


def test_an_answer_grows_past_the_first_line_of_its_code() -> None:
    text = "```python\nx = 1\n"
    for end in range(len(text) + 1):
        assert shown(text[:end]) == text_of(markdown.render_growing(text[:end])) == text_of(markdown.render(text[:end]))


def test_code_is_coloured_up_to_a_length_and_up_to_a_sum_of_them() -> None:
    def spans(*pieces: str) -> list[bool]:
        html = markdown.render("".join(f"```python\n{piece}```\n\n" for piece in pieces))
        return ["<span" in piece for piece in html.split("<pre")[1:]]

    line = "x = 1  # " + "word " * 20 + "\n"
    half, long = line * 90, line * 200
    assert spans(half, long, half) == [True, False, True]
    assert spans(*[half] * 8) == [True] * 5 + [False] * 3


@pytest.mark.parametrize("name", ["mcschema", "tnt", "markdown", "http", "autohotkey", "nosuch", "python3.99", ""])
def test_code_in_a_language_that_is_not_known_to_be_harmless_has_no_colours(name: str) -> None:
    html = markdown.render(f"```{name}\n<!--\nx = 1\n")
    assert "<span" not in html
    assert "&lt;!--\nx = 1" in html


def test_html_that_is_very_long_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear()
    kept: list[str] = []
    monkeypatch.setattr(markdown.cache, "set", lambda key, html: kept.append(html))
    short = markdown.render("*kept*")
    assert "<em>left</em>" in markdown.render("*left* " + "&" * 60_000)
    assert kept == [short]


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


MARKS = ["[", "[a](", "[a][", "![", "`a``", "**a", "~~a", "_a ", "*_", "[<a<a"]
ADDRESSES = ["http://a", "http:// ", "http://a.b/((((", "//a.b/((((", "https://[", "://"]


@pytest.mark.parametrize("piece", [*MARKS, *ADDRESSES])
def test_a_text_of_nothing_but_marks_is_shown_as_it_is_instead_of_being_parsed_for_hours(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    assert text_of(markdown.render(text)).count(piece) >= 90_000 // len(piece)


@pytest.mark.parametrize("text", [piece * 20_000 for piece in ADDRESSES] + ["a" * 190_000 + "http:// " * 1_000])
def test_addresses_are_looked_for_in_so_many_characters_at_most(text: str) -> None:
    looked_at = 0

    def look(state: Any, silent: bool) -> bool:
        nonlocal looked_at
        if state.src.startswith("://", state.pos):
            looked_at += len(state.src)
        return linkify(state, silent)

    parser = markdown.parser()
    parser.inline.ruler.at("linkify", look)
    parser.render(text)
    assert looked_at <= markdown.MOST_LOOKED_AT


def test_honest_addresses_are_links_however_many() -> None:
    assert markdown.render("- [a](https://e.example/) and https://e.example/a\n" * 1_000).count("<a ") == 2_000


@pytest.mark.parametrize("piece", [">", "- ", "1. ", "> - "])
def test_blocks_may_be_nested_without_end(piece: str) -> None:
    html = markdown.render(piece * 5_000 + "deep")
    assert html.count("<") < 200
    assert "deep" in html


def test_lists_are_nested_as_deep_as_people_write_them() -> None:
    html = markdown.render("".join("  " * level + f"- *level {level}*\n" for level in range(10)))
    assert html.count("<ul") == html.count("<em>") == 10


@pytest.mark.parametrize("beginning", [">" * 100, "> - " * 50, "- " * 50, "> 1. " * 9])
def test_lines_below_something_nested_are_looked_at_so_often_at_most(beginning: str) -> None:
    def looks(lines: int) -> int:
        counted = 0

        def count(*how: Any) -> bool:
            nonlocal counted
            counted += 1
            return heading(*how)

        parser = markdown.parser()
        parser.block.ruler.at("heading", count, {"alt": ["paragraph", "reference", "blockquote"]})
        parser.render(beginning + "a\n" * lines)
        return counted

    assert 0 < looks(100) < 100 * markdown.DEEPEST + 1_000
    assert looks(20_000) == looks(40_000)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("*a*\nb\nc\nd\n" * 5_000, 2_500),
        (("*a* " + "b" * 95 + "\n") * 4_000, 2_000),
        (("*a* " + "👍" * 45 + "é" * 5 + "\n") * 4_000, 2_000),
        ("*a* " * 100_000, 0),
    ],
)
def test_what_is_very_long_is_parsed_up_to_a_line_and_shown_as_it_is_from_there(text: str, parsed: int) -> None:
    html = markdown.render(text)
    assert html.count("<em>") == parsed
    head, _, rest = html.partition("<code>")
    left = text_of(rest.removesuffix("</code></pre></div>\n"))
    assert "*a*" not in head and left and left == text[-len(left) :]
    assert text_of(html).count("a") == text.count("a")


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
