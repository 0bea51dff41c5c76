"""The page of the API's docs: it works under the Content-Security-Policy of all pages, with nothing from elsewhere."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Reader
from tests.browser.site import Site


def test_the_page_shows_every_operation_and_tries_one(reader: Reader, site: Site) -> None:
    """As the guest that a reader is, by the cookie; and what changes something is sent with the CSRF token."""
    page, asked = reader.page, list[str]()
    page.on("request", lambda request: asked.append(request.url))
    reader.say("Hello there")
    thread = reader.thread
    answer = page.goto("/api/docs")
    assert answer is not None
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    expect(page.locator(".opblock")).to_have_count(23)
    operation = page.locator("#operations-commands-update")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_placeholder("thread").fill(thread)
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert [url for url in asked if not url.startswith((site.url, "data:", "ws:", "blob:"))] == []
