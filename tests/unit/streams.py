"""Requests for event streams and long polls, through the project's own routing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from fnmatch import fnmatch
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User

from chat.errors import BadMethod
from chat.process import Process
from chat.routing import with_streams
from tests.schema import check
from tests.sse import Event, Parser
from tests.unit.caller import followings, validate
from tests.unit.sockets import sign_in


def described(path: str) -> dict[str, Any]:
    """What the OpenAPI document says of the responses of this address, if it is one of an event stream or long poll."""
    for _, known, operation in followings().values():
        if fnmatch(path, known.replace("{thread}", "*")):
            responses: dict[str, Any] = operation["responses"]
            return responses
    return {}


class Exchange:
    """One request of a client that reads as it likes. Every event that comes is held to the published schema, and every
    response to the OpenAPI document."""

    def __init__(self, process: Process, path: str, query: str = "", method: str = "GET", **headers: str) -> None:
        given = {"host": "testserver"} | headers
        self.process = process
        self._described = described(path)
        self._scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
            "rejoin": process,
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.chunks: list[int] = []
        """Sizes."""
        self.whole = False
        """Whether the response has come to its proper end."""
        self.reads = asyncio.Event()
        """Cleared: the client takes nothing in, and the server lets it be felt, as uvicorn does."""
        self.reads.set()
        self._left = asyncio.Event()
        self._parser = Parser()
        self._parsed = 0
        self._news = asyncio.Event()
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await with_streams(_pages)(self._scope, self._receive, self._send)
        finally:
            self._news.set()

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        assert not self.whole, "the response has ended"
        await self.reads.wait()
        if message["type"] == "http.response.start":
            assert not self.status
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            assert self.status
            self.body += message.get("body", b"")
            self.chunks.append(len(message.get("body", b"")))
            self.whole = not message.get("more_body", False)
        self._news.set()

    @property
    def open(self) -> bool:
        return not self.task.done()

    @property
    def retry(self) -> int | None:
        """Milliseconds."""
        self._parse()
        return self._parser.retry

    def leave(self) -> None:
        self._left.set()

    def tick(self, seconds: float) -> None:
        """So much time has passed."""
        for connection in list(self.process.connections):
            connection.tick(asyncio.get_running_loop().time() + seconds)

    def _parse(self) -> None:
        for event in self._parser.feed(self.body[self._parsed :]):
            check(json.loads(event.data), len(event.data.encode()))
            assert event.type in self._described["200"]["content"]["text/event-stream"]["x-events"]
            self.events.append(event)
        self._parsed = len(self.body)

    async def until(self, *types: str) -> list[dict[str, Any]]:
        """All events since the last call, up to the first of one of these types. A response that ends without is a
        failure."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while True:
                self._parse()
                while self.events:
                    found.append(json.loads(self.events.pop(0).data))
                    if found[-1]["type"] in types:
                        return found
                assert self.open, f"the response has ended after {[event['type'] for event in found]}"
                self._news.clear()
                await self._news.wait()

    async def rest(self) -> list[dict[str, Any]]:
        """All events since the last call, up to the response's end."""
        async with asyncio.timeout(10):
            await self.task
        self._parse()
        events, self.events = self.events, []
        return [json.loads(event.data) for event in events]

    async def json(self) -> dict[str, Any]:
        """The body of a response that is one object."""
        async with asyncio.timeout(10):
            await self.task
        assert self.whole
        assert int(self.headers["content-length"]) == len(self.body)
        value: dict[str, Any] = json.loads(self.body)
        if self._described and self.status != BadMethod.status:
            validate(value, self._described[str(self.status)]["content"]["application/json"]["schema"])
        return value

    async def silent(self) -> bool:
        """Nothing more comes for a moment."""
        before = len(self.body), self.open
        await asyncio.sleep(0.1)
        return before == (len(self.body), self.open)


async def _pages(scope: Any, receive: Any, send: Any) -> None:
    """Where requests go that are for Django."""
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body"})


Asks = Callable[..., Awaitable[Exchange]]


async def cookie_of(user: User) -> str:
    """The Cookie header of a user who has signed in."""
    return f"{settings.SESSION_COOKIE_NAME}={await sync_to_async(sign_in)(user)}"
