"""A person who looks at another tab meanwhile, for so long that the browser lets the hidden one sleep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from chat.protocol import clean
from tests.browser.conftest import shown, wait_for
from tests.browser.site import Site, ask
from tests.browser.tab import Tab
from tests.servers.script import Script, full_text

pytestmark = pytest.mark.processes

STATE = "document.body?.dataset.connection"
ANSWER = "document.querySelector('#log .message:last-of-type .text')?.textContent ?? ''"


@pytest.fixture
def tab(site: Site, browser: Browser) -> Iterator[Tab]:
    """Somebody in mid-answer."""
    tab = Tab(browser)
    tab.open(site.url)
    wait_for(lambda: tab.evaluate(STATE) == "live", "the page to be live")
    tab.write(ask(chunks=100, seed="hidden", gate="half", after=50))
    wait_for(lambda: "49:" in tab.evaluate(ANSWER), "half an answer")
    yield tab
    tab.close()


def hide(tab: Tab, browser: Browser) -> None:
    Tab(browser, beside=tab).show()
    wait_for(lambda: tab.evaluate("document.visibilityState") == "hidden", "the tab to be hidden")


def freeze(tab: Tab) -> None:
    tab.evaluate("document.addEventListener('freeze', () => (window.hasFrozen = true))")
    tab.freeze(True)


def test_a_tab_that_has_slept_through_the_rest_of_an_answer_has_it_all(site: Site, browser: Browser, tab: Tab) -> None:
    thread = tab.evaluate("location.pathname").split("/")[2]
    hide(tab, browser)
    freeze(tab)
    site.line.reset()
    site.model.open_gate("half")
    wait_for(lambda: site.messages(thread)[-1]["status"] == "complete", "the end of the answer")
    tab.freeze(False)
    assert tab.evaluate("window.hasFrozen"), "it was awake: then this test shows nothing"
    tab.show()
    wait_for(lambda: tab.evaluate(ANSWER) == shown(clean(full_text(Script(chunks=100, seed="hidden")))), "all of it")
    wait_for(lambda: tab.evaluate(STATE) == "live", "the page to be live")


@pytest.mark.parametrize("asleep", [False, True], ids=["hidden", "frozen"])
def test_back_at_once_when_somebody_looks_at_the_tab_again(
    site: Site, browser: Browser, tab: Tab, asleep: bool
) -> None:
    """Its clock stands still: no timer brings it back."""
    hide(tab, browser)
    tab.stop_clock()
    site.line.reset()
    wait_for(lambda: tab.evaluate("1") == 1 and tab.closed == 1, "the page to notice that its connection was cut")
    before = site.line.accepted
    if asleep:
        freeze(tab)
        tab.freeze(False)
        assert tab.evaluate("window.hasFrozen")
    else:
        tab.show()
    wait_for(lambda: tab.evaluate("1") == 1 and site.line.accepted > before, "another connection")
