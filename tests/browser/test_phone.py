"""A person with a phone, also a small one: everything has its room."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Reader
from tests.browser.site import Site

pytestmark = pytest.mark.processes

PROVIDERS = {
    "local": {"path": "chat.providers.openai.OpenAIProvider", "options": {"model": "scripted", "max_retries": 0}},
    "demo": {"path": "chat.providers.demo.DemoProvider"},
}
WIDTHS = (320, 360, 390)
HEIGHT = 780


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {"REJOIN_SIGNUP": "1", "REJOIN_PROVIDERS": json.dumps(PROVIDERS)}


@pytest.fixture
def phone(new_reader: Callable[..., Reader]) -> Reader:
    return new_reader(viewport={"width": WIDTHS[0], "height": HEIGHT}, is_mobile=True, has_touch=True)


def test_without_a_network_the_title_and_the_options_are_there_too(
    site: Site, new_reader: Callable[..., Reader]
) -> None:
    size = {"width": WIDTHS[0], "height": HEIGHT}
    phone = new_reader(viewport=size, is_mobile=True, has_touch=True, locale="de-DE").open()
    phone.page.context.set_offline(True)
    site.line.reset()
    expect(phone.connection).to_have_text("Offline")
    phone.page.get_by_label("Nachricht", exact=True).fill("Wird gesendet")
    phone.page.get_by_role("button", name="Senden", exact=True).tap()
    expect(phone.connection).to_have_text("Offline: Deine Nachricht wird noch gesendet")
    for width in WIDTHS:
        phone.page.set_viewport_size({"width": width, "height": HEIGHT})
        title = phone.page.get_by_role("heading", level=1).bounding_box()
        assert title and title["width"] >= 80
        expect(phone.page.get_by_role("button", name="Optionen dieses Chats")).to_be_in_viewport(ratio=1)


def test_a_long_name_makes_no_page_scroll_sideways(phone: Reader) -> None:
    page = phone.page
    page.goto("/signup/")
    page.get_by_label("Username").fill("w" * 150)
    for field in page.locator('input[type="password"]').all():
        field.fill("a long enough one")
    page.get_by_role("button", name="Sign up").tap()
    expect(phone.connection).to_have_text("Live")
    for address in ("/", "/account/", "/account/data/"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[0]


def test_what_is_too_long_says_how_long_it_is(phone: Reader) -> None:
    phone.open()
    expect(phone.page.get_by_label("Model")).to_be_visible()
    phone.composer.fill("€" * 12_000)
    hint = phone.page.locator("#hint")
    expect(hint).to_have_text("Too long: 35 KB of 32 KB")
    for width in WIDTHS:
        phone.page.set_viewport_size({"width": width, "height": HEIGHT})
        assert hint.evaluate("node => node.scrollWidth <= node.clientWidth")
