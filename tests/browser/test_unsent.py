"""A person whose words have not been sent yet: nothing that happens to the page loses them; they can be taken back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Reader, texts, wait_for
from tests.browser.site import Site, ask
from tests.markdown.reading import shown

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {"REJOIN_MODELS": "scripted"}


UNSENT = "Will be sent when the connection is back"


def cut_off(reader: Reader) -> None:
    expect(reader.connection).to_contain_text("Reconnecting in")


@pytest.mark.parametrize("place", ["in a new chat", "after an answer"])
def test_what_was_said_without_a_connection_is_sent_though_the_tab_was_closed(
    site: Site, reader: Reader, place: str
) -> None:
    if place == "after an answer":
        reader.say(ask(text="Before"))
        reader.is_at_rest()
    with site.line.away():
        cut_off(reader)
        reader.say(ask(text="Not lost"))
        expect(reader.life).to_have_text(UNSENT)
        address = reader.page.url
        context = reader.page.context
        reader.page.close()
    later = Reader(context.new_page()).open(address)
    later.sees("Not lost")
    later.is_at_rest()
    assert texts(later.answers)[-1:] == [shown("Not lost")]
    assert len(site.model.requests()) == (2 if place == "after an answer" else 1)


def test_what_waits_for_the_connection_can_be_taken_back(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Before"))
    reader.is_at_rest()
    with site.line.away():
        cut_off(reader)
        reader.say("Never mind")
        expect(reader.messages).to_have_count(3)
        reader.does("Take back")
        expect(reader.messages).to_have_count(2)
        expect(reader.composer).to_have_value("Never mind")
        expect(reader.life).to_be_hidden()
    expect(reader.connection).to_have_text("Live")
    reader.composer.fill(ask(text="Rather this"))
    reader.composer.press("Enter")
    reader.sees("Rather this")
    reader.is_at_rest()
    assert [row["text"] for row in site.messages(reader.thread)][2:] == [ask(text="Rather this"), "Rather this"]


def test_a_chat_whose_only_message_is_taken_back_is_none(site: Site, reader: Reader) -> None:
    with site.line.away():
        cut_off(reader)
        reader.say("Never mind")
        expect(reader.page.locator("#title")).to_have_text("Never mind")
        expect(reader.items).to_have_count(1)
        reader.does("Take back")
        expect(reader.items).to_have_count(0)
        expect(reader.page.get_by_role("heading", name="What do you want to know?")).to_be_visible()
        expect(reader.composer).to_have_value("Never mind")
    expect(reader.connection).to_have_text("Live")
    expect(reader.items).to_have_count(0)


def test_what_one_tab_takes_back_no_other_sends(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Before"))
    reader.is_at_rest()
    with site.line.away():
        cut_off(reader)
        other = Reader(reader.page.context.new_page())
        reader.say("Never mind")
        site.line.refuse(False)
        site.line.upgrades("swallow")
        other.page.goto(reader.page.url)
        expect(other.messages).to_have_count(3)
        reader.does("Take back")
        expect(other.messages).to_have_count(2)
    site.line.upgrades("pass")
    for tab in (reader, other):
        expect(tab.connection).to_have_text("Live")
    assert len(site.messages(reader.thread)) == 2


def test_a_chat_that_the_server_does_not_make_says_why_and_can_be_begun_anew(site: Site, reader: Reader) -> None:
    """The model that it was to have has gone since the page was opened."""
    reader.composer.fill(ask(text="At last"))
    choose_and_send = "model.replaceChildren(new Option('gone')); composer.requestSubmit()"
    reader.page.evaluate(f"const {{ model, composer }} = window; {choose_and_send}")
    expect(reader.messages.last.locator(".note")).to_have_text("This model is not offered here.")
    reader.does("Take back")
    expect(reader.page.get_by_role("heading", name="What do you want to know?")).to_be_visible()
    expect(reader.composer).to_have_value(ask(text="At last"))
    reader.composer.press("Enter")
    reader.sees("At last")


def test_two_tabs_with_the_same_chat_leave_each_others_drafts_alone(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Answered"))
    reader.is_at_rest()
    other = Reader(reader.page.context.new_page()).open(reader.page.url)
    reader.composer.fill("half a thought")
    other.composer.fill(ask(text="Something else"))
    other.composer.press("Enter")
    other.sees("Something else")
    reader.page.reload()
    expect(reader.composer).to_have_value("half a thought")
    other.page.reload()
    expect(other.composer).to_have_value("half a thought")


def test_what_is_being_written_in_a_message_survives_a_reload(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Answered"))
    reader.is_at_rest()
    reader.does("Edit")
    reader.page.get_by_label("Edit your message").fill("half a better question")
    reader.page.reload()
    expect(reader.composer).to_have_value("half a better question")


def test_chats_that_were_begun_without_a_connection_are_told_apart(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    with site.line.away():
        cut_off(reader)
        for title in ("The first", "The second"):
            reader.page.get_by_role("link", name="New chat").first.click()
            reader.say(title)
        wait_for(
            lambda: reader.items.locator(".title").all_text_contents() == ["The second", "The first"],
            "both in the list",
        )
