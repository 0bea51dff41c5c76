"""The page in the language of its reader's browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Reader
from tests.browser.site import Site, ask

pytestmark = pytest.mark.processes


def test_all_that_the_page_says_is_in_the_language_of_the_browser(
    site: Site, new_reader: Callable[..., Reader]
) -> None:
    german = new_reader(locale="de-DE").open()
    page = german.page
    german.composer = page.get_by_label("Nachricht", exact=True)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("heading", name="Was möchtest du wissen?")).to_be_visible()
    german.say(ask(text="Not to its end", gate="never", after=1))
    expect(page.get_by_role("button", name="Antwort anhalten")).to_be_visible()
    expect(german.answer).to_have_text("Not")
    german.composer.press("Escape")
    expect(german.messages.last.locator(".note")).to_have_text("Angehalten")
    expect(german.messages.last.get_by_role("button", name="Fortsetzen")).to_be_visible()
    german.say(ask(text="No", status=403))
    expect(german.messages.last.locator(".note")).to_contain_text("Der Server des Modells hat die Anfrage abgelehnt.")
    plain = new_reader(german, java_script_enabled=False, locale="de-DE")
    plain.page.goto(page.url)
    expect(plain.answers.last).to_have_text("Not")
    expect(plain.messages.nth(1).locator(".note")).to_have_text("Angehalten")
    english = new_reader(german).open(page.url)
    expect(english.messages.nth(1).locator(".note")).to_have_text("Stopped")
