"""Readers of the event streams and the long polls, as plain and strict as tests/client.py is for websockets.

async with EventSource(stack.url, guest_cookie, thread) as source:
    await source.wait_until(lambda: source.held.has_ended(run), "the end")
    assert source.held.text(run) == …
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx2

from tests.client import PATIENCE
from tests.replica import Inbox, Thread
from tests.schema import check


class Event(NamedTuple):
    """One event as an EventSource hands it out: its type, the id that is the last one then, its data."""

    type: str
    id: str
    data: str


class Parser:
    """Bytes of a text/event-stream in, events out, by the HTML standard. What is not ended by an empty line is not one.

    ``last_id`` outlives a connection, as ``retry`` (milliseconds) does; :meth:`begin` drops the rest.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.retry: int | None = None
        self.begin()

    def begin(self) -> None:
        """A new response."""
        self._rest = b""
        self._type, self._data, self._id = "", list[str](), self.last_id

    def feed(self, data: bytes) -> list[Event]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := self._line(line.decode())) is not None]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id":
                self._id = value
            case "retry":
                self.retry = int(value)
            case _:
                raise AssertionError(f"a line that is no field: {line[:200]!r}")
        return None

    def _dispatch(self) -> Event | None:
        kind, data, self._type, self._data = self._type, self._data, "", []
        self.last_id = self._id
        return Event(kind or "message", self.last_id, "\n".join(data)) if data else None


class Follower:
    """What both readers share: ``held`` is what came, applied to a copy that tolerates no gap. A context manager."""

    def __init__(self, url: str, session: str, thread: str | None = None, *, everything: bool = False) -> None:
        """Without a thread: the inbox."""
        self.url = url
        self.path = f"/api/threads/{thread}" if thread else "/api/inbox"
        self.everything = {"all": "1"} if everything else {}
        self.held: Any = Thread(thread) if thread else Inbox()
        self.session = session
        self.responses = 0
        self.failures: list[int] = []
        """Statuses other than 200, and those of errors in a stream."""
        self.gone: dict[str, Any] | None = None
        """Why it has stopped for good."""
        self.news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.wait({self._reading})

    def check(self) -> None:
        """Raises what the reading has broken at, if it has."""
        if self._reading is not None and self._reading.done() and not self._reading.cancelled():
            self._reading.result()

    async def wait_until(self, predicate: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
        """Returns when it holds; looks again at everything that comes. Raises what the reading has broken at."""
        assert self._reading is not None
        try:
            async with asyncio.timeout(seconds):
                while not predicate():
                    if self._reading.done():
                        self._reading.result()
                        raise AssertionError(f"it has stopped ({self.gone}), and waited for {what}")
                    self.news.clear()
                    waiting = asyncio.ensure_future(self.news.wait())
                    await asyncio.wait({waiting, self._reading}, return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
        except TimeoutError:
            raise AssertionError(f"waited {seconds:g} s for {what}") from None

    async def _read(self) -> None:
        limits = httpx2.Timeout(PATIENCE)
        async with httpx2.AsyncClient(cookies={"sessionid": self.session}, timeout=limits, trust_env=False) as http:
            while self.gone is None:
                try:
                    await self._respond(http)
                except httpx2.TransportError:
                    await asyncio.sleep(0.1)

    async def _respond(self, http: httpx2.AsyncClient) -> None:
        """One response, to its end."""
        raise NotImplementedError

    def _refused(self, status: int, error: dict[str, Any]) -> None:
        self.failures.append(status)
        assert error["status"] == status
        if not error["retryable"]:
            self.gone = error
        self.news.set()

    def _apply(self, data: str) -> None:
        frame = json.loads(data)
        check(frame, len(data.encode()))
        if frame["type"] == "heartbeat":
            return
        if frame["type"] == "error":
            assert frame["retryable"], f"an error in the stream: {frame}"
            self.failures.append(frame["status"])
            return
        self.held.apply(frame)
        self.news.set()


class EventSource(Follower):
    """Follows a stream, and comes back by itself with the id of the last event, as a browser's does."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.parser = Parser()
        self.kinds: list[str] = []
        self.sizes: list[int] = []
        """Bytes of each response."""

    async def _respond(self, http: httpx2.AsyncClient) -> None:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self.parser.last_id:
            headers["Last-Event-ID"] = self.parser.last_id
        async with http.stream("GET", f"{self.url}{self.path}/events", params=self.everything, headers=headers) as got:
            if got.status_code != 200:
                self._refused(got.status_code, json.loads(await got.aread()))
                return
            assert got.headers["Content-Type"] == "text/event-stream"
            self.responses += 1
            self.sizes.append(0)
            self.parser.begin()
            async for data in got.aiter_bytes():
                self.sizes[-1] += len(data)
                for event in self.parser.feed(data):
                    self.kinds.append(event.type)
                    assert event.type == json.loads(event.data)["type"]
                    self._apply(event.data)
                    if "cursor" in json.loads(event.data):
                        assert event.id == json.loads(event.data)["cursor"]
        await asyncio.sleep((self.parser.retry or 0) / 1000)


class LongPoller(Follower):
    """Follows by asking again and again."""

    def __init__(self, *args: Any, wait: float = 20, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.wait = wait
        self.cursor = ""

    async def _respond(self, http: httpx2.AsyncClient) -> None:
        query = {"wait": str(self.wait), **self.everything, **({"cursor": self.cursor} if self.cursor else {})}
        got = await http.get(f"{self.url}{self.path}/updates", params=query)
        body = got.json()
        if got.status_code != 200:
            self._refused(got.status_code, body)
            return
        self.responses += 1
        for frame in body["events"]:
            self._apply(json.dumps(frame, ensure_ascii=False))
        self.cursor = body["cursor"]
        if not body["more"]:
            self.held.caught_up = True
            self.news.set()
