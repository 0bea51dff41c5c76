"""The page inside somebody's own project, below a prefix: docs/embedding.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Reader
from tests.browser.test_connection import STREAMS
from tests.conftest import show_on_failure
from tests.servers.embedded import Project
from tests.servers.proxy import Proxy

HOME = "/help/"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"), {"REJOIN_GUESTS": "1"})
    project.set_up()
    with project:
        yield project


@pytest.fixture
def site(request: pytest.FixtureRequest, served: Project) -> Project:
    """In place of the deployment that other modules look at."""
    show_on_failure(request, served)
    return served


def test_a_guest_chats_below_a_prefix_and_finds_the_chat_again(
    site: Project, new_reader: Callable[..., Reader]
) -> None:
    reader = new_reader().open(HOME)
    reader.say("Where do rivers begin?")
    reader.sees("Where do rivers begin?")
    address = f"{site.url}{HOME}c/{reader.thread}/"
    assert reader.page.url == address
    reader.page.reload()
    reader.sees("Where do rivers begin?")
    other = new_reader(like=reader).open(HOME)
    other.item("Where do rivers begin?").get_by_role("link").click()
    other.sees("Where do rivers begin?")
    assert other.page.url == address
    link = other.page.locator('[data-format="markdown"]')
    exported = other.page.request.get(f"{site.url}{link.get_attribute('href')}")
    assert "Where do rivers begin?" in exported.text()
    other.page.goto(f"{HOME}account/data/")
    expect(other.page.get_by_role("main")).to_contain_text("1 chat")


def test_below_a_prefix_the_chat_goes_on_where_no_websocket_gets_through(
    site: Project, new_reader: Callable[..., Reader]
) -> None:
    with Proxy(site.port) as line:
        line.upgrades("refuse")
        reader = new_reader().open(f"http://127.0.0.1:{line.port}{HOME}")
        expect(reader.connection).to_have_attribute("title", STREAMS)
        reader.say("Where do rivers begin?")
        reader.sees("Where do rivers begin?")
