"""The chat page in a browser: what an answer that streams in costs its main thread, and how soon it is there.

The deployment is the embedded one, with daphne and a scripted model; the browser is the tests' Chromium.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from tests.browser.site import Site
from tests.servers.stack import Templates

SIZE = 100_000
"""Characters of an answer."""
BATCH = 20
"""Characters that the model says at once."""
MESSAGES = 3_000
PATIENCE = 600
"""Seconds after which an answer counts as never coming."""
LOOK = 1_000
"""Milliseconds between two looks whether it is complete: each takes time of the page's own main thread."""
AFTER = 3_000
"""Milliseconds after it is complete, in which code gets its colours. They are measured, too."""
COMPLETE = '.message[data-role="assistant"][data-status="complete"]'
SECTION = """\
## Section {number}

A paragraph with **bold words**, some `code`, a [link](https://example.org/) and enough of everything to run over
several lines of a screen, as paragraphs do. Then comes a list, and what lists have in them:

- one thing, *stressed*
- another thing
  - with something below it
  - and more of that
- a third thing, `with_code`

| name | count | what for |
|------|------:|----------|
| alpha | 1 | the first |
| beta | 22 | the second |

```python
def section_{number}(values: list[int]) -> int:
    total = 0
    for value in values:
        total += value * {number}
    return total
```

"""
GROW = """
from chat.models import Message, Thread
thread = Thread(owner_id={user}, title="Long", version=1, row_version=1)
thread.touch_item()
thread.save()
for number in range({messages}):
    thread.version += 1
    thread.head = Message.objects.create(
        thread=thread, parent_id=thread.head_id, role="assistant" if number % 2 else "user", status="complete",
        text=f"**message** {{number}}", version=thread.version,
    )
thread.row_version = thread.version
thread.save()
print(thread.pk)
"""


def mixed(size: int = SIZE) -> str:
    """Of everything."""
    return "".join(SECTION.format(number=number) for number in range(size // 400))[:size]


KINDS = {
    "mixed": mixed(),
    "one list": "".join(f"- item {number} with **some** words\n" for number in range(SIZE // 30))[:SIZE],
    "one piece of code": "```python\n" + "".join(f"value_{n} = {n}  # {n}\n" for n in range(SIZE // 20))[: SIZE - 10],
}
"""Answers. The last two are one block from begin to end."""


@dataclass(frozen=True)
class Figures:
    """Of one answer, in seconds and bytes. ``wall`` aside, the seconds are the main thread's own, whatever else the
    machine does."""

    wall: float
    main: float
    script: float
    layout: float
    longest: float
    """Of all tasks from the question to when the last colour is there."""
    memory: float
    """By how much the page's process has grown with it, nodes and all, garbage collected."""


@contextmanager
def site() -> Iterator[tuple[Site, Browser]]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory(prefix="rejoin-bench-") as name, sync_playwright() as playwright:
        directory = Path(name)
        with Site("sqlite+embedded+daphne", directory=directory, templates=Templates(directory)) as found:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            yield found, browser
            browser.close()


def stream(site: Site, browser: Browser, text: str, rate: int) -> Figures:
    """Ask for the text, and watch it come at so many characters a second."""
    page = _open(site, browser)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    site.model.control("scripts", {"answer": {"text": text, "size": BATCH, "pause": BATCH / rate}})
    held, before = _memory(browser, session), _metrics(session)
    browser.start_tracing(page=page, categories=["toplevel"])
    begin = time.monotonic()
    page.get_by_label("Message", exact=True).fill("script:answer")
    page.keyboard.press("Enter")
    while not page.locator(COMPLETE).count():
        assert time.monotonic() - begin < PATIENCE, "the answer never ends"
        page.wait_for_timeout(LOOK)
    wall = time.monotonic() - begin
    page.wait_for_timeout(AFTER)
    process, longest = _longest_task(browser.stop_tracing())
    after, memory = _metrics(session), _memory(browser, session)
    page.context.close()
    main, script, layout = (after[name] - before[name] for name in ("TaskDuration", "ScriptDuration", "LayoutDuration"))
    return Figures(wall, main, script, layout, longest, memory[process] - held[process])


def long_thread(site: Site, browser: Browser) -> float:
    """Seconds from asking for a thread of MESSAGES messages to when its last one is painted."""
    page = _open(site, browser)
    user = page.locator("body").get_attribute("data-user")
    thread = site.manage("shell", "-v", "0", "-c", GROW.format(user=user, messages=MESSAGES)).strip()
    page.goto(f"/c/{thread}/")  # once, as somebody who was here before
    page.goto(f"/c/{thread}/")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    last = page.locator("#log .message").last
    assert f"message {MESSAGES - 1}" in (last.text_content() or "")
    assert last.evaluate("node => node.getBoundingClientRect().bottom <= innerHeight"), "the last message is in sight"
    painted = float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    page.context.close()
    return painted / 1000


def _open(site: Site, browser: Browser) -> Page:
    page = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 800}).new_page()
    page.goto("/")
    page.wait_for_selector('#connection[data-state="live"]')
    return page


def _longest_task(trace: bytes) -> tuple[int, float]:
    """The page's process, which is the one that did most, and how many seconds its main thread had for its longest
    task."""
    events = json.loads(trace)["traceEvents"]
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks: dict[int, list[float]] = {pid: [] for pid, _ in main}
    for event in events:
        if (event["pid"], event["tid"]) in main:
            tasks[event["pid"]].append(event.get("tdur", 0))
    process = max(tasks, key=lambda pid: sum(tasks[pid]))
    return process, max(tasks[process]) / 1e6


def _memory(browser: Browser, session: CDPSession) -> dict[int, int]:
    """Bytes of each process that has a page, after a garbage collection; what it shares counts in part."""
    session.send("HeapProfiler.collectGarbage")
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return {one["id"]: _held(one["id"]) for one in processes if one["type"] == "renderer"}


def _held(process: int) -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _metrics(session: CDPSession) -> dict[str, float]:
    found = session.send("Performance.getMetrics")["metrics"]
    return {metric["name"]: metric["value"] for metric in found}
