"""What is seen before the page's modules run, and that nothing of it moves when they take over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Reader, wait_for
from tests.browser.site import Site, ask

pytestmark = pytest.mark.processes

PROVIDERS = {
    "local": {"path": "chat.providers.openai.OpenAIProvider", "options": {"model": "scripted", "max_retries": 0}},
    "panel": {
        "path": "chat.providers.panel.PanelProvider",
        "options": {"members": {"Ada": "local/", "Grace": "local/"}},
    },
}

PLACES = """() => Object.fromEntries(
  [...document.querySelectorAll("#find, .item, .message, .message .text, .reasoning, #composer")].map((node) => {
    const { x, y, width, height } = node.getBoundingClientRect();
    const name = `${node.id || node.classList[0]} of ${node.closest("[data-id]")?.dataset.id}`;
    return [name, [x, y, width, height].map(Math.round)];
  }))"""


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {"REJOIN_PROVIDERS": json.dumps(PROVIDERS)}


@contextmanager
def before_the_modules(reader: Reader) -> Iterator[None]:
    """The page is loaded anew, and its modules come only at the end of this."""
    held: list[Route] = []
    pattern = "**/chat/page/main*.js"
    reader.page.route(pattern, lambda route: held.append(route))
    reader.page.reload(wait_until="commit")
    expect(reader.page.locator("#announcer")).to_be_attached()
    wait_for(lambda: bool(held), "the modules to be asked for")
    yield
    for route in held:
        route.continue_()
    reader.page.unroute(pattern)
    expect(reader.connection).to_have_text("Live")


def places(reader: Reader) -> dict[str, Any]:
    """Where everything stands."""
    found: dict[str, Any] = reader.page.evaluate(PLACES)
    return found


def below(reader: Reader) -> float:
    """Pixels of the chat below what is seen."""
    return float(reader.page.evaluate("scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight"))


def test_a_long_chat_is_at_its_end_from_the_beginning(site: Site, reader: Reader) -> None:
    reader.say(ask(text="".join(f"line {number}\n\n" for number in range(100))))
    reader.is_at_rest()
    with before_the_modules(reader):
        assert below(reader) < 2
        before = places(reader)
    assert places(reader) == before


def test_what_is_searched_for_before_the_modules_are_there_is_found(site: Site, reader: Reader) -> None:
    reader.say(ask(text="A needle"))
    reader.is_at_rest()
    with before_the_modules(reader):
        reader.page.get_by_label("Search chats").fill("needle")
    expect(reader.page.locator("#found mark")).to_have_text("needle")


def test_without_javascript_there_is_nothing_to_search_with(site: Site, new_reader: Callable[..., Reader]) -> None:
    for scripting in (True, False):
        page = new_reader(java_script_enabled=scripting).page
        page.goto("/")
        expect(page.get_by_role("link", name="New chat").first).to_be_visible()
        expect(page.get_by_label("Search chats")).to_be_visible(visible=scripting)


@pytest.mark.parametrize("when", ["while they grow", "when they are complete"])
def test_answers_that_are_read_side_by_side_stand_so_from_the_beginning(site: Site, reader: Reader, when: str) -> None:
    reader.page.get_by_label("Model").select_option("panel/all")
    reader.say(ask(text="What each of them says. " * 40, gate="half", after=40))
    expect(reader.answers).to_have_count(2)
    if when == "when they are complete":
        site.model.open_gate("half")
        reader.is_at_rest()
    with before_the_modules(reader):
        left, right = (reader.messages.nth(at).bounding_box() for at in (1, 2))
        assert left and right and left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
    for at, before in ((1, left), (2, right)):
        now = reader.messages.nth(at).bounding_box()
        assert now and all(now[side] == before[side] for side in ("x", "width", "height"))


def test_thoughts_that_are_being_thought_are_open_from_the_beginning(site: Site, reader: Reader) -> None:
    thoughts = reader.messages.last.locator(".thoughts")
    reader.say(ask(chunks=4, reasoning=100, seed="thoughts", gate="word", after=50))
    expect(thoughts).to_contain_text("49?")
    with before_the_modules(reader):
        expect(thoughts).to_contain_text("49?")
        expect(thoughts).to_be_visible()
        before = places(reader)
    assert places(reader) == before
    site.model.open_gate("word")
    reader.is_at_rest()
    with before_the_modules(reader):
        expect(reader.messages.last.locator("summary")).to_be_visible()
        expect(thoughts).to_be_hidden()
