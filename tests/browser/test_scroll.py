"""Where the page stands: at the end as long as the reader is there, and otherwise where the reader is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import FloatRect, Locator, expect

from tests.browser.conftest import Reader, texts, wait_for
from tests.browser.site import Site, ask

pytestmark = pytest.mark.processes

LINES = "".join(f"line {number}\n\n" for number in range(400))


def below(reader: Reader) -> float:
    """Pixels of the chat below what is seen."""
    return float(reader.page.evaluate("scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight"))


def top(node: Locator) -> float:
    """Pixels from the chat's upper edge to where this begins."""
    return float(node.evaluate("node => node.getBoundingClientRect().top - scroller.getBoundingClientRect().top"))


def is_at_the_end(reader: Reader) -> None:
    wait_for(lambda: below(reader) < 2, "the end to be in sight")


def latest(reader: Reader) -> Locator:
    return reader.page.get_by_role("button", name="Jump to the latest")


@pytest.fixture
def reading(site: Site, reader: Reader) -> Reader:
    """Somebody at the end of 200 lines, of 400 that are being written."""
    reader.say(ask(text=LINES, gate="half", after=len(LINES) // 8))
    expect(reader.answer).to_contain_text("line 198")
    is_at_the_end(reader)
    return reader


def the_rest_comes(site: Site, reader: Reader) -> None:
    site.model.open_gate("half")
    reader.is_at_rest()
    expect(reader.answer).to_contain_text("line 399")


def test_the_end_stays_in_sight(site: Site, reading: Reader) -> None:
    expect(latest(reading)).to_be_hidden()
    the_rest_comes(site, reading)
    is_at_the_end(reading)


def test_who_goes_up_stays_there_and_may_jump_to_the_latest(site: Site, reading: Reader) -> None:
    reading.messages.last.hover()
    reading.page.mouse.wheel(0, -700)
    expect(latest(reading)).to_be_visible()
    wait_for(lambda: below(reading) >= 700, "the page to scroll")
    before = reading.page.evaluate("scroller.scrollTop")
    the_rest_comes(site, reading)
    assert reading.page.evaluate("scroller.scrollTop") == before, "an answer that ends moves nobody"
    latest(reading).click()
    is_at_the_end(reading)


@pytest.mark.parametrize("wheel", [{"deltaX": -60, "deltaY": -2}, {"deltaY": -90, "ctrlKey": True}])
def test_a_wheel_that_goes_sideways_or_enlarges_leaves_the_end_in_sight(
    site: Site, reading: Reader, wheel: dict[str, Any]
) -> None:
    reading.answer.evaluate(
        "(node, wheel) => node.dispatchEvent(new WheelEvent('wheel', wheel))", wheel | {"bubbles": True}
    )
    the_rest_comes(site, reading)
    is_at_the_end(reading)


@pytest.mark.parametrize(("across", "up"), [(-120, 0), (-120, 20), (0, 5)], ids=["across", "askew", "trembling"])
def test_a_finger_that_does_not_go_up_leaves_the_end_in_sight(
    site: Site, new_reader: Callable[..., Reader], across: int, up: int
) -> None:
    phone = new_reader(viewport={"width": 390, "height": 780}, is_mobile=True, has_touch=True).open()
    phone.composer.fill(ask(text=LINES, gate="half", after=len(LINES) // 8))
    phone.page.get_by_role("button", name="Send", exact=True).tap()
    expect(phone.answer).to_contain_text("line 198")
    session = phone.page.context.new_cdp_session(phone.page)

    def touch(kind: str, *points: tuple[int, int]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    touch("touchStart", (200, 300))
    for step in range(1, 11):
        touch("touchMove", (200 + across * step // 10, 300 + up * step // 10))
    touch("touchEnd")
    the_rest_comes(site, phone)
    is_at_the_end(phone)


def test_what_is_edited_is_in_sight_and_stays_there_while_an_answer_grows(site: Site, reading: Reader) -> None:
    reading.composer.press("ArrowUp")
    box = reading.page.get_by_label("Edit your message")
    expect(box).to_be_focused()
    expect(box).to_be_in_viewport()
    place = top(box)
    the_rest_comes(site, reading)
    assert top(box) == place
    box.press("Escape")
    expect(latest(reading)).to_be_visible()


def test_who_has_edited_sees_the_new_answer_grow(site: Site, reading: Reader) -> None:
    reading.composer.press("ArrowUp")
    box = reading.page.get_by_label("Edit your message")
    box.fill(ask(text=LINES))
    box.press("Enter")
    reading.is_at_rest()
    expect(reading.answer).to_contain_text("line 399")
    is_at_the_end(reading)


def test_opening_thoughts_moves_nothing_and_closing_them_neither(site: Site, reader: Reader) -> None:
    reader.say(ask(chunks=4, reasoning=400, seed="thoughts"))
    reader.is_at_rest()
    summary = reader.messages.last.locator("summary")
    place = top(summary)
    summary.click()
    expect(reader.messages.last.locator(".thoughts")).to_be_visible()
    expect(latest(reader)).to_be_visible()
    assert top(summary) == place
    summary.click()
    expect(latest(reader)).to_be_hidden()
    assert top(summary) == place


def test_where_the_keyboard_is_stays_in_sight(site: Site, reading: Reader) -> None:
    edit = reading.messages.first.get_by_role("button", name="Edit")
    reading.messages.last.get_by_role("button").first.focus()
    reading.page.keyboard.press("Shift+Tab")
    expect(edit).to_be_focused()
    expect(latest(reading)).to_be_visible()
    the_rest_comes(site, reading)
    expect(edit).to_be_in_viewport()


def test_what_is_selected_upwards_stays_in_sight(site: Site, reading: Reader) -> None:
    page = reading.page
    box = page.locator("#scroller").bounding_box()
    assert box
    page.mouse.move(box["x"] + 400, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] - 40, steps=5)
    wait_for(lambda: below(reading) > 200, "the selection to scroll")
    page.mouse.move(box["x"] + 400, box["y"] + 100)
    page.mouse.up()
    before = page.evaluate("scroller.scrollTop")
    the_rest_comes(site, reading)
    assert page.evaluate("scroller.scrollTop") == before
    assert page.evaluate("String(getSelection())")


def test_a_window_of_another_width_shows_the_reader_the_same_place(site: Site, reader: Reader) -> None:
    paragraphs = "\n\n".join(f"Paragraph {number}. " + "Some words of it. " * 25 for number in range(40))
    reader.say(ask(text=paragraphs))
    reader.is_at_rest()
    reader.messages.last.hover()
    reader.page.mouse.wheel(0, -4000)
    expect(latest(reader)).to_be_visible()
    at_top = "node => [...node.children].findIndex((one) => one.getBoundingClientRect().bottom > scroller.offsetTop)"
    wait_for(lambda: below(reader) >= 4000, "the page to scroll")
    first = reader.answer.evaluate(at_top)
    for width in (800, 1100, 390, 1280):
        reader.page.set_viewport_size({"width": width, "height": 720})
        wait_for(lambda: reader.answer.evaluate(at_top) == first, f"paragraph {first} to be the first in sight")


def moved(before: FloatRect | None, now: FloatRect | None) -> int:
    """Pixels down."""
    assert before and now
    return round(now["y"] - before["y"])


def test_earlier_messages_come_when_scrolling_up_and_the_place_is_kept(site: Site, reader: Reader) -> None:
    reader.say(ask(text="The seed"))
    reader.is_at_rest()
    site.manage("shell", "-v", "0", "-c", GROW.format(thread=reader.thread))
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    expect(reader.messages).to_have_count(50)
    is_at_the_end(reader)
    reader.messages.last.hover()
    reader.page.mouse.wheel(0, -100)
    reader.page.evaluate("scroller.scrollTop = 1000")
    mark = reader.page.locator(f'[data-id="{reader.messages.nth(15).get_attribute("data-id")}"]')
    place = mark.bounding_box()
    reader.page.mouse.wheel(0, -300)
    wait_for(lambda: reader.messages.count() > 50, "earlier messages")
    wait_for(lambda: moved(place, mark.bounding_box()) == 300, "the wheel's 300 pixels, and no other movement")
    while reader.page.locator("#earlier").is_visible():
        reader.page.mouse.wheel(0, -2500)
    expect(reader.messages).to_have_count(182)
    numbers = [text.split()[-1] for text in texts(reader.page.locator("#log .message .text"))]
    assert numbers[2:] == [str(number) for number in range(180)]


GROW = """
from chat.models import Message, Thread
thread = Thread.objects.get(pk="{thread}")
for number in range(180):
    role = "user" if number % 2 == 0 else "assistant"
    thread.version += 1
    thread.head = Message.objects.create(
        thread=thread, parent_id=thread.head_id, role=role, status="complete", text=f"message {{number}}",
        version=thread.version,
    )
thread.row_version = thread.version
thread.save()
"""
