"""A server that was set up without the packages from npm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Reader, texts
from tests.browser.site import Site, ask
from tests.browser.test_answers import is_settled
from tests.browser.test_text import MIXED
from tests.markdown.reading import shown
from tests.servers.stack import Templates

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def _site(variant: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("bare")
    settings = {"REJOIN_NODE_MODULES": str(directory / "nothing")}
    templates = Templates(tmp_path_factory.mktemp("templates"), settings)
    with Site(variant, directory=directory, templates=templates, settings=settings) as site:
        yield site


def test_the_check_says_that_they_are_missing(site: Site) -> None:
    with pytest.raises(RuntimeError, match=r"rejoin\.W004"):
        site.manage("check", "--fail-level", "WARNING")


def test_an_answer_is_plain_text_while_it_grows_and_formatted_when_it_is_complete(site: Site, reader: Reader) -> None:
    half = len(MIXED) // 8
    reader.say(ask(text=MIXED, gate="half", after=half))
    for _ in range(2):
        expect(reader.answer).to_have_text(MIXED[: half * 4], use_inner_text=True)
        assert texts(reader.answers) == [MIXED[: half * 4]]
        reader.page.reload()
        expect(reader.connection).to_have_text("Live")
    site.model.open_gate("half")
    reader.sees(MIXED)
    expect(reader.answer.locator(".code .k").first).to_be_visible()
    expect(reader.answer.get_by_role("button", name="Copy")).to_be_visible()
    is_settled(site, reader)


def test_history_stays_as_the_server_has_formatted_it(site: Site, reader: Reader) -> None:
    reader.say(ask(text=MIXED))
    reader.sees(MIXED)
    reader.page.reload()
    expect(reader.connection).to_have_text("Live")
    assert texts(reader.answers) == [shown(MIXED)]
    reader.page.get_by_role("link", name="New chat").first.click()
    reader.items.first.click()
    reader.sees(MIXED)
    is_settled(site, reader)


def test_what_was_on_the_screen_at_stop_is_what_stays(site: Site, reader: Reader) -> None:
    reader.say(ask(text=MIXED * 20, size=5, pause=0.01))
    expect(reader.answer).to_contain_text("inner **one**")
    site.line.delay = 0.25
    reader.composer.press("Escape")
    [screen] = texts(reader.answers)
    expect(reader.messages.last.locator(".note")).to_have_text("Stopped")
    assert site.messages(reader.thread)[-1]["text"] == screen
    reader.sees(screen)
