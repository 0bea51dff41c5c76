"""A person whose network does what networks do: it refuses, swallows, keeps back, goes away and comes back."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, WebSocket, expect

from chat.protocol import clean
from tests.browser.conftest import PATIENCE, Reader, shown, texts, wait_for
from tests.browser.site import Site, ask
from tests.servers.script import Script, full_text

pytestmark = pytest.mark.processes

STREAMS = "By event streams: this network lets no websocket through"
POLLS = "By asking again and again: this network lets neither websockets nor event streams through"
SLOW_HANDSHAKE = 6_500
SILENT = 26_000
"""Milliseconds after which the page counts a handshake as failed, and a connection as dead."""


def said(**script: object) -> str:
    return clean(full_text(Script(**script)))  # type: ignore[arg-type]


without_websockets = pytest.mark.parametrize(
    ("keeps_streams", "way"), [(False, STREAMS), (True, POLLS)], ids=["streams", "polls"]
)
"""On a network that keeps event streams back, too, or not; and how the page says what it goes by then."""


@without_websockets
def test_where_no_websocket_gets_through_the_chat_works_all_the_same(
    site: Site, new_reader: Callable[..., Reader], keeps_streams: bool, way: str
) -> None:
    site.line.upgrades("refuse")
    site.line.hold_streams(keeps_streams)
    reader = new_reader().open()
    expect(reader.connection).to_have_attribute("title", way)
    reader.say(ask(chunks=400, seed="way", gate="half", after=200))
    expect(reader.answer).to_contain_text("199:")
    reader.say(ask(text="Sent once"))
    expect(reader.queued).to_have_count(1)
    reader.page.get_by_role("button", name="Stop the answer").click()
    expect(reader.messages.nth(1)).to_have_attribute("data-status", "cut")
    reader.sees("Sent once")
    reader.is_at_rest()
    rows = site.messages(reader.thread)
    assert [row["status"] for row in rows] == ["complete", "cut", "complete", "complete"]
    assert rows[1]["text"] and said(chunks=400, seed="way").startswith(rows[1]["text"])
    assert texts(reader.answers) == [shown(rows[1]["text"]), shown("Sent once")]
    assert len(site.model.requests()) == 2
    expect(reader.items).to_have_count(1)


def test_when_websockets_get_through_again_the_page_takes_one_in_mid_answer(
    site: Site, new_reader: Callable[..., Reader]
) -> None:
    site.line.upgrades("refuse")
    reader = new_reader().open()
    expect(reader.connection).to_have_attribute("title", STREAMS)
    reader.say(ask(chunks=100, seed="back", gate="half", after=50))
    expect(reader.answer).to_contain_text("49:")
    site.line.upgrades("pass")
    reader.page.context.set_offline(True)
    reader.page.context.set_offline(False)
    expect(reader.connection).to_have_attribute("title", "")
    expect(reader.connection).to_have_text("Live")
    site.model.open_gate("half")
    reader.sees(said(chunks=100, seed="back"))


def test_where_handshakes_disappear_the_page_does_not_wait_for_ever(
    site: Site, new_reader: Callable[..., Reader]
) -> None:
    site.line.upgrades("swallow")
    reader = new_reader()
    reader.page.clock.install()
    with reader.page.expect_websocket():
        reader.page.goto("/")
    expect(reader.connection).to_have_text("Connecting…")
    with reader.page.expect_websocket():
        reader.page.clock.fast_forward(SLOW_HANDSHAKE)
    reader.page.clock.fast_forward(SLOW_HANDSHAKE)
    expect(reader.connection).to_have_text("Live")
    expect(reader.connection).to_have_attribute("title", STREAMS)


@without_websockets
def test_a_tab_begins_with_what_got_through_before_its_reload(
    site: Site, new_reader: Callable[..., Reader], keeps_streams: bool, way: str
) -> None:
    """Its clock stands still: it can't wait for a handshake that disappears."""
    site.line.upgrades("refuse")
    site.line.hold_streams(keeps_streams)
    reader = new_reader().open()
    expect(reader.connection).to_have_attribute("title", way)
    site.line.upgrades("swallow")
    reader.page.clock.install()
    reader.page.clock.pause_at(reader.page.evaluate("Date.now()") + 1_000)
    sockets: list[WebSocket] = []
    reader.page.on("websocket", lambda socket: sockets.append(socket))
    reader.page.reload()
    expect(reader.page.locator("body")).to_have_attribute("data-connection", "live")
    expect(reader.connection).to_have_attribute("title", way)
    assert sockets == []


