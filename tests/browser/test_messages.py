"""What people do with messages: other versions, going on, the queue, a look behind the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from chat.protocol import clean
from tests.browser.conftest import Reader, texts, wait_for
from tests.browser.site import Site, ask
from tests.markdown.reading import shown
from tests.servers.script import Script, full_text

pytestmark = pytest.mark.processes


def count(message: Locator) -> Locator:
    """Which of its versions a message is."""
    return message.locator(".count")


def edit(reader: Reader, text: str, message: Locator | None = None) -> None:
    reader.does("Edit", message)
    box = reader.page.get_by_label("Edit your message")
    box.fill(text)
    box.press("Enter")


def prompts(site: Site) -> list[str]:
    """The question of each request that the model got."""
    return [str(request["messages"][-1]["content"]) for request in site.model.requests()]


# -------------------------------------------------------------------------------------------------------- versions


def test_an_edit_is_another_version_and_the_arrows_lead_to_the_answers_of_each(site: Site, reader: Reader) -> None:
    reader.say(ask(text="To the first"))
    reader.sees("To the first")
    reader.is_at_rest()
    edit(reader, ask(text="To the second"))
    reader.sees("To the second")
    reader.is_at_rest()
    expect(reader.messages).to_have_count(2)
    expect(count(reader.messages.first)).to_have_text("2/2")
    reader.does("Previous version")
    reader.sees("To the first")
    expect(count(reader.messages.first)).to_have_text("1/2")
    reader.does("Next version")
    reader.sees("To the second")
    reader.page.reload()
    reader.sees("To the second")
    assert prompts(site) == [ask(text="To the first"), ask(text="To the second")]


def test_asking_again_in_mid_answer_keeps_of_it_what_was_seen(site: Site, reader: Reader) -> None:
    reader.say(ask(chunks=3000, seed="again", pause=0.004))
    expect(reader.answer).to_contain_text("20:")
    first = reader.messages.last.get_attribute("data-id")
    site.line.delay = 0.25
    reader.messages.last.get_by_role("button", name="Regenerate").press("Enter")  # a click may miss what moves on
    expect(reader.page.locator(f'[data-id="{first}"]')).to_have_count(0)
    expect(count(reader.messages.last)).to_have_text("2/2")
    reader.composer.press("Escape")
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    reader.does("Previous version")
    expect(reader.messages.last).to_have_attribute("data-id", str(first))
    rows = {row["id"].replace("-", ""): row for row in site.messages(reader.thread)}
    kept = rows[str(first).replace("-", "")]
    whole = clean(full_text(Script(chunks=3000, seed="again")))
    assert kept["status"] == "cut" and whole.startswith(kept["text"]) and 0 < len(kept["text"]) < len(whole)
    reader.sees(kept["text"])


def test_an_answer_that_was_stopped_goes_on_where_it_ended_in_the_same_message(site: Site, reader: Reader) -> None:
    text = "One two three four five six seven eight nine ten, and that is all there is to say."
    reader.say(ask(text=text, gate="later", after=5))
    expect(reader.answer).to_contain_text("three")
    reader.composer.press("Escape")
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    stopped = reader.messages.last.get_attribute("data-id")
    part = site.messages(reader.thread)[-1]["text"]
    assert part and part != text and text.startswith(part)
    site.model.open_gate("later")
    reader.does("Continue")
    reader.sees(text)
    reader.is_at_rest()
    expect(reader.messages.last).to_have_attribute("data-id", str(stopped))
    expect(reader.messages.last.locator(".note")).to_be_hidden()
    assert [row["text"] for row in site.messages(reader.thread)][1:] == [text]


def test_a_version_that_is_chosen_without_a_connection_is_shown_when_it_is_back(site: Site, reader: Reader) -> None:
    reader.say(ask(text="The same question"))
    reader.is_at_rest()
    reader.does("Regenerate")
    expect(count(reader.messages.last)).to_have_text("2/2")
    reader.is_at_rest()
    second = reader.messages.last.get_attribute("data-id")
    with site.line.away():
        expect(reader.connection).to_contain_text("Reconnecting in")
        reader.does("Previous version")
        expect(count(reader.messages.last)).to_have_text("1/2")
        expect(reader.messages.last).to_have_attribute("data-id", str(second))
    expect(reader.messages.last).not_to_have_attribute("data-id", str(second))
    expect(count(reader.messages.last)).to_have_text("1/2")


def test_an_edit_without_a_connection_is_shown_at_once_and_sent_once(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Before"))
    reader.is_at_rest()
    address = reader.page.url
    with site.line.away():
        expect(reader.connection).to_contain_text("Reconnecting in")
        edit(reader, ask(text="After"))
        expect(reader.messages).to_have_count(1)
        expect(reader.messages.locator(".text")).to_have_text(ask(text="After"))
        expect(reader.life).to_have_text("Will be sent when the connection is back")
        reader.page.goto("about:blank")
    reader.page.goto(address)
    reader.sees("After")
    reader.is_at_rest()
    expect(count(reader.messages.first)).to_have_text("2/2")
    assert prompts(site) == [ask(text="Before"), ask(text="After")]


# ------------------------------------------------------------------------------------------------------------ queue


def test_what_waits_is_edited_in_its_place_and_can_be_sent_before_all_others(site: Site, reader: Reader) -> None:
    reader.say(ask(text="The first answer", gate="never", after=1))
    expect(reader.answer).to_have_text("The ")
    reader.say(ask(text="second"))
    reader.say(ask(text="third"))
    expect(reader.queued).to_have_count(2)
    edit(reader, ask(text="better second"), reader.queued.first)
    expect(reader.queued.first.locator(".text")).to_have_text(ask(text="better second"))
    expect(reader.queued.last.locator(".note")).to_have_text("Queued, place 2")
    reader.does("Send now", reader.queued.last)
    reader.sees("better second")
    reader.is_at_rest()
    assert texts(reader.answers) == [shown("The "), shown("third"), shown("better second")]
    assert prompts(site)[1:] == [ask(text="third"), ask(text="better second")]
    expect(reader.messages.nth(1).locator(".note")).to_have_text("Stopped")


def test_ctrl_enter_interrupts_the_answer_where_it_was_read(site: Site, reader: Reader) -> None:
    reader.say(ask(chunks=3000, seed="interrupt", pause=0.004))
    expect(reader.answer).to_contain_text("20:")
    expect(reader.page.get_by_role("button", name="Interrupt the answer and send")).to_be_hidden()
    reader.composer.fill(ask(text="Rather this"))
    expect(reader.page.get_by_role("button", name="Interrupt the answer and send")).to_be_visible()
    reader.composer.press("Control+Enter")
    reader.sees("Rather this")
    reader.is_at_rest()
    rows = site.messages(reader.thread)
    assert [row["status"] for row in rows] == ["complete", "cut", "complete", "complete"]
    assert site.model.requests()[1]["messages"][1]["content"] == rows[1]["text"], "what was seen is what was sent"


def test_a_message_that_is_to_be_sent_now_is_not_lost_when_the_page_goes_away(site: Site, reader: Reader) -> None:
    reader.say(ask(text="The first answer", gate="never", after=1))
    expect(reader.answer).to_have_text("The ")
    reader.say(ask(text="Now"))
    expect(reader.queued.locator(".note")).to_have_text("Queued: next")
    address = reader.page.url
    with site.line.away():
        expect(reader.connection).to_contain_text("Reconnecting in")
        reader.does("Send now", reader.queued)
        reader.page.goto("about:blank")
    reader.page.goto(address)
    reader.sees("Now")
    reader.is_at_rest()
    assert prompts(site) == [ask(text="The first answer", gate="never", after=1), ask(text="Now")]


def test_a_message_can_be_taken_back_when_it_waits_and_does_not_say_so_before(site: Site, reader: Reader) -> None:
    for number in range(4):  # as many as one user may have running
        reader.page.get_by_role("link", name="New chat").first.click()
        reader.say(ask(text=f"{number} goes on", gate="never", after=1))
        expect(reader.answer).to_have_text(f"{number} go")
    reader.page.get_by_role("link", name="New chat").first.click()
    reader.say("I wait")
    expect(reader.messages.last).to_have_attribute("data-status", "queued")
    delay = "node => node.getAnimations()[0].effect.getTiming().delay"
    assert reader.messages.last.locator(".foot").evaluate(delay) > 0
    reader.does("Take back")
    expect(reader.composer).to_have_value("I wait")


@pytest.mark.parametrize("what", ["Take back", "Send now"])
def test_who_presses_twice_means_it_once(site: Site, reader: Reader, what: str) -> None:
    """As people do where the answer takes its time."""
    reader.say(ask(text="The first answer", gate="never", after=1))
    expect(reader.answer).to_have_text("The ")
    reader.say(ask(text="Once"))
    expect(reader.queued.locator(".note")).to_have_text("Queued: next")
    site.line.delay = 0.2
    reader.queued.get_by_role("button", name=what).evaluate("button => { button.click(); button.click(); }")
    expect(reader.queued).to_have_count(0)
    if what == "Take back":
        expect(reader.composer).to_have_value(ask(text="Once"))
        reader.composer.press("Control+Enter")
    reader.sees("Once")
    reader.is_at_rest()
    assert prompts(site)[1:] == [ask(text="Once")]


def test_an_answer_is_gone_on_with_or_asked_for_again_once_however_often_that_is_pressed(
    site: Site, reader: Reader
) -> None:
    reader.say(ask(text="Cut off", cut="rst", after=1, fails=1))
    site.line.delay = 0.2
    for what in ("Continue", "Regenerate"):
        button = reader.page.locator("#log").get_by_role("button", name=what, exact=True).last
        button.evaluate("button => { button.click(); button.click(); }")
        reader.sees("Cut off")
        reader.is_at_rest()
    expect(reader.page.get_by_role("alert")).to_be_hidden()
    expect(count(reader.messages.last)).to_have_text("2/2")
    assert len(site.model.requests()) == 3


def test_leaving_a_path_gives_back_what_waited_there(site: Site, reader: Reader) -> None:
    reader.say(ask(text="The first answer", gate="never", after=1))
    expect(reader.answer).to_have_text("The ")
    reader.say("half a plan")
    expect(reader.queued.locator(".note")).to_have_text("Queued: next")
    edit(reader, ask(text="Another"), reader.messages.first)
    reader.sees("Another")
    expect(reader.composer).to_have_value("half a plan")
    expect(reader.queued).to_have_count(0)


def test_two_devices_have_the_same_queue_and_the_same_versions(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    reader.say(ask(text="The first answer", gate="go", after=1))
    other = new_reader(reader).open(f"/c/{reader.thread}/")
    reader.say(ask(text="second"))
    expect(other.queued).to_have_count(1)
    other.say(ask(text="third"))
    expect(reader.queued).to_have_count(2)
    assert texts(reader.queued.locator(".text")) == texts(other.queued.locator(".text"))
    other.does("Take back", other.queued.first)
    expect(reader.queued).to_have_count(1)
    site.model.open_gate("go")
    for one in (reader, other):
        one.sees("third")
        one.is_at_rest()
    edit(other, ask(text="third, again"))
    for one in (reader, other):
        one.sees("third, again")
        expect(count(one.messages.nth(2))).to_have_text("2/2")
    reader.does("Previous version")
    for one in (reader, other):
        one.sees("third")
        assert texts(one.answers) == [shown("The first answer"), shown("third")]


# ------------------------------------------------------------------------------------------------ around an answer


def test_instructions_reach_the_model(site: Site, reader: Reader) -> None:
    def instruct(words: str) -> None:
        reader.page.get_by_role("button", name="Options of this chat").click()
        reader.page.get_by_role("button", name="Instructions").click()
        reader.page.get_by_label("Instructions for this chat").last.fill(words)
        reader.page.get_by_role("button", name="Save").click()

    instruct("Speak French.")
    reader.say(ask(text="Oui"))
    reader.is_at_rest()
    instruct("Speak German.")
    reader.say(ask(text="Ja"))
    reader.sees("Ja")
    first, second = ([turn["content"] for turn in request["messages"]] for request in site.model.requests())
    assert (first[0], second[0]) == ("Speak French.", "Speak German.")
    reader.page.get_by_role("link", name="New chat").first.click()
    reader.say(ask(text="Yes"))
    reader.sees("Yes")
    assert [turn["role"] for turn in site.model.requests()[-1]["messages"]] == ["user"], "they were of that chat only"


def test_who_wants_to_know_is_told_how_an_answer_was_made(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Some words", usage="always"))
    reader.is_at_rest()
    behind = reader.messages.last.locator(".stats")
    expect(behind).to_be_hidden()
    reader.does("About this answer")
    for name in ("Model", "Tokens read", "Tokens written", "First token after", "Took"):
        expect(behind).to_contain_text(name)
    reader.does("About this answer")
    expect(behind).to_be_hidden()


def test_a_message_is_copied_as_it_was_written(site: Site, reader: Reader) -> None:
    reader.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.say(ask(text="# Head\n\n- **bold** & `code`\n"))
    reader.is_at_rest()
    reader.does("Copy")
    wait_for(lambda: reader.page.locator("[data-said]").count() == 1, "the button to say so")
    copied = reader.page.evaluate("navigator.clipboard.readText()")
    assert copied == site.messages(reader.thread)[-1]["text"] == "# Head\n\n- **bold** & `code`\n"


def test_a_chat_can_be_taken_away(site: Site, reader: Reader) -> None:
    reader.say(ask(text="To be kept"))
    reader.is_at_rest()
    files = []
    for name in ("Export as Markdown", "Export as JSON"):
        reader.page.get_by_role("button", name="Options of this chat").click()
        with reader.page.expect_download() as download:
            reader.page.get_by_role("link", name=name).click()
        files.append(download.value.path().read_text())
    assert "To be kept" in files[0]
    assert "To be kept" in [message["text"] for message in json.loads(files[1])["messages"]]


def test_thoughts_say_how_long_they_took_on_every_device(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    reader.say(ask(chunks=5, reasoning=5, seed="thoughts", gate="half", after=3))
    label = reader.messages.last.locator(".reasoning .label")
    expect(label).to_have_text("Thinking…")
    site.model.open_gate("half")
    reader.is_at_rest()
    expect(label).to_have_text(re.compile(r"Thought for \d+ s"))
    said = str(label.text_content())
    reader.page.reload()
    expect(label).to_have_text(said)
    expect(new_reader(reader).open(f"/c/{reader.thread}/").messages.last.locator(".label")).to_have_text(said)


def test_versions_and_times_are_there_without_javascript(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    reader.say(ask(text="One"))
    reader.is_at_rest()
    reader.does("Regenerate")
    expect(count(reader.messages.last)).to_have_text("2/2")
    reader.is_at_rest()
    plain = new_reader(reader, java_script_enabled=False)
    plain.page.goto(reader.page.url)
    expect(count(plain.messages.last)).to_have_text("2/2")
    expect(count(plain.messages.first)).to_be_hidden()
    expect(plain.messages.last.locator("time")).to_contain_text("UTC")
    expect(plain.messages.last.get_by_role("button")).to_have_count(0)


def test_who_has_only_a_keyboard_edits_and_chooses_and_keeps_the_place(site: Site, reader: Reader) -> None:
    keys = reader.page.keyboard
    reader.say(ask(text="One"))
    reader.is_at_rest()
    keys.press("ArrowUp")
    box = reader.page.get_by_label("Edit your message")
    expect(box).to_be_focused()
    keys.press("Escape")
    expect(box).to_have_count(0)
    expect(reader.composer).to_be_focused()
    keys.press("ArrowUp")
    box.fill(ask(text="Two"))
    keys.press("Enter")
    reader.sees("Two")
    reader.is_at_rest()
    previous = reader.page.get_by_role("button", name="Previous version").first
    previous.focus()
    keys.press("Enter")
    reader.sees("One")
    expect(previous).to_be_focused()
    expect(previous).to_have_attribute("aria-disabled", "true")
    keys.press("Tab")
    keys.press("Enter")
    reader.sees("Two")
    keys.press("?")
    expect(reader.page.get_by_role("dialog", name="Keys")).to_be_visible()
    keys.press("Escape")
    expect(reader.page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_on_a_phone_everything_can_be_tapped(site: Site, new_reader: Callable[..., Reader]) -> None:
    phone = new_reader(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True).open()
    phone.composer.fill(ask(text="One"))
    phone.page.get_by_role("button", name="Send", exact=True).tap()
    phone.sees("One")
    phone.is_at_rest()
    phone.page.get_by_role("button", name="Edit").tap()
    phone.page.get_by_label("Edit your message").fill(ask(text="Two"))
    phone.messages.first.get_by_role("button", name="Send").tap()
    phone.sees("Two")
    phone.is_at_rest()
    phone.page.get_by_role("button", name="Previous version").tap()
    phone.sees("One")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_long_text_says_its_size_and_one_that_is_too_long_is_not_sent(reader: Reader) -> None:
    hint = reader.page.locator("#hint")
    reader.composer.fill("word " * 2000)
    expect(hint).to_have_text("9.8 KB of 32 KB")
    reader.composer.fill("word " * 40_000)
    expect(hint).to_have_text("Too long: 195 KB of 32 KB")
    expect(reader.page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    reader.composer.press("Enter")
    expect(reader.messages).to_have_count(0)
