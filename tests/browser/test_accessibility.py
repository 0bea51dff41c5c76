"""Everybody can use the page: axe-core finds nothing in any look, and what is heard is as good as what is seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Reader, texts, wait_for
from tests.browser.site import Site, ask
from tests.servers.process import ROOT

pytestmark = pytest.mark.processes

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PASSWORD = "a long enough one"

FAULTS = """async () => {
  await Promise.all(document.getAnimations().map((each) => each.effect.getTiming().iterations < 9 && each.finished));
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id} at ${target.join(" ")}: ${failureSummary}`));
}"""

EVERYTHING = """# A head

Text with **bold** words, `code`, [a link](https://example.org), and ~~what is struck~~.

- one
- two
  1. three

> A quote, of which there is [a source](https://example.org).

| Left | Right |
|:-----|------:|
| a    |     1 |

```python
# A comment
@decorator
class Thing(Base):
    def __init__(self, number: int = 12) -> None:
        self.text = f"{number!r} and 'more'" if number else None
```

```diff
- before
+ after
```

```html
<a href="/there">&amp; back</a>
```
"""


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {"REJOIN_SIGNUP": "1"}


def is_clean(page: Page, sizes: tuple[dict[str, int], ...] = (WIDE, PHONE)) -> None:
    """Nothing is found on the page as it is, wide and on a phone, light and dark."""
    # Playwright's own evaluation is not held to the page's policy.
    page.evaluate(AXE.read_text())
    found = []
    for scheme in ("light", "dark"):
        for size in sizes:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)  # type: ignore[arg-type]  # a dict of Playwright's own
            found += [f"{scheme}, {size['width']} px: {fault}" for fault in page.evaluate(FAULTS)]
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    assert found == []


# ------------------------------------------------------------------------------------------------------------ axe-core


def test_an_empty_chat_has_no_faults(reader: Reader) -> None:
    is_clean(reader.page)


def test_a_chat_with_everything_in_it_has_no_faults(site: Site, reader: Reader) -> None:
    reader.say(ask(text=EVERYTHING, reasoning=5, usage="always"))
    reader.is_at_rest()
    expect(reader.answer.locator(".code .k").first).to_be_visible()
    reader.does("Regenerate")
    expect(reader.messages.last.locator(".count")).to_have_text("2/2")
    reader.is_at_rest()
    reader.does("About this answer")
    reader.messages.last.locator("summary").click()
    reader.say(ask(text="To be stopped", gate="never", after=1))
    expect(reader.answer).to_contain_text("To")
    reader.composer.press("Escape")
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    reader.say(ask(text="To fail", error={"message": "no"}, after=1))
    expect(reader.messages.last).to_have_attribute("data-status", "failed")
    reader.does("Edit", reader.messages.first)
    is_clean(reader.page)
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    is_clean(reader.page)


def test_an_answer_that_is_being_written_and_what_waits_have_no_faults(site: Site, reader: Reader) -> None:
    reader.say(ask(text=EVERYTHING, reasoning=3, gate="never", after=90))
    expect(reader.answer).to_contain_text("decorator")
    reader.say("And then?")
    expect(reader.queued.locator(".note")).to_have_text("Queued: next")
    reader.composer.fill("And after that?")
    is_clean(reader.page)


def test_dialogs_and_menus_have_no_faults(site: Site, reader: Reader) -> None:
    page = reader.page
    reader.say(ask(text="Yes"))
    reader.is_at_rest()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Options of this chat").click()
    is_clean(page, (WIDE,))
    page.get_by_role("button", name="Instructions").click()
    is_clean(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Options of this chat").click()
    page.get_by_role("button", name="Keys").click()
    is_clean(page)
    page.keyboard.press("Escape")
    reader.items.first.hover()
    reader.items.first.locator(".more").click()
    is_clean(page, (WIDE,))
    page.get_by_role("menuitem", name="Rename").click()
    is_clean(page, (WIDE,))


def test_search_the_archive_and_what_can_be_taken_back_have_no_faults(site: Site, reader: Reader) -> None:
    page = reader.may_undo_for_long().open().page
    reader.say(ask(text="A needle"))
    reader.is_at_rest()
    page.keyboard.press("Control+k")
    page.keyboard.type("needle")
    expect(page.locator("#found mark").first).to_be_visible()
    is_clean(page, (WIDE,))
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Archived chats").click()
    expect(page.get_by_text("Nothing is archived.")).to_be_visible()
    is_clean(page, (WIDE,))
    page.get_by_role("button", name="Archived chats").click()
    reader.items.first.hover()
    reader.items.first.locator(".more").click()
    page.get_by_role("menuitem", name="Archive").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    is_clean(page)
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def test_the_list_of_chats_on_a_phone_has_no_faults(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Yes"))
    reader.is_at_rest()
    reader.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    reader.page.get_by_role("link", name="Open the list of chats").click()
    is_clean(reader.page, (PHONE,))


def test_a_page_without_a_connection_has_no_faults(site: Site, reader: Reader) -> None:
    reader.page.context.clear_cookies()
    site.line.reset()
    expect(reader.page.get_by_role("alert")).to_contain_text("You are signed out.")
    is_clean(reader.page)


def test_the_button_that_hurries_the_connection_has_no_faults(site: Site, patient: Reader) -> None:
    with site.line.away():
        expect(patient.connection).to_have_text(re.compile(r"Reconnecting in 1\d s"))
        is_clean(patient.page)
        expect(patient.page.get_by_role("button", name="Now")).to_be_visible()


def test_the_pages_of_accounts_have_no_faults(new_reader: Callable[..., Reader]) -> None:
    page = new_reader().page
    for address in ("/login/", "/signup/"):
        page.goto(address)
        is_clean(page)
        page.get_by_label("Username").fill("nobody")
        page.locator('input[type="password"]').first.fill("12")
        if address == "/signup/":
            page.locator('input[type="password"]').last.fill("12")
        page.locator('main button[type="submit"]').click()
        expect(page.get_by_role("alert").first).to_be_visible()
        is_clean(page)
    for field in page.locator('input[type="password"]').all():
        field.fill(PASSWORD)
    page.get_by_label("Username").fill("axe")
    page.get_by_role("button", name="Sign up").click()
    expect(page.locator("#connection")).to_have_text("Live")
    page.goto("/account/")
    page.get_by_label("Name").fill("a program")
    page.get_by_role("button", name="Make a token").click()
    expect(page.get_by_label("The new token")).to_be_visible()
    is_clean(page)
    for address in ("/account/password/", "/account/data/"):
        page.goto(address)
        is_clean(page)
    page.get_by_label("Your password").fill("wrong")
    page.get_by_role("button", name="Delete my account").click()
    expect(page.get_by_role("alert")).to_be_visible()
    is_clean(page)
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Delete my account").click()
    expect(page.get_by_role("heading", name="Your account is deleted")).to_be_visible()
    is_clean(page)


def test_a_guests_page_of_their_data_has_no_faults(reader: Reader) -> None:
    reader.page.goto("/account/data/")
    expect(reader.page.get_by_role("heading", name="Your data")).to_be_visible()
    is_clean(reader.page)


def test_pages_that_are_not_there_have_no_faults(reader: Reader) -> None:
    for address in ("/nowhere/", "/c/00000000-0000-4000-8000-000000000000/"):
        reader.page.goto(address)
        expect(reader.page.get_by_role("heading", name="not here")).to_be_visible()
        is_clean(reader.page)


# ------------------------------------------------------------------------------------------------------------ keyboard

FOCUSED = """() => {
  const node = document.activeElement;
  const box = node.getBoundingClientRect();
  const drawn = (one) => getComputedStyle(one).outlineStyle !== "none";
  const around = node.matches("textarea, input") ? [node, node.parentElement, node.form] : [node];
  return {
    name: node.getAttribute("aria-label") ?? node.innerText ?? node.id,
    lost: node === document.body,
    hidden: !node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || box.width < 1,
    outside: box.bottom <= 0 || box.top >= innerHeight || box.right <= 0 || box.left >= innerWidth,
    unmarked: !node.matches("textarea") && !around.some((one) => one && drawn(one)),
  };
}"""
"""What has the keyboard, and what is wrong with it. A box to write in has its caret."""


def focused(reader: Reader) -> None:
    """Something has the keyboard, and it is to be seen what (as soon as what appears with it has begun to)."""
    state: dict[str, Any] = {}

    def is_seen() -> bool:
        state.update(reader.page.evaluate(FOCUSED))
        return not any(state[fault] for fault in ("lost", "hidden", "outside", "unmarked"))

    wait_for(is_seen, lambda: f"the keyboard's place to be seen: {state}")


def walk(reader: Reader, target: Locator, key: str = "Tab") -> None:
    """Press the key until this has the keyboard. All on the way shows that it has it."""
    for _ in range(80):
        reader.page.keyboard.press(key)
        if target.count() and target.evaluate("node => node === document.activeElement"):
            return focused(reader)
        if not reader.page.evaluate(
            "document.activeElement === document.body"
        ):  # the browser's own controls come there
            focused(reader)
    raise AssertionError("never came there")


def test_a_whole_conversation_needs_no_mouse(site: Site, new_reader: Callable[..., Reader]) -> None:
    reader = new_reader(reduced_motion="reduce").open()
    page, keys = reader.page, reader.page.keyboard
    button = reader.messages.get_by_role("button", include_hidden=False)

    def named(name: str) -> Locator:
        return button.and_(page.get_by_role("button", name=name, exact=True))

    expect(reader.composer).to_be_focused()
    keys.insert_text(ask(text="One two three four five six", gate="later", after=2))
    keys.press("Enter")
    expect(reader.answer).to_have_text("One two")
    keys.press("Escape")
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    expect(reader.composer).to_be_focused()
    site.model.open_gate("later")
    walk(reader, named("Continue"), "Shift+Tab")
    keys.press("Enter")
    reader.sees("One two three four five six")
    reader.is_at_rest()
    focused(reader)

    keys.press("Escape")
    walk(reader, named("Edit").first)
    keys.press("Enter")
    box = page.get_by_label("Edit your message")
    expect(box).to_be_focused()
    keys.press("Control+a")
    keys.insert_text(ask(text="Better"))
    keys.press("Enter")
    reader.sees("Better")
    reader.is_at_rest()
    expect(reader.composer).to_be_focused()
    walk(reader, named("Previous version"), "Shift+Tab")
    keys.press("Enter")
    reader.sees("One two three four five six")
    expect(named("Previous version")).to_be_focused()
    walk(reader, named("Copy").last)
    keys.press("Enter")
    expect(page.get_by_role("status").get_by_text("Copied")).to_be_attached()
    expect(named("Copy").last).to_be_focused()

    walk(reader, page.get_by_role("button", name="Stop the answer").or_(reader.composer))
    keys.insert_text(ask(text="Never to its end", gate="never", after=1))
    keys.press("Enter")
    expect(reader.answer).to_have_text("Neve")
    walk(reader, page.get_by_role("button", name="Stop the answer"))
    keys.press("Space")
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    expect(reader.composer).to_be_focused()

    page.reload()
    expect(reader.connection).to_have_text("Live")
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the message box")).to_be_focused()
    focused(reader)
    keys.press("Enter")
    expect(reader.composer).to_be_focused()


def test_the_list_of_chats_and_its_menus_need_no_mouse(site: Site, new_reader: Callable[..., Reader]) -> None:
    reader = new_reader(reduced_motion="reduce").may_undo_for_long().open()
    page, keys = reader.page, reader.page.keyboard
    keys.insert_text(ask(text="Yes"))
    keys.press("Enter")
    reader.sees("Yes")
    reader.is_at_rest()
    more = reader.items.first.get_by_role("button")
    walk(reader, more, "Shift+Tab")
    keys.press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    keys.press("Escape")
    expect(more).to_be_focused()
    keys.press("Enter")
    keys.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    focused(reader)
    keys.press("Enter")
    expect(page.get_by_label("Name of the chat")).to_be_focused()
    keys.press("Control+a")
    keys.insert_text("Renamed")
    keys.press("Enter")
    expect(reader.items.first.get_by_role("link")).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_have_text("Renamed")
    walk(reader, more)
    keys.press("Enter")
    keys.press("ArrowUp")
    keys.press("Enter")
    expect(reader.items).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text("New chat")
    expect(reader.composer).to_be_focused()
    walk(reader, page.get_by_role("button", name="Undo"), "Shift+Tab")
    keys.press("Enter")
    expect(reader.items).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_text("Renamed")
    keys.press("Control+k")
    expect(page.get_by_label("Search chats")).to_be_focused()
    focused(reader)
    keys.press("Escape")
    options = page.get_by_role("button", name="Options of this chat")
    walk(reader, options)
    keys.press("Enter")
    walk(reader, page.get_by_role("button", name="Instructions"))
    keys.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("textbox")).to_be_focused()
    keys.press("Escape")
    expect(options).to_be_focused()


# ------------------------------------------------------------------------------------------------------- screen readers

LISTEN = """() => {
  window.heard = [];
  const hear = (changes) => changes.forEach(({ addedNodes }) => addedNodes.forEach((node) => heard.push(node.data)));
  new MutationObserver(hear).observe(announcer, { childList: true });
}"""


def heard(reader: Reader) -> list[str]:
    said: list[str] = reader.page.evaluate("heard")
    return said


def test_an_answer_is_announced_when_it_begins_and_when_it_ends_and_never_between(site: Site, reader: Reader) -> None:
    reader.page.evaluate(LISTEN)
    log = reader.page.get_by_role("log", name="Messages")
    reader.say(ask(chunks=60, seed="announced", gate="half", after=30))
    expect(reader.answer).to_contain_text("29:")
    expect(log).to_have_attribute("aria-busy", "true")
    assert heard(reader) == ["The answer begins"]
    site.model.open_gate("half")
    reader.is_at_rest()
    expect(log).to_have_attribute("aria-busy", "false")
    assert heard(reader) == ["The answer begins", "The answer is complete"]
    for node in reader.page.locator('[aria-live="polite"], [aria-live="assertive"], [role="status"]').all():
        assert node.evaluate("node => !node.contains(document.querySelector('.message .text'))")


def test_a_failed_answer_is_announced_with_its_reason(site: Site, reader: Reader) -> None:
    reader.page.evaluate(LISTEN)
    reader.say(ask(text="No", gate="refusal", error={"message": "no"}, after=1))
    wait_for(lambda: heard(reader) == ["The answer begins"], "the beginning to be announced")
    site.model.open_gate("refusal")
    wait_for(lambda: len(heard(reader)) == 2, "the end to be announced")
    assert heard(reader)[1].startswith("The answer failed: ")


@pytest.mark.parametrize("place", ["in a new chat", "after an answer"])
def test_an_answer_that_had_failed_before_it_was_seen_to_begin_is_announced_too(
    site: Site, reader: Reader, place: str
) -> None:
    if place == "after an answer":
        reader.say(ask(text="Before"))
        reader.is_at_rest()
    reader.page.evaluate(LISTEN)
    site.line.swallow(True, answers=True)
    reader.say(ask(text="No", status=403))
    wait_for(lambda: site.runs(reader.thread)[-1:] == ["failed"], "it to fail")
    site.line.swallow(False)
    words = "The answer failed: The model's server refused the request."
    wait_for(lambda: words in heard(reader), "the end to be announced")
    assert "The answer begins" not in heard(reader)


def test_a_message_taken_back_from_the_queue_is_not_announced_as_an_answer(site: Site, reader: Reader) -> None:
    reader.say(ask(text="One", gate="one", after=1))
    expect(reader.answer).to_contain_text("On")
    reader.say("Two")
    expect(reader.queued.locator(".note")).to_have_text("Queued: next")
    reader.page.evaluate(LISTEN)
    reader.queued.get_by_role("button", name="Take back").click()
    expect(reader.queued).to_have_count(0)
    site.model.open_gate("one")
    reader.is_at_rest()
    assert heard(reader) == ["The answer is complete"]


def test_a_lost_connection_is_announced_once_however_often_it_is_tried(site: Site, patient: Reader) -> None:
    patient.page.evaluate(LISTEN)
    with site.line.away():
        expect(patient.connection).to_have_text(re.compile(r"Reconnecting in [4-9] s"))
    expect(patient.connection).to_have_text("Live")
    wait_for(lambda: len(heard(patient)) == 2, "the connection to be announced")
    assert heard(patient) == ["Connection lost", "Connected again"]


def test_right_to_left_words_stand_as_they_are_read(site: Site, reader: Reader) -> None:
    text = "مرحبا `a.b()` بالعالم\n\n1. واحد\n2. שתיים\n\n```\nfor x in ים:\n```\n"
    reader.say("שלום, " + ask(text=text))
    reader.is_at_rest()
    direction = "node => getComputedStyle(node).direction"
    assert reader.messages.first.locator(".text > *, .text").last.evaluate(direction) == "rtl"
    assert reader.answer.locator("p").evaluate(direction) == "rtl"
    assert reader.answer.locator("ol").evaluate(direction) == "rtl"
    assert reader.answer.locator("p code").evaluate(direction) == "ltr"
    assert reader.answer.locator("pre").evaluate(direction) == "ltr"
    title = reader.items.first.locator(".title")
    assert title.evaluate(direction) == "rtl"
    expect(reader.messages.first.get_by_role("button", name="Edit")).to_be_attached()


# ------------------------------------------------------------------------------------------ colours that one has chosen


def test_where_the_system_gives_the_colours_what_is_only_a_shape_is_seen_too(
    site: Site, new_reader: Callable[..., Reader]
) -> None:
    reader = new_reader(forced_colors="active").open()
    reader.say(ask(text="One word", gate="next", after=1))
    expect(reader.answer).to_contain_text("One")
    for shape, part in (("#connection", "::before"), ("[data-growing]", "::after"), (".item .mark", None)):
        seen = reader.page.locator(shape).first.evaluate(
            """(node, part) => {
              const { backgroundColor, borderTopColor } = getComputedStyle(node, part);
              const ground = getComputedStyle(document.body).backgroundColor;
              return [backgroundColor, borderTopColor].some((it) => it !== ground && it !== "rgba(0, 0, 0, 0)");
            }""",
            part,
        )
        assert seen, shape
    site.model.open_gate("next")
    reader.is_at_rest()


# ------------------------------------------------------------------------------------------------------- reduced motion

WATCH = """(node) => {
  window.steps = [];
  new MutationObserver(() => steps.push(node.textContent.length)).observe(node, {
    childList: true, characterData: true, subtree: true });
}"""


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_who_wants_no_motion_gets_text_at_once_and_nothing_that_moves(
    site: Site, new_reader: Callable[..., Reader], motion: str
) -> None:
    reader = new_reader(reduced_motion=motion).open()
    reader.say(ask(text="word " * 300, size=500, gate="third", after=1, pause=1.5))
    expect(reader.answer).to_contain_text("word")
    wait_for(lambda: len(texts(reader.answers)[-1]) >= 499, "the first third")
    for_ever = "() => document.getAnimations().filter((each) => each.effect.getTiming().iterations > 1).length"
    assert (reader.page.evaluate(for_ever) == 0) == (motion == "reduce")
    reader.answer.evaluate(WATCH)
    site.model.open_gate("third")
    wait_for(lambda: len(texts(reader.answers)[-1]) >= 999, "the second third")
    steps = [step for step in reader.page.evaluate("steps") if 500 < step < 990]
    assert (steps == []) == (motion == "reduce")
