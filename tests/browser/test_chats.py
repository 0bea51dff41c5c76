"""Several chats at once: answers that are written while the reader looks elsewhere, and what is said when offline."""

from __future__ import annotations

import random

import pytest
from playwright.sync_api import expect

from chat.protocol import clean
from tests.browser.conftest import Reader, texts
from tests.browser.site import Site, ask
from tests.markdown.reading import shown
from tests.servers.script import Script, full_text

pytestmark = pytest.mark.processes

MOMENTS = 40


def begin(reader: Reader, text: str) -> str:
    """A new chat with this message: its id."""
    reader.page.get_by_role("link", name="New chat").first.click()
    reader.say(text)
    return reader.thread


def look_at(reader: Reader, thread: str) -> None:
    reader.page.locator(f'#items .item[data-id="{thread}"] a').click()


def test_who_changes_between_four_chats_that_are_being_answered_finds_each_answer_whole(
    site: Site, reader: Reader
) -> None:
    """At any pace, by the list and by the browser's own buttons."""
    rng = random.Random(4)
    threads = {begin(reader, ask(chunks=500, seed=seed, pause=0.01)): seed for seed in "abcd"}
    for _ in range(MOMENTS):
        match rng.randrange(4):
            case 0:
                reader.page.go_back()
            case 1:
                reader.page.go_forward()
            case _:
                look_at(reader, rng.choice(list(threads)))
        reader.page.wait_for_timeout(rng.choice([0, 5, 30, 150]))
    for thread, seed in threads.items():
        look_at(reader, thread)
        reader.is_at_rest()
        assert texts(reader.answers) == [shown(clean(full_text(Script(chunks=500, seed=seed))))]


def test_what_is_said_in_several_chats_without_a_connection_is_sent_to_each_of_them_once(
    site: Site, reader: Reader
) -> None:
    first, second = (begin(reader, ask(text=text)) for text in ("One", "Two"))
    reader.is_at_rest()
    with site.line.away():
        expect(reader.connection).to_contain_text("Reconnecting in")
        reader.say(ask(text="More of two"))
        look_at(reader, first)
        reader.say(ask(text="More of one"))
        third = begin(reader, ask(text="Three"))
        look_at(reader, second)
        expect(reader.messages.last.locator(".text")).to_have_text(ask(text="More of two"))
        expect(reader.life).to_have_text("Will be sent when the connection is back")
    for thread, answers in (
        (first, ["One", "More of one"]),
        (second, ["Two", "More of two"]),
        (third, ["Three"]),
    ):
        look_at(reader, thread)
        reader.sees(answers[-1])
        reader.is_at_rest()
        assert texts(reader.answers) == [shown(answer) for answer in answers]
    assert len(site.model.requests()) == 5
