"""A whole Rejoin to look at in a browser, with a scripted model, and a network that can be cut."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from playwright.sync_api import Browser

from tests.servers.proxy import Proxy
from tests.servers.stack import Stack, Web

MESSAGES = "SELECT id, role, status, text FROM chat_message WHERE thread_id = {} ORDER BY created_at, id"
RUNS = "SELECT id, state FROM chat_run WHERE thread_id = {} ORDER BY created_at, id"


class Site(Stack):
    """A deployment with one web server, ``server``, which the browser reaches by way of ``line``."""

    @property
    def server(self) -> Web:
        return self.web[0]

    @property
    def line(self) -> Proxy:
        return self.server.clients

    def renew(self) -> None:
        """Everything as at the beginning, except for what is in the database."""
        self.model.reset()
        self.line.delay = 0.0
        self.line.refuse(False)
        self.line.swallow(False)
        self.line.upgrades("pass")
        self.line.hold_streams(False)
        for process in self.processes:
            if not process.running:
                process.start()

    def messages(self, thread: str) -> list[dict[str, Any]]:
        """The thread's messages in the database, oldest first."""
        rows = self._rows(MESSAGES, thread)
        return [dict(zip(("id", "role", "status", "text"), row, strict=True)) for row in rows]

    def runs(self, thread: str) -> list[str]:
        """The states of the thread's runs in the database, oldest first."""
        return [state for _, state in self._rows(RUNS, thread)]

    def _rows(self, query: str, thread: str) -> list[tuple[Any, ...]]:
        if self.postgres is not None:
            with psycopg.connect(self.database_url) as postgres:
                return postgres.execute(query.format("%s"), [UUID(thread)]).fetchall()
        with closing(sqlite3.connect(self.database_url.removeprefix("sqlite:///"), timeout=30)) as sqlite:
            return sqlite.execute(query.format("?"), [UUID(thread).hex]).fetchall()


@dataclass
class Visit:
    """What a browser fetches, in bytes as they travel: the files' contents, and these with the heads of the responses,
    which HTTP/1.1 does not compress."""

    files: int = 0
    contents: int = 0
    whole: float = 0


def first_visit(site: Site, browser: Browser) -> Visit:
    """What somebody fetches who has never been here: page, styles, modules, icons."""
    page = browser.new_context(base_url=site.url).new_page()
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    visit = Visit()

    def finished(event: dict[str, Any]) -> None:
        visit.files += 1
        visit.whole += event["encodedDataLength"]

    def received(event: dict[str, Any]) -> None:
        visit.contents += event["encodedDataLength"]

    session.on("Network.loadingFinished", finished)
    session.on("Network.dataReceived", received)
    page.goto("/", wait_until="networkidle")
    page.context.close()
    return visit


def ask(**script: Any) -> str:
    """What to write so that the scripted model does this."""
    return "Please " + json.dumps(script, ensure_ascii=False)