def test_fifty_refreshes_at_random_moments_lose_nothing(site: Site, reader: Reader) -> None:
    chance = random.Random("refresh")
    reader.say(ask(chunks=600, seed="refresh", pause=0.02))
    expect(reader.answer).to_contain_text("2:")
    for _ in range(50):
        reader.page.goto(reader.page.url, wait_until="commit")
        reader.page.wait_for_timeout(chance.uniform(0, 250))
    reader.sees(said(chunks=600, seed="refresh"))
    reader.is_at_rest()
    assert len(site.model.requests()) == 1
    assert [row["status"] for row in site.messages(reader.thread)] == ["complete"] * 2


def test_a_connection_that_has_died_in_silence_is_noticed_and_replaced(site: Site, reader: Reader) -> None:
    reader.page.clock.install()
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    reader.say(ask(chunks=100, seed="tunnel", gate="half", after=50))
    expect(reader.answer).to_contain_text("49:")
    site.line.swallow(True)
    site.model.open_gate("half")
    reader.page.clock.fast_forward(SILENT)
    expect(reader.connection).to_contain_text("Reconnecting")
    site.line.swallow(False)
    reader.page.clock.fast_forward(SILENT)
    expect(reader.connection).to_have_text("Live")
    reader.sees(said(chunks=100, seed="tunnel"))


def test_who_does_not_want_to_wait_presses_now(site: Site, patient: Reader) -> None:
    hurry = patient.page.get_by_role("button", name="Now")
    patient.page.clock.install()
    patient.page.reload()
    expect(patient.connection).to_have_text("Live")
    with site.line.away():
        expect(patient.connection).to_have_text(re.compile(r"Reconnecting in 1\d s"))
        patient.page.clock.pause_at(patient.page.evaluate("Date.now()") + 1_000)
    with patient.page.expect_websocket():
        hurry.click()
    patient.page.clock.resume()
    expect(hurry).to_be_hidden()
    expect(patient.connection).to_have_text("Live")


# ------------------------------------------------------------------------------------------------------ coming back


@pytest.fixture
def stopped(site: Site, reader: Reader) -> Iterator[Reader]:
    """Somebody in mid-answer whose page has just lost its connection, and whose clock stands still: no timer of the
    page will bring it back."""
    page = reader.page
    page.clock.install()
    with page.expect_websocket() as opened:
        page.reload()
    expect(reader.connection).to_have_text("Live")
    reader.say(ask(chunks=100, seed="stopped", gate="half", after=50))
    expect(reader.answer).to_contain_text("49:")
    cut(site, page, opened.value)
    yield reader
    page.clock.resume()
    site.model.open_gate("half")
    reader.sees(said(chunks=100, seed="stopped"))
    expect(reader.connection).to_have_text("Live")


def cut(site: Site, page: Page, socket: WebSocket) -> None:
    page.clock.pause_at(page.evaluate("Date.now()") + 1_000)
    site.line.reset()
    # Asked again and again: it may have closed before anybody waited for it to.
    for _ in range(PATIENCE // 20):
        if socket.is_closed():
            return
        page.wait_for_timeout(20)
    raise AssertionError("the page did not notice that its connection was cut")


def test_a_blip_is_not_worth_a_word(site: Site, reader: Reader) -> None:
    """One of less than a second, by the page's clock."""
    page = reader.page
    page.clock.install()
    with page.expect_websocket() as opened:
        page.reload()
    expect(reader.connection).to_have_text("Live")
    page.evaluate(WATCH)
    frames: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
    cut(site, page, opened.value)
    page.clock.run_for(300)
    wait_for(lambda: page.evaluate("words") == [] and len(frames) > 0, "the server's welcome, and no word of it")
    page.clock.resume()
    reader.say(ask(text="After the blip"))
    reader.sees("After the blip")
    assert page.evaluate("words") == []


WATCH = """
words = [];
new MutationObserver(() => words.push(connection.textContent)).observe(connection, {childList: true});
"""


def test_back_at_once_when_the_network_is(stopped: Reader) -> None:
    with stopped.page.expect_websocket():
        stopped.page.context.set_offline(True)
        stopped.page.context.set_offline(False)


def test_a_copy_of_the_tab_with_an_unsent_message_sends_it_no_second_time(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Before"))
    reader.sees("Before")
    reader.is_at_rest()  # or what is sent next stands in the queue
    site.line.upgrades("swallow")
    site.line.reset()
    reader.say(ask(text="Sent once"))
    expect(reader.messages).to_have_count(3)
    with reader.page.expect_popup() as opened:
        reader.page.evaluate("void window.open(location.href)")
    copy = Reader(opened.value)
    expect(copy.messages).to_have_count(3)
    site.line.upgrades("pass")
    for tab in (reader, copy):
        tab.sees("Sent once")
        tab.is_at_rest()
    assert len(site.model.requests()) == 2
    assert [row["role"] for row in site.messages(reader.thread)] == ["user", "assistant"] * 2
