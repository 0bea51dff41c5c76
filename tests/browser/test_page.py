"""The page around the answers: connection, queue, drafts, the list of chats, scrolling."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing

import pytest
from playwright.sync_api import Browser, expect

from chat.protocol import clean
from tests.browser.conftest import Reader, texts
from tests.browser.site import Site, ask, first_visit
from tests.markdown.reading import shown
from tests.servers.script import Script, full_text

pytestmark = pytest.mark.processes


def said(**script: object) -> str:
    return clean(full_text(Script(**script)))  # type: ignore[arg-type]


def test_a_cut_connection_is_told_in_words_and_nothing_is_lost(site: Site, reader: Reader) -> None:
    reader.say(ask(chunks=200, seed="cut", pause=0.01))
    expect(reader.answer).to_contain_text("10:")
    with site.line.away():
        expect(reader.connection).to_contain_text("Reconnecting in")
        reader.say(ask(text="Sent once"))
        expect(reader.queued.locator(".note")).to_have_text("Will be sent when the connection is back")
    expect(reader.connection).to_have_text("Live")
    reader.sees("Sent once")
    reader.is_at_rest()
    assert texts(reader.answers) == [shown(said(chunks=200, seed="cut")), shown("Sent once")]
    assert len(site.model.requests()) == 2
    assert [row["status"] for row in site.messages(reader.thread)] == ["complete"] * 4


def test_a_message_that_waits_for_the_connection_survives_leaving_the_page(site: Site, reader: Reader) -> None:
    reader.say(ask(text="First"))
    reader.sees("First")
    reader.is_at_rest()
    address = reader.page.url
    with site.line.away():
        expect(reader.connection).to_contain_text("Reconnecting in")
        reader.say(ask(text="Second"))
        expect(reader.life).to_have_text("Will be sent when the connection is back")
        reader.page.goto("about:blank")
    reader.page.goto(address)
    reader.sees("Second")
    reader.is_at_rest()
    assert [row["text"] for row in site.messages(reader.thread) if row["role"] == "assistant"] == ["First", "Second"]


def test_a_server_that_restarts_needs_no_reload(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Before"))
    reader.sees("Before")
    site.server.terminate()
    site.server.wait()
    site.server.start()
    expect(reader.connection).to_have_text("Live")
    reader.say(ask(text="After"))
    reader.sees("After")


def test_who_was_signed_out_elsewhere_is_told(site: Site, reader: Reader) -> None:
    reader.page.context.clear_cookies()
    site.line.reset()
    expect(reader.page.get_by_role("alert")).to_contain_text("You are signed out.")
    expect(reader.connection).to_have_text("Signed out")


def test_a_second_message_waits_for_its_turn_and_can_be_taken_back(site: Site, reader: Reader) -> None:
    reader.say(ask(text="The first answer", gate="first", after=1))
    expect(reader.answer).to_have_text("The ")
    reader.say(ask(text="The second answer"))
    reader.say("Never mind")
    expect(reader.queued).to_have_count(2)
    expect(reader.queued.first.locator(".note")).to_have_text("Queued: next")
    expect(reader.queued.last.locator(".note")).to_have_text("Queued, place 2")
    reader.queued.last.get_by_role("button", name="Take back").click()
    expect(reader.queued).to_have_count(1)
    expect(reader.composer).to_have_value("Never mind")
    site.model.open_gate("first")
    reader.sees("The second answer")
    assert texts(reader.answers) == [shown("The first answer"), shown("The second answer")]
    prompt = site.model.requests()[1]["messages"]
    assert prompt[1]["content"] == "The first answer", "what is queued sees what came before it"


def test_before_the_first_token_the_page_says_what_it_waits_for(site: Site, reader: Reader) -> None:
    reader.say(ask(text="At last", gate="start", after=0))
    expect(reader.life).to_contain_text("Waiting for the model for")
    site.model.open_gate("start")
    reader.sees("At last")
    expect(reader.life).to_be_hidden()


def test_drafts_belong_to_their_chats_and_survive_a_reload(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Answered"))
    reader.sees("Answered")
    reader.composer.fill("half a thought")
    reader.page.get_by_role("link", name="New chat").first.click()
    expect(reader.composer).to_have_value("")
    reader.composer.fill("another")
    reader.items.first.click()
    expect(reader.composer).to_have_value("half a thought")
    reader.page.reload()
    expect(reader.composer).to_have_value("half a thought")
    reader.composer.fill("")
    reader.page.goto("/")
    expect(reader.composer).to_have_value("another")


def test_a_new_chat_that_waits_for_the_connection_survives_leaving_the_page(site: Site, reader: Reader) -> None:
    with site.line.away():
        expect(reader.connection).to_contain_text("Reconnecting in")
        reader.say(ask(text="From nowhere"))
        address = reader.page.url
        reader.page.goto("about:blank")
    site.line.upgrades("swallow")
    reader.page.goto(address)
    expect(reader.messages).to_have_text([re.compile("From nowhere")])
    expect(reader.page.get_by_role("heading", name="This chat is not here")).to_be_hidden()
    site.line.upgrades("pass")
    reader.sees("From nowhere")


def test_a_chat_that_is_not_there_is_not_looked_for_first(site: Site, reader: Reader) -> None:
    site.line.upgrades("swallow")
    reader.page.goto("/c/018f0000-0000-7000-8000-000000000000/")
    expect(reader.connection).to_have_text("Connecting…")
    expect(reader.page.get_by_role("heading", name="This chat is not here")).to_be_visible()
    expect(reader.life).to_be_hidden()
    site.line.upgrades("pass")
    reader.say(ask(text="Then another"))
    reader.sees("Then another")


def test_where_the_browser_stores_nothing_drafts_live_as_long_as_the_page(
    site: Site, new_reader: Callable[..., Reader]
) -> None:
    reader = new_reader()
    reader.page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full'); };")
    reader.open()
    reader.say(ask(text="First", gate="never", after=1))
    expect(reader.answer).to_have_text("Firs")
    reader.say("waits")
    reader.composer.fill("half a thought")
    reader.page.get_by_role("link", name="New chat").first.click()
    expect(reader.composer).to_have_value("")
    reader.items.first.click()
    expect(reader.composer).to_have_value("half a thought")
    reader.queued.get_by_role("button", name="Take back").click()
    expect(reader.composer).to_have_value("waits\nhalf a thought")


def test_enter_ends_a_word_that_is_being_composed_and_sends_nothing(reader: Reader) -> None:
    reader.composer.focus()
    session = reader.page.context.new_cdp_session(reader.page)
    session.send("Input.imeSetComposition", {"text": "にほ", "selectionStart": 2, "selectionEnd": 2})
    ends = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}  # as Safari says it, after the composition
    session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **ends})
    session.send("Input.insertText", {"text": "日本"})
    session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **ends})
    expect(reader.composer).to_have_value("日本")
    expect(reader.messages).to_have_count(0)
    reader.composer.press("Enter")
    expect(reader.messages.first.locator(".text")).to_have_text("日本")


def test_shift_enter_makes_a_new_line_and_enter_sends(reader: Reader) -> None:
    reader.composer.press_sequentially("one")
    reader.composer.press("Shift+Enter")
    reader.composer.press_sequentially("two")
    height = reader.composer.bounding_box()
    reader.composer.press("Enter")
    assert reader.messages.first.locator(".text").text_content() == "one\ntwo"
    expect(reader.composer).to_have_value("")
    smaller = reader.composer.bounding_box()
    assert height and smaller and smaller["height"] < height["height"], "the box grows with what is written"


def test_a_message_that_is_too_long_is_not_sent(reader: Reader) -> None:
    reader.composer.fill("€" * 12_000)
    expect(reader.page.locator("#hint")).to_have_text("Too long: 35 KB of 32 KB")
    expect(reader.page.get_by_role("button", name="Send")).to_be_disabled()
    reader.composer.press("Enter")
    expect(reader.messages).to_have_count(0)


def test_who_does_not_know_what_to_ask_takes_an_example(site: Site, reader: Reader) -> None:
    example = reader.page.locator("#prompts button").filter(has_text="What exactly does Stop do?")
    example.dblclick()
    expect(reader.messages.first.locator(".text")).to_have_text("What exactly does Stop do?")
    reader.is_at_rest()
    expect(example).to_be_hidden()
    assert [row["role"] for row in site.messages(reader.thread)] == ["user", "assistant"]


def test_keys_do_where_somebody_writes_what_they_do_there(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Not to be stopped", gate="keys", after=1))
    expect(reader.answer).to_have_text("Not ")
    page = reader.page
    for name, opens in (
        ("Search chats", lambda: page.keyboard.press("Control+k")),
        ("Edit your message", lambda: reader.does("Edit")),
        ("Name of the chat", lambda: rename(reader)),
        ("Instructions for this chat", lambda: instruct(reader)),
    ):
        opens()
        box = page.locator("input, textarea").and_(page.get_by_label(name, exact=True))
        box.fill("why")
        box.press("?")
        expect(box).to_have_value("why?")
        box.press("Escape")
        expect(box.filter(visible=True)).to_have_count(int(name == "Search chats"))
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_label("Search chats")).to_have_value("")
    site.model.open_gate("keys")
    reader.sees("Not to be stopped")


def rename(reader: Reader) -> None:
    reader.items.first.hover()
    reader.items.first.get_by_role("button").click()
    reader.page.get_by_role("menuitem", name="Rename").click()


def instruct(reader: Reader) -> None:
    reader.page.get_by_role("button", name="Options of this chat").click()
    reader.page.get_by_role("button", name="Instructions…").click()


def test_on_a_phone_the_list_of_chats_lies_over_the_chat(site: Site, new_reader: Callable[..., Reader]) -> None:
    size = {"width": 390, "height": 780}
    phone = new_reader(viewport=size, is_mobile=True, has_touch=True).open()
    phone.composer.fill(ask(text="On a phone"))
    phone.page.get_by_role("button", name="Send").tap()
    phone.sees("On a phone")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(phone.items.first).to_be_hidden()
    phone.page.get_by_role("link", name="Open the list").tap()
    expect(phone.items.first).to_be_visible()
    phone.page.get_by_role("link", name="New chat").tap()
    expect(phone.items.first).to_be_hidden()
    expect(phone.messages).to_have_count(0)


@pytest.mark.parametrize("width", [390, 800, 1024, 1280])
def test_where_scrollbars_take_room_the_box_to_write_in_stands_in_line_with_the_chat(
    site: Site, browser: Browser, chromium: str, width: int
) -> None:
    arguments = {"args": ["--no-sandbox"], "ignore_default_args": ["--hide-scrollbars"]}
    with closing(browser.browser_type.launch(executable_path=chromium, **arguments)) as showing:
        page = showing.new_page(base_url=site.url, viewport={"width": width, "height": 600})
        reader = Reader(page).open()
        reader.say(ask(text="".join(f"line {number}\n\n" for number in range(40))))
        reader.is_at_rest()
        assert page.evaluate("scroller.offsetWidth - scroller.clientWidth") > 0, "without them this shows nothing"
        message, box = reader.messages.last.bounding_box(), page.locator("#composer").bounding_box()
        assert message and box and (message["x"], message["width"]) == (box["x"], box["width"])


def test_a_first_visit_fetches_less_than_150_kb(site: Site, browser: Browser) -> None:
    visit = first_visit(site, browser)
    assert visit.files > 50
    assert 100_000 < visit.contents < 150_000


def test_on_paper_there_is_the_whole_chat_and_nothing_else(site: Site, reader: Reader) -> None:
    reader.say(ask(text="# Head\n\n" + "\n\n".join(f"Paragraph {number}" for number in range(200))))
    reader.is_at_rest()
    reader.page.emulate_media(media="print")
    for there in ("Chats and account", "The chat", "Message"):
        expect(reader.page.get_by_label(there, exact=True)).to_be_visible(visible=there == "The chat")
    expect(reader.page.locator("#title")).to_be_visible()
    expect(reader.page.locator("#log button").filter(visible=True)).to_have_count(0)
    assert reader.page.pdf().count(b"/Type /Page\n") > 3
