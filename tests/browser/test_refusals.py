"""A person whose message the server does not take: what was written is there, with the reason and a way on."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Reader, texts
from tests.browser.site import Site, ask
from tests.markdown.reading import shown

pytestmark = pytest.mark.processes

NONE_OF_YOURS = "There is no such thing here."
TOO_LONG = "This is longer than the server allows."
TOO_MANY = "Too many of your messages are waiting. Let some be answered first."


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {"REJOIN_MAX_QUEUED": "2"}


def edit(reader: Reader, text: str) -> None:
    reader.does("Edit")
    box = reader.page.get_by_label("Edit your message")
    box.fill(text)
    box.press("Enter")


def is_refused(message: Locator, text: str, reason: str) -> None:
    """The message holds what was written, and says why it is nowhere else."""
    expect(message.locator(".note")).to_have_text(reason)
    assert texts(message.locator(".text")) == [text]


def refused_for_now(site: Site, reader: Reader) -> Locator:
    """Where nothing more may wait until the gate "go" is opened, somebody wants another answer: what the page says."""
    reader.say(ask(text="Before"))
    reader.is_at_rest()
    reader.page.get_by_role("link", name="New chat").first.click()
    reader.say("A queue " + ask(text="First", gate="go", after=0))
    reader.say(ask(text="Second"))
    expect(reader.queued.locator(".note")).to_have_text("Queued: next")
    reader.items.filter(has_not_text="A queue").click()
    reader.sees("Before")
    reader.does("Regenerate")
    expect(reader.page.get_by_role("alert")).to_contain_text(TOO_MANY)
    return reader.page.get_by_role("alert")


def test_an_edit_for_which_there_is_no_room_waits_for_who_tries_again(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    reader.say(ask(text="Before"))
    reader.sees("Before")
    reader.is_at_rest()
    other = new_reader(like=reader).open()
    other.say(ask(text="First", gate="go", after=0))
    expect(other.page.get_by_role("button", name="Stop the answer")).to_be_visible()
    for text in ("Second", "Third"):
        other.say(ask(text=text))
    expect(other.queued).to_have_count(2)
    edit(reader, ask(text="After"))
    is_refused(reader.messages.last, ask(text="After"), TOO_MANY)
    reader.page.reload()
    is_refused(reader.messages.last, ask(text="After"), TOO_MANY)
    site.model.open_gate("go")
    other.sees("Third")
    other.is_at_rest()
    reader.does("Try again")
    reader.sees("After")
    assert texts(reader.answers) == [shown("After")]
    expect(reader.messages.first.locator(".count")).to_have_text("2/2")


@pytest.mark.parametrize("way", [edit, Reader.say], ids=["edit", "message"])
def test_a_message_that_no_frame_holds_is_taken_back_and_shortened(
    reader: Reader, way: Callable[[Reader, str], None]
) -> None:
    """Short enough for a message, but not for a frame, in which each of its marks takes two bytes."""
    reader.say(ask(text="Before"))
    reader.sees("Before")
    reader.is_at_rest()
    marks = '"' * 32_700
    way(reader, marks)
    is_refused(reader.messages.last, marks, TOO_LONG)
    reader.does("Try again")
    is_refused(reader.messages.last, marks, TOO_LONG)
    reader.does("Take back")
    assert reader.composer.input_value() == marks
    reader.sees("Before")
    reader.say(ask(text="Shorter"))
    reader.sees("Shorter")


def test_an_edit_in_a_chat_that_was_deleted_meanwhile_is_not_lost(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    reader.say(ask(text="Before"))
    reader.sees("Before")
    reader.is_at_rest()
    thread = reader.thread
    other = new_reader(like=reader).open()
    cookies = {cookie["name"]: cookie["value"] for cookie in reader.page.context.cookies()}
    reader.page.context.set_offline(True)
    site.line.reset()
    expect(reader.connection).to_have_text("Offline")
    edit(reader, ask(text="Elsewhere"))
    reached = other.page.request.post(
        f"/api/threads/{thread}/commands",
        data=[{"type": "delete", "id": str(uuid4()), "thread": thread}],
        headers={"X-CSRFToken": cookies["csrftoken"], "Origin": site.url},
    )
    assert [reply["type"] for reply in reached.json()] == ["reply"]
    reader.page.context.set_offline(False)
    is_refused(reader.messages.last, ask(text="Elsewhere"), NONE_OF_YOURS)
    expect(reader.page.get_by_role("heading", name="This chat is not here")).to_be_visible()
    reader.does("Take back")
    reader.composer.press("Enter")
    reader.sees("Elsewhere")
    assert reader.thread != thread
