"""A person who goes back, in a browser that keeps the pages that were left, as browsers do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from chat.protocol import clean
from tests.browser.conftest import Reader, wait_for
from tests.browser.site import Site, ask
from tests.servers.script import Script, full_text

pytestmark = pytest.mark.processes

KEEPING_NOTHING = "--disable-back-forward-cache"
PASSWORD = "a long enough one"
MARK = "window.marked = 'before'"
IS_MARKED = "window.marked === 'before'"
"""Of a page that stands as it was left; one that is loaded anew has no such mark."""


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    return {"REJOIN_SIGNUP": "1", "REJOIN_GUESTS": "0"}


@pytest.fixture(scope="module")
def keeping(browser: Browser, chromium: str) -> Iterator[Browser]:
    """Playwright tells its Chromium to keep no pages; this one is not told."""
    arguments = {"args": ["--no-sandbox"], "ignore_default_args": [KEEPING_NOTHING]}
    found = browser.browser_type.launch(executable_path=chromium, **arguments)
    yield found
    found.close()


@pytest.fixture
def remembering(site: Site, keeping: Browser) -> Iterator[Reader]:
    """Somebody at the beginning of a new chat, in the browser that keeps pages."""
    context = keeping.new_context(base_url=site.url)
    yield signed_up(Reader(context.new_page()))
    context.close()


def signed_up(reader: Reader) -> Reader:
    page = reader.page
    page.goto("/signup/")
    page.get_by_label("Username").fill(uuid4().hex)
    for field in page.locator('input[type="password"]').all():
        field.fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(reader.connection).to_have_text("Live")
    return reader


def has_a_secret(reader: Reader) -> None:
    """In a page that a server has made, as after a reload."""
    reader.say(ask(text="Between us"))
    reader.sees("Between us")
    reader.open(reader.page.url)


def leave(page: Page) -> None:
    """To another page, so that going back has where to go."""
    page.goto("/login/")


def test_back_by_the_back_button_the_kept_page_goes_on(site: Site, remembering: Reader) -> None:
    page = remembering.page
    remembering.say(ask(chunks=100, seed="kept", gate="half", after=50))
    expect(remembering.answer).to_contain_text("49:")
    remembering.open(page.url)
    page.evaluate(MARK)
    leave(page)
    site.model.open_gate("half")
    page.go_back(wait_until="commit")
    assert page.evaluate(IS_MARKED), "it was loaded anew: then this test shows nothing"
    remembering.sees(clean(full_text(Script(chunks=100, seed="kept"))))
    expect(remembering.connection).to_have_text("Live")


def test_back_by_the_back_button_where_streams_take_the_place_of_websockets(site: Site, remembering: Reader) -> None:
    page = remembering.page
    site.line.upgrades("refuse")
    site.line.reset()
    remembering.say(ask(text="By a stream"))
    remembering.sees("By a stream")
    remembering.open(page.url)
    page.evaluate(MARK)
    leave(page)
    page.go_back(wait_until="commit")
    assert page.evaluate(IS_MARKED)
    remembering.say(ask(text="And on"))
    remembering.sees("And on")


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "loaded"])
def test_back_after_signing_out_shows_nothing_of_the_chat(
    site: Site, remembering: Reader, new_reader: Callable[..., Reader], kept: bool
) -> None:
    reader = remembering if kept else signed_up(new_reader())
    page = reader.page
    has_a_secret(reader)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.go_back(wait_until="commit")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "Between us" not in page.content()


def test_back_after_signing_out_shows_nothing_without_javascript(new_reader: Callable[..., Reader]) -> None:
    reader = signed_up(new_reader())
    has_a_secret(reader)
    page = new_reader(like=reader, java_script_enabled=False).page
    page.goto(reader.page.url)
    expect(page.get_by_text("Between us", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.go_back(wait_until="commit")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_kept_page_of_somebody_who_has_left_hides_itself_before_it_asks(site: Site, remembering: Reader) -> None:
    """Where the browser has kept it all the same: here another tab's cookies went, and nothing told this one."""
    page = remembering.page
    has_a_secret(remembering)
    page.evaluate("addEventListener('pageshow', () => (sessionStorage.shown = document.body.checkVisibility()))")
    leave(page)
    page.context.clear_cookies()
    page.go_back(wait_until="commit")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.shown") == "false"


def test_a_kept_page_whose_session_has_ended_leads_to_sign_in_at_once(site: Site, remembering: Reader) -> None:
    """As when it was ended from elsewhere: the rest of this browser's cookies are what they were."""
    page = remembering.page
    has_a_secret(remembering)
    leave(page)
    page.context.clear_cookies(name="sessionid")
    page.go_back(wait_until="commit")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    wait_for(lambda: "Between us" not in page.content(), "nothing of the chat")
