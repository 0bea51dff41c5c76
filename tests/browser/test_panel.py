"""Several authors in one answer: side by side, or one after the other."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Reader, texts
from tests.browser.site import Site, ask
from tests.markdown.reading import shown

pytestmark = pytest.mark.processes

PROVIDERS = {
    "panel": {
        "path": "chat.providers.panel.PanelProvider",
        "options": {"members": {"Ada": "local/", "Grace": "local/"}},
    },
    "flow": {
        "path": "chat.providers.flow.FlowProvider",
        "options": {"phases": {"draft": "", "final": "Now better."}, "model": "local/"},
    },
    "mixed": {
        "path": "chat.providers.panel.PanelProvider",
        "options": {"members": {"Ada": "local/", "Grace": "demo/"}},
    },
    "demo": {"path": "chat.providers.demo.DemoProvider", "options": {"rate": 5000, "delay": 0, "tokens": 3000}},
    "local": {"path": "chat.providers.openai.OpenAIProvider", "options": {"model": "scripted", "max_retries": 0}},
}


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {"REJOIN_PROVIDERS": json.dumps(PROVIDERS)}


def test_two_authors_are_read_side_by_side_while_they_write(site: Site, reader: Reader) -> None:
    reader.say(ask(text="What each of them says", gate="half", after=2))
    expect(reader.answers).to_have_count(2)
    wanted = ["What eac", "What eac"]
    expect(reader.answers.first).to_have_text(wanted[0])
    expect(reader.answers.last).to_have_text(wanted[1])
    expect(reader.messages.locator(".note").get_by_text("Waiting for the model")).to_have_count(0)
    authors = reader.page.locator('.message[data-role="assistant"] .author')
    assert authors.all_text_contents() == ["Ada", "Grace"]
    left, right = (reader.messages.nth(at).bounding_box() for at in (1, 2))
    assert left and right and left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
    site.model.open_gate("half")
    reader.is_at_rest()
    assert texts(reader.answers) == [shown("What each of them says")] * 2
    reader.page.set_viewport_size({"width": 390, "height": 844})
    above, below = (reader.messages.nth(at).bounding_box() for at in (1, 2))
    assert above and below and above["x"] == below["x"] and above["y"] + above["height"] <= below["y"]


def test_who_still_writes_is_in_sight_though_another_has_written_more(site: Site, reader: Reader) -> None:
    lines = [f"line {number}." for number in range(80)]
    reader.page.get_by_label("Model").select_option("mixed/all")
    reader.say(ask(text="\n\n".join(lines), size=1, gate="half", after=len("\n\n".join(lines[:40]))))
    ada, grace = reader.messages.nth(1), reader.messages.nth(2)
    expect(grace).to_have_attribute("data-status", "complete")
    expect(ada.get_by_text("line 39.")).to_be_in_viewport()
    bottoms = [box["y"] + box["height"] for one in (ada, grace) if (box := one.locator(".text").bounding_box())]
    assert bottoms[0] + 500 < bottoms[1]
    site.model.open_gate("half")
    reader.is_at_rest()
    expect(ada).to_have_attribute("data-status", "complete")
    assert texts(ada.locator(".text")) == [shown("\n\n".join(lines))]
    expect(ada.get_by_text("line 79.")).to_be_in_viewport()
    expect(reader.page.get_by_role("button", name="Jump to the latest")).to_be_visible()


def test_one_that_fails_says_why_beside_the_one_that_answers(site: Site, reader: Reader) -> None:
    reader.say(ask(text="Only one of us", status=403, fails=1))
    reader.is_at_rest()
    expect(reader.page.locator('.message[data-status="failed"] .note')).to_contain_text("refused")
    expect(reader.page.locator('.message[data-status="complete"][data-role="assistant"] .text')).to_have_text(
        "Only one of us"
    )


def test_phases_stand_one_below_the_other(site: Site, reader: Reader) -> None:
    reader.page.get_by_label("Model").select_option("flow/all")
    reader.say(ask(text="The first attempt"))
    reader.is_at_rest()
    assert reader.page.locator('.message[data-role="assistant"] .author').all_text_contents() == ["draft", "final"]
    above, below = (reader.messages.nth(at).bounding_box() for at in (1, 2))
    assert above and below and above["x"] == below["x"] and above["y"] + above["height"] <= below["y"]


def test_a_stop_leaves_of_each_what_was_seen(site: Site, reader: Reader) -> None:
    reader.say(ask(chunks=2000, seed="stop", pause=0.005))
    expect(reader.answers.first).to_contain_text("10:")
    expect(reader.answers.last).to_contain_text("10:")
    reader.composer.press("Escape")
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    reader.is_at_rest()
    seen = texts(reader.answers)
    reader.page.reload()
    expect(reader.answers).to_have_count(2)
    assert texts(reader.answers) == seen


def test_who_goes_on_with_one_of_two_stopped_answers_still_reads_them_side_by_side(site: Site, reader: Reader) -> None:
    reader.say(ask(text="What each of them says", gate="later", after=2))
    for answer in (reader.answers.first, reader.answers.last):
        expect(answer).to_have_text("What eac")
    reader.composer.press("Escape")
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    site.model.open_gate("later")
    reader.does("Continue")
    reader.sees("What each of them says")
    reader.is_at_rest()
    expect(reader.messages.nth(1).locator(".note")).to_have_text("Stopped")
    left, right = (reader.messages.nth(at).bounding_box() for at in (1, 2))
    assert left and right and left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
    authors = reader.page.locator('.message[data-role="assistant"] .author.visible')
    assert authors.all_text_contents() == ["Ada", "Grace"]
    reader.does("Regenerate")
    expect(reader.messages.nth(1).locator(".count")).to_have_text("2/2")
    expect(reader.answers).to_have_count(2)


def test_each_chat_shows_the_model_that_it_has(site: Site, reader: Reader) -> None:
    choice = reader.page.get_by_label("Model")
    for model in ("all", "flow/all"):
        reader.page.get_by_role("link", name="New chat").first.click()
        choice.select_option(model)
        reader.say(ask(text=f"By {model}"))
        reader.is_at_rest()
    reader.page.reload()
    expect(choice).to_have_value("flow/all")
    reader.items.last.click()
    expect(choice).to_have_value("all")
    reader.items.first.click()
    expect(choice).to_have_value("flow/all")
    choice.select_option("all")
    reader.page.get_by_role("link", name="New chat").first.click()
    choice.select_option("flow/all")
    reader.page.go_back()
    expect(choice).to_have_value("all")
