"""A browser, and a Rejoin to look at. What a page complains about itself fails the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocket, expect, sync_playwright

from tests.browser.site import Site
from tests.conftest import show_on_failure
from tests.markdown.reading import shown
from tests.replica import Broken
from tests.schema import check, check_command
from tests.servers.stack import Templates

PATIENCE = 60_000
"""Milliseconds after which something that does not come counts as never coming. A page may wait for half of it until it
tries again to connect."""


@pytest.fixture(scope="module")
def variant() -> str:
    """The deployment that a module's tests look at. Modules may have others."""
    return "sqlite+embedded+daphne"


@pytest.fixture(scope="module")
def configured() -> dict[str, str]:
    """What is set in its environment. Modules may have more."""
    return {}


@pytest.fixture(scope="module")
def _site(
    request: pytest.FixtureRequest,
    variant: str,
    configured: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    _templates: Templates,
) -> Iterator[Site]:
    servers = {name: request.getfixturevalue(f"_{name}") for name in ("postgres", "redis") if name in variant}
    if "redis" in servers:
        servers["redis"].renew()
    directory = tmp_path_factory.mktemp("site")
    with Site(variant, directory=directory, templates=_templates, settings=configured, **servers) as site:
        yield site


@pytest.fixture
def site(request: pytest.FixtureRequest, _site: Site) -> Site:
    """A Rejoin that the test may do to what it likes."""
    _site.renew()
    show_on_failure(request, *_site.processes)
    return _site


@pytest.fixture(scope="module")  # no longer: Playwright's loop runs in this thread, and asynchronous tests need theirs
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


class Reader:
    """A person with a page open: what is seen and done, in the page's own words."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.composer = page.get_by_label("Message", exact=True)
        self.messages = page.locator("#log .message")
        self.answers = page.locator('.message[data-role="assistant"] .text')
        self.answer = self.answers.last
        self.queued = page.locator("#queue .message")
        self.life = page.locator("#life")
        self.connection = page.locator("#connection")
        self.items = page.locator("#items .item")

    def may_undo_for_long(self) -> Reader:
        """Pages that are opened from now on let everything be undone for ten minutes: a slow machine can't miss it."""
        self.page.add_init_script(UNHURRIED)
        return self

    def open(self, path: str = "/") -> Reader:
        """Look at a page, and wait until it is live."""
        self.page.goto(path)
        expect(self.connection).to_have_text("Live")
        return self

    def say(self, text: str) -> None:
        self.composer.fill(text)
        self.composer.press("Enter")

    def sees(self, text: str) -> None:
        """The last answer becomes what this Markdown looks like, exactly, white space included."""
        wanted, seen = shown(text), [""]

        def is_seen() -> bool:
            seen[:] = texts(self.answers)[-1:]
            return seen == [wanted]

        wait_for(is_seen, lambda: f"the answer to be {wanted!r}, not {seen}")

    def does(self, name: str, message: Locator | None = None) -> None:
        """Presses a button: of a message, by default the last one on the path that has it."""
        where = message or self.page.locator("#log")
        where.get_by_role("button", name=name, exact=True).last.click()

    def is_at_rest(self) -> None:
        """Nothing is written, and nothing waits."""
        expect(self.messages.last).to_have_attribute("data-role", "assistant")
        expect(self.page.locator('.message:is([data-status="streaming"], [data-status="queued"])')).to_have_count(0)
        expect(self.page.get_by_role("button", name="Stop the answer")).to_be_hidden()

    def scrolls_through_all_chats(self) -> None:
        """The list of chats, down to its end: there are no older ones."""
        while self.page.get_by_role("button", name="Show older chats").is_visible():
            self.page.locator("#chats").evaluate("node => node.scrollTo(0, node.scrollHeight)")

    @property
    def thread(self) -> str:
        """The id of the chat that is shown, from its address."""
        wait_for(lambda: "/c/" in self.page.url, "the address of a chat")
        return self.page.url.split("/c/")[1].strip("/")

    def item(self, title: str) -> Locator:
        return self.items.filter(has_text=title)


UNHURRIED = """
  const wait = setTimeout;
  globalThis.setTimeout = (callback, delay, ...rest) => wait(callback, delay === 8000 ? 600_000 : delay, ...rest);
"""

TEXTS = """
  window.textOf = (node) => {
    const copy = node.cloneNode(true);
    for (const button of copy.querySelectorAll("button")) button.remove();
    return copy.textContent;
  };
"""


def texts(nodes: Locator) -> list[str]:
    """What stands in each of the nodes, buttons aside."""
    found: list[str] = nodes.evaluate_all(f"nodes => {{ {TEXTS} return nodes.map(textOf); }}")
    return found


def growth(pictures: Sequence[str], source: str) -> list[int]:
    """Of how much of the source each picture of an answer is, where none may be of less than the one before. (Of its
    text, a reader may well see less: marks that become formatting go away.) Fails for a picture that is of none."""
    lengths = []
    length = 0
    for picture in pictures:
        while (there := shown(source[:length])) != picture:
            assert length < len(source), f"a picture of nothing that came after {length} characters: {picture[-200:]!r}"
            # Far from it, in strides; near it, one by one: a single character may bring others with it.
            missing = len(picture) - len(there)
            length += missing // 2 if missing > 60 else 1
        lengths.append(length)
    return lengths


def wait_for(condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
    """Returns when the condition holds; a guard against hangs, no promise of speed. ``what`` is said of a failure."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what if isinstance(what, str) else what()}"
        time.sleep(0.02)


@pytest.fixture
def new_reader(site: Site, browser: Browser) -> Iterator[Callable[..., Reader]]:
    """Makes readers, each with a browser of their own; ``like`` another one: signed in as the same person."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def make(like: Reader | None = None, **options: Any) -> Reader:
        state = like.page.context.storage_state() if like else None
        context = browser.new_context(base_url=site.url, storage_state=state, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("websocket", lambda socket: watch(socket, complaints))
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message.text) else None)
        return Reader(page)

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


def watch(socket: WebSocket, complaints: list[str]) -> None:
    """Hold every frame, either way, to the published schema."""

    def hold(check: Callable[[dict[str, Any]], None], payload: str | bytes) -> None:
        try:
            check(json.loads(payload))
        except Broken as broken:
            complaints.append(str(broken))

    socket.on("framesent", lambda payload: hold(check_command, payload))
    socket.on("framereceived", lambda payload: hold(lambda frame: check(frame, len(payload.encode())), payload))


def is_complaint(text: str) -> bool:
    """Of the console. A connection that a test cuts is none, nor is a page that is not there."""
    return "Content Security Policy" in text or "Uncaught" in text


@pytest.fixture
def patient(new_reader: Callable[..., Reader]) -> Reader:
    """Somebody whose page, without its connection, always waits as long as it may: 0.25 s, 0.5 s, 1 s, … 30 s."""
    reader = new_reader()
    reader.page.add_init_script("Math.random = () => 0.99")
    return reader.open()


@pytest.fixture
def reader(new_reader: Callable[..., Reader]) -> Reader:
    """Somebody at the beginning of a new chat."""
    return new_reader().open()
