"""The main job, as a person does it: ask, refresh, switch, come back, stop."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import expect

from chat.protocol import clean
from tests.browser.conftest import Reader, growth, texts, wait_for
from tests.browser.site import Site, ask
from tests.markdown.reading import shown
from tests.servers.script import Script, expected_reasoning, text_chunks

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module", params=["postgres+redis+uvicorn", "sqlite+embedded+daphne"])
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def said(script: Script, chunks: int | None = None) -> str:
    return clean("".join(text_chunks(script)[:chunks]))


def is_settled(site: Site, reader: Reader) -> None:
    """What is on the screen, to the character, is what the database has."""
    expect(reader.page.locator('.message[data-status="streaming"]')).to_have_count(0)
    expect(reader.page.get_by_role("button", name="Stop")).to_be_hidden()
    rows = site.messages(reader.thread)
    on_screen = texts(reader.page.locator("#log .message .text"))
    assert on_screen == [row["text"] if row["role"] == "user" else shown(row["text"]) for row in rows]


def test_an_answer_streams_in_and_is_what_the_model_said(site: Site, reader: Reader) -> None:
    script = Script(chunks=60, seed="one", gate="half", after=30)
    reader.say(ask(chunks=60, seed="one", gate="half", after=30))
    reader.sees(said(script, 30))
    expect(reader.page.get_by_role("button", name="Stop")).to_be_visible()
    expect(reader.items.first).to_have_attribute("data-status", "running")
    site.model.open_gate("half")
    reader.sees(said(script))
    is_settled(site, reader)
    expect(reader.items.first).not_to_have_attribute("data-status", "running")


def test_twenty_refreshes_at_any_moment_lose_nothing(site: Site, reader: Reader) -> None:
    script = Script(chunks=400, seed="three", pause=0.01)
    reader.say(ask(chunks=400, seed="three", pause=0.01))
    thread = reader.thread
    pictures = []
    for _ in range(20):
        reader.page.reload(wait_until="domcontentloaded")
        wait_for(lambda: reader.answer.count() == 1, "the answer to be on the page")
        pictures += texts(reader.answers)
    assert growth(pictures, said(script))
    reader.sees(said(script))
    is_settled(site, reader)
    assert reader.thread == thread
    assert len(site.model.requests()) == 1


def test_the_history_is_readable_without_javascript(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    reader.say(ask(chunks=12, seed="four"))
    reader.sees(said(Script(chunks=12, seed="four")))
    is_settled(site, reader)
    plain = new_reader(reader, java_script_enabled=False)
    plain.page.goto(reader.page.url)
    question, answer = site.messages(reader.thread)
    assert texts(plain.page.locator("#log .message .text")) == [question["text"], shown(answer["text"])]
    assert plain.items.count() == 1


def test_going_to_another_chat_and_back_shows_each_its_own_answer(site: Site, reader: Reader) -> None:
    scripts = {name: Script(chunks=60, seed=name, gate=name, after=20) for name in ("first", "second")}
    for name, script in scripts.items():
        reader.page.get_by_role("link", name="New chat").first.click()
        reader.say(ask(chunks=60, seed=name, gate=name, after=20))
        reader.sees(said(script, 20))
    reader.item('"first"').click()
    reader.sees(said(scripts["first"], 20))
    reader.page.go_back()
    reader.sees(said(scripts["second"], 20))
    site.model.open_gate("first")
    expect(reader.item('"first"')).to_have_attribute("data-unread", "")
    reader.item('"first"').click()
    reader.sees(said(scripts["first"]))
    expect(reader.item('"first"')).not_to_have_attribute("data-unread", "")
    is_settled(site, reader)
    site.model.open_gate("second")
    expect(reader.item('"second"')).to_have_attribute("data-unread", "")  # and it has its place in the list
    reader.item('"second"').click()
    reader.sees(said(scripts["second"]))
    is_settled(site, reader)


def test_a_second_device_follows_without_doing_anything(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    script = Script(chunks=60, seed="five", gate="half", after=30)
    other = new_reader(reader).open()
    reader.say(ask(chunks=60, seed="five", gate="half", after=30))
    other.item('"five"').click()
    for device in (reader, other):
        device.sees(said(script, 30))
    site.model.open_gate("half")
    for device in (reader, other):
        device.sees(said(script))
        is_settled(site, device)
    other.say(ask(text="A second answer"))
    reader.sees("A second answer")


def test_reasoning_is_shown_while_it_comes_and_folded_away_after(site: Site, reader: Reader) -> None:
    script = Script(chunks=10, reasoning=10, seed="seven", gate="half", after=8)
    reader.say(ask(chunks=10, reasoning=10, seed="seven", gate="half", after=8))
    reasoning = reader.messages.last.locator(".reasoning")
    expect(reasoning).to_have_attribute("open", "")
    expect(reasoning.locator("summary")).to_have_text("Thinking…")
    site.model.open_gate("half")
    reader.sees(said(script))
    expect(reasoning).not_to_have_attribute("open", "")
    reasoning.locator("summary").click()
    assert reasoning.locator(".thoughts").text_content() == clean(
        expected_reasoning(Script(chunks=10, reasoning=10, seed="seven"))
    )


def test_regenerating_puts_another_answer_in_the_place_of_the_last(site: Site, reader: Reader) -> None:
    reader.say(ask(chunks=5, seed="eight"))
    reader.sees(said(Script(chunks=5, seed="eight")))
    reader.page.get_by_role("button", name="Regenerate").click()
    wait_for(lambda: len(site.messages(reader.thread)) == 3, "another answer, and the first one kept")
    newest = str(site.messages(reader.thread)[-1]["id"])
    expect(reader.messages.last).to_have_attribute("data-id", str(UUID(newest)))
    reader.sees(said(Script(chunks=5, seed="eight")))
    expect(reader.messages).to_have_count(2)
    assert [turn["role"] for turn in site.model.requests()[1]["messages"]] == ["user"]


def test_a_failure_says_why_and_can_be_tried_again(site: Site, reader: Reader) -> None:
    reader.say(ask(chunks=5, seed="nine", status=403, fails=1))
    expect(reader.messages.last.locator(".note")).to_contain_text("refused")
    expect(reader.items.first).not_to_have_attribute("data-unread", "")
    reader.page.get_by_role("button", name="Try again").click()
    reader.sees(said(Script(chunks=5, seed="nine")))
    is_settled(site, reader)
    expect(reader.messages.first.locator(".note")).to_be_hidden()


def test_a_question_that_got_no_answer_says_so_after_others_too_and_can_still_be_asked_again(
    site: Site, reader: Reader, new_reader: Callable[..., Reader]
) -> None:
    reader.say(ask(text="Late", status=403, fails=1))
    note = reader.messages.first.locator(".note")
    expect(note).to_contain_text("refused")
    reader.say(ask(text="Another"))
    reader.sees("Another")
    reader.is_at_rest()
    expect(note).to_contain_text("refused")
    plain = new_reader(like=reader, java_script_enabled=False)
    plain.page.goto(reader.page.url)
    expect(plain.messages.first.locator(".note")).to_contain_text("refused")
    reader.page.reload()
    reader.does("Try again", reader.messages.first)
    reader.sees("Late")
    reader.is_at_rest()
    expect(note).to_be_hidden()
    reader.does("Previous version")
    reader.sees("Another")


def test_an_answer_that_breaks_off_is_kept_and_says_so(site: Site, reader: Reader) -> None:
    script = Script(chunks=20, seed="ten", cut="rst", after=10)
    reader.say(ask(chunks=20, seed="ten", cut="rst", after=10))
    expect(reader.messages.last).to_have_attribute("data-status", "failed")
    reader.sees(said(script, 10))
    expect(reader.messages.last.locator(".note")).to_have_text("The model's answer broke off.")
    expect(reader.page.get_by_role("button", name="Try again")).to_be_visible()
    reader.page.reload()
    expect(reader.messages.last.locator(".note")).to_have_text("The model's answer broke off.")
    reader.sees(said(script, 10))
