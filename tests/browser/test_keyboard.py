"""Where the keyboard is when what had it is gone, and what its keys do there."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Reader
from tests.browser.site import Site, ask
from tests.browser.test_refusals import refused_for_now
from tests.browser.test_sidebar import choose, shows

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {"REJOIN_MAX_QUEUED": "1"}


def press(button: Locator, way: str) -> None:
    if way == "by key":
        button.press("Enter")
    else:
        button.click()


BOTH_WAYS = pytest.mark.parametrize("way", ["by key", "by mouse"])


@BOTH_WAYS
def test_who_jumps_to_the_latest_message_goes_on_in_the_box_to_write_in(site: Site, reader: Reader, way: str) -> None:
    reader.say(ask(text="".join(f"line {number}\n\n" for number in range(200))))
    reader.is_at_rest()
    reader.answer.hover()
    reader.page.evaluate("addEventListener('scrollend', () => { window.rests = true; }, { capture: true, once: true })")
    reader.page.mouse.wheel(0, -900)
    reader.page.wait_for_function("window.rests")  # a wheel's scrolling glides on for a while
    jump = reader.page.get_by_role("button", name="Jump to the latest")
    press(jump, way)
    expect(jump).to_be_hidden()
    expect(reader.composer).to_be_focused()


@BOTH_WAYS
def test_who_hurries_the_connection_goes_on_in_the_box_to_write_in(site: Site, patient: Reader, way: str) -> None:
    now = patient.page.get_by_role("button", name="Now")
    with site.line.away():
        press(now, way)
    expect(now).to_be_hidden()
    expect(patient.composer).to_be_focused()


@BOTH_WAYS
def test_who_tries_again_goes_on_in_the_box_to_write_in(site: Site, reader: Reader, way: str) -> None:
    banner = refused_for_now(site, reader)
    site.model.open_gate("go")
    expect(reader.page.locator("#items [data-status]")).to_have_count(0)
    press(banner.get_by_role("button", name="Try again"), way)
    expect(banner).to_be_hidden()
    expect(reader.composer).to_be_focused()


def test_what_did_not_work_in_one_chat_is_not_complained_of_in_another(site: Site, reader: Reader) -> None:
    banner = refused_for_now(site, reader)
    reader.page.get_by_role("link", name="New chat").first.click()
    expect(banner).to_be_hidden()
    site.model.open_gate("go")


@BOTH_WAYS
def test_who_takes_something_back_goes_on_in_the_box_to_write_in(site: Site, reader: Reader, way: str) -> None:
    reader.may_undo_for_long().open()
    reader.say(ask(text="Yes"))
    reader.is_at_rest()
    choose(reader, "Please", "Archive")
    shows(reader)
    undo = reader.page.get_by_role("button", name="Undo")
    press(undo, way)
    expect(undo).to_be_hidden()
    expect(reader.composer).to_be_focused()


@pytest.mark.parametrize("place", ["in the field", "in what was found"])
def test_who_leaves_a_search_is_where_they_came_from(site: Site, reader: Reader, place: str) -> None:
    reader.say(ask(text="A needle"))
    reader.is_at_rest()
    keys = reader.page.keyboard
    for before in (reader.items.first.get_by_role("link"), reader.composer):
        before.focus()
        keys.press("Control+k")
        keys.type("needle")
        found = reader.page.locator("#found a")
        expect(found).to_be_visible()
        if place == "in what was found":
            keys.press("ArrowDown")
            expect(found).to_be_focused()
        keys.press("Escape")
        expect(found).to_have_count(0)
        expect(before).to_be_focused()


def test_who_reads_what_was_found_and_came_from_nowhere_goes_on_in_the_box_to_write_in(
    site: Site, reader: Reader
) -> None:
    reader.say(ask(text="A needle"))
    reader.is_at_rest()
    reader.composer.blur()
    reader.page.keyboard.press("Control+k")
    reader.page.keyboard.type("needle")
    expect(reader.page.locator("#found a")).to_be_visible()
    reader.page.keyboard.press("ArrowDown")
    reader.page.keyboard.press("Escape")
    expect(reader.page.locator("#found a")).to_have_count(0)
    expect(reader.composer).to_be_focused()


def test_escape_in_the_box_to_write_in_stops_the_answer_though_a_search_is_open(site: Site, reader: Reader) -> None:
    reader.say("Needle, " + ask(text="Never to its end", gate="never", after=1))
    expect(reader.answer).to_have_text("Neve")
    field, found = reader.page.get_by_label("Search chats"), reader.page.locator("#found a")
    field.fill("needle")
    expect(found).to_be_visible()
    field.press("Escape")
    expect(found).to_have_count(0)
    expect(reader.messages.last).to_have_attribute("data-status", "streaming")
    field.fill("needle")
    expect(found).to_be_visible()
    reader.composer.press("Escape")
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    expect(found).to_be_visible()
    reader.is_at_rest()
    reader.composer.press("Escape")
    expect(found).to_have_count(0)


def test_what_was_done_is_undone_by_a_key_wherever_nothing_is_written(site: Site, reader: Reader) -> None:
    reader.may_undo_for_long().open()
    reader.say(ask(text="Yes"))
    reader.is_at_rest()
    item = reader.items.get_by_role("link")
    for place in (item, reader.composer):
        item.focus()
        choose(reader, "Please", "Archive")
        shows(reader)
        if place is reader.composer:
            reader.composer.fill("half a")
            reader.composer.press_sequentially(" thought")
            reader.composer.press("Control+z")
            expect(reader.composer).not_to_have_value("half a thought")
            shows(reader)
            reader.composer.fill("")
            reader.composer.press("Control+z")
        else:
            reader.page.keyboard.press("Control+z")
        expect(item).to_have_count(1)
        expect(reader.page.get_by_role("button", name="Undo")).to_be_hidden()


def test_on_a_phone_the_keyboard_stays_in_the_list_of_chats_while_that_lies_over_the_page(reader: Reader) -> None:
    page = reader.page
    page.set_viewport_size({"width": 390, "height": 780})
    opener = page.get_by_role("link", name="Open the list of chats")
    opener.press("Enter")
    expect(page.get_by_role("link", name="Close the list of chats")).to_be_focused()
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.closest('main, .skip') !== null"))
    assert seen == {False}
    page.get_by_role("link", name="Close the list of chats").press("Enter")
    expect(opener).to_be_focused()
    opener.press("Enter")
    page.set_viewport_size({"width": 1280, "height": 780})
    reader.composer.fill("It is wide now")
    page.set_viewport_size({"width": 390, "height": 780})
    expect(opener).to_be_visible()
    expect(page.get_by_label("Search chats")).to_be_hidden()


PLACES = """message => [...message.querySelectorAll("button")].filter((button) => button.checkVisibility())
  .map((button) => Math.round(button.getBoundingClientRect().x))"""


def test_the_keyboard_goes_through_what_can_be_done_with_a_message_as_the_eye_does(site: Site, reader: Reader) -> None:
    reader.say(ask(text="One"))
    reader.is_at_rest()
    reader.does("Edit")
    reader.page.get_by_label("Edit your message").fill(ask(text="Two", gate="never", after=1))
    reader.page.keyboard.press("Enter")
    expect(reader.messages.first.locator(".count")).to_have_text("2/2")
    expect(reader.answer).to_have_text("Two")
    reader.say("I wait")
    expect(reader.queued.get_by_role("button", name="Take back")).to_be_visible()
    for _ in range(2):
        for message in (reader.messages.first, reader.messages.last, reader.queued):
            places = message.evaluate(PLACES)
            assert len(places) >= 1 and places == sorted(places)
        reader.page.reload()
        expect(reader.connection).to_have_text("Live")
