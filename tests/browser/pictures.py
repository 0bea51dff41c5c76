"""Makes docs/pictures: the page as it is, with the demo model in the middle of an answer, and when things go wrong.

make pictures
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from chat import conf
from tests.browser.conftest import wait_for
from tests.servers.process import ROOT
from tests.servers.proxy import Proxy
from tests.servers.stack import Stack, Templates

AWAY = {"base_url": "http://127.0.0.1:9/v1", "model": "away", "max_retries": 0}
AUTHORS = {"members": {"Ada": "demo/demo", "Grace": "demo/demo"}}
PROVIDERS = {
    "demo": conf.DEMO["demo"],
    "panel": {**conf.DEMO["panel"], "options": AUTHORS},
    "away": {"path": "chat.providers.openai.OpenAIProvider", "options": AWAY},
}
PICTURES = ROOT / "docs" / "pictures"
WIDE = {"width": 1120, "height": 700}
PHONE = {"width": 390, "height": 720}
EARLIER = ("What exactly does Stop do?", "Can I ask a second question while you write?", "Where is everything kept?")
QUESTION = "How does an answer survive when I close the tab?"
NEXT = "And what if the worker dies?"


def main() -> None:
    """Start a server with everything inside, look at it in three ways, and end it."""
    chromium = next(filter(None, (os.environ.get("CHROMIUM"), shutil.which("chromium"))), None)
    if chromium is None:
        sys.exit("There is no chromium on PATH nor in the variable CHROMIUM.")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        templates = Templates(directory)
        settings = {"REJOIN_PROVIDERS": json.dumps(PROVIDERS), "REJOIN_MODELS": "demo,panel/all,away/away"}
        with (
            Stack("sqlite+embedded+daphne", directory=directory, templates=templates, settings=settings) as stack,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            take(browser, stack.url)
            take_several(browser, stack.url)
            take_trouble(browser, stack.url, stack.web[0].clients)
            browser.close()


def take(browser: Browser, address: str) -> None:
    """In mid-answer with a message that waits: wide, on a phone, dark."""
    wide = browser.new_context(base_url=address, viewport=WIDE).new_page()
    for question in EARLIER:
        ask(wide, question)
        expect(wide.locator("#items")).to_contain_text(question)
    ask(wide, QUESTION)
    expect(wide.locator('.message[data-role="assistant"] .text')).to_contain_text("The text so far")
    wide.get_by_label("Message", exact=True).fill(NEXT)
    wide.keyboard.press("Enter")
    expect(wide.locator("#queue .note")).to_have_text("Queued: next")
    wide.wait_for_timeout(700)  # for what fades in
    wide.screenshot(path=PICTURES / "wide.png")
    state = wide.context.storage_state()
    path = wide.url.removeprefix(address)
    phone = browser.new_context(base_url=address, viewport=PHONE, is_mobile=True, has_touch=True, storage_state=state)
    look(phone.new_page(), path, "phone.png")
    dark = browser.new_context(base_url=address, viewport=WIDE, color_scheme="dark", storage_state=state)
    look(dark.new_page(), path, "dark.png")


def take_several(browser: Browser, address: str) -> None:
    """Two authors, side by side."""
    page = browser.new_context(base_url=address, viewport=WIDE).new_page()
    ask(page, "Who is right about tabs and spaces?", model="panel/all", answers=2)
    for answer in page.locator('.message[data-role="assistant"] .text').all():
        wait_for(lambda answer=answer: len(answer.text_content() or "") > 250, "some words of each")
    page.screenshot(path=PICTURES / "panel.png")


def take_trouble(browser: Browser, address: str, line: Proxy) -> None:
    """A model that can't be reached, and a connection that was lost in mid-answer."""
    page = browser.new_context(base_url=address, viewport=WIDE).new_page()
    ask(page, "How far is it to the station?", model="away/away", answers=0)
    expect(page.locator("#life")).to_contain_text("can't be reached")
    page.screenshot(path=PICTURES / "failed.png")
    ask(page, QUESTION, model="demo")
    expect(page.locator('.message[data-role="assistant"] .text')).to_contain_text("The text so far")
    line.refuse(True)
    line.reset()
    expect(page.locator("#connection")).to_contain_text("Reconnecting in")
    page.wait_for_timeout(700)
    page.screenshot(path=PICTURES / "reconnecting.png")


def ask(page: Page, question: str, *, model: str = "", answers: int = 1) -> None:
    page.goto("/")
    expect(page.locator("#connection")).to_have_text("Live")
    if model:
        page.locator("#model").select_option(model)
    page.get_by_label("Message", exact=True).fill(question)
    page.keyboard.press("Enter")
    expect(page.locator('.message[data-role="assistant"]')).to_have_count(answers)


def look(page: Page, path: str, name: str) -> None:
    page.goto(path)
    expect(page.locator("#connection")).to_have_text("Live")
    page.wait_for_timeout(700)
    page.screenshot(path=PICTURES / name)


if __name__ == "__main__":
    main()
