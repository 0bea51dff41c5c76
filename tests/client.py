"""The product's client, made strict: every frame is held to the published schema and the protocol's promises.

    async with Client(stack.url, await guest(stack.url)) as client:
        thread = await client.create()
        await client.follow(thread)
        _, run = await client.send(thread, "Hello")
        await client.ended(thread, run)
        assert client.thread(thread).text(run) == …

The first frame that breaks a promise fails whatever the test awaits next. The network can be taken from it.
"""

from __future__ import annotations

import asyncio
import json
import random
import urllib.request
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

from chat.client import Client as ProductClient
from chat.client import Lost, Socket, State
from chat.client.attachments import INBOX
from tests.replica import Broken, Counts, Inbox, Thread
from tests.schema import check, check_command

PATIENCE = 60.0
"""Seconds after which a wait counts as hung."""


async def until(predicate: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    """Returns when it holds; looks every few milliseconds, for what no client hears of."""
    try:
        async with asyncio.timeout(seconds):
            while not predicate():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {seconds:g} s for {what}") from None


async def guest(url: str) -> str:
    """The session cookie of a new guest: a stranger opens the page."""

    def visit() -> str:
        with urllib.request.urlopen(f"{url}/", timeout=30) as response:
            cookies = SimpleCookie("\n".join(response.headers.get_all("Set-Cookie", [])))
        return cookies["sessionid"].value

    return await asyncio.to_thread(visit)


class Line:
    """The socket of a client, looked into: every frame is checked and counted; and the client may be deaf to it."""

    def __init__(self, socket: Socket, client: Client) -> None:
        self._socket = socket
        self._client = client
        self._broken: Broken | None = None

    async def send(self, data: str) -> None:
        frame = json.loads(data)
        try:
            check_command(frame)
        except Broken as broken:
            self._broken = broken  # raised where somebody hears it
            self.abort()
        if frame["type"] != "ack" or self._client.answers:
            await self._socket.send(data)

    async def receive(self) -> str | bytes:
        client = self._client
        await client.reading.wait()
        try:
            data = await self._socket.receive()
        except Lost as lost:
            if self._broken is not None:
                raise self._broken from lost
            client.closes.append(lost.code)
            raise
        client.counts.frames += 1
        client.counts.bytes += len(data)
        check(json.loads(data), len(data))
        return data

    async def close(self) -> None:
        """The network is gone: no goodbye."""
        self.abort()

    def abort(self) -> None:
        self._socket.abort()


class Client(ProductClient):
    """What a person at one device does, and waits for.

    ``answers`` False: heartbeats are not answered. ``closes``: the close codes so far (1006: cut).
    """

    def __init__(self, url: str, session: str | None = None, *, answers: bool = True, **options: Any) -> None:
        self.counts = Counts()
        # The delays of the product, but a hundredth of them: there is no crowd.
        options.setdefault("random", lambda: random.uniform(0.005, 0.01))
        super().__init__(url, session=session, **options)
        self.answers = answers
        self.closes: list[int] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self._beat = 0
        self._news = asyncio.Event()

    # connection ------------------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """The server's welcome has come on a connection that stands, as far as we know."""
        return self.connection.live

    async def open(self) -> Socket:
        line = Line(await super().open(), self)
        self.counts.connections += 1
        return line

    async def disconnect(self) -> None:
        """The network is gone. What is held is kept."""
        await self.close()

    async def connect(self) -> None:
        """Be connected from now on. Returns when the welcome has come."""
        self.start()
        await self.wait_until(lambda: self.live, "the welcome")

    async def reconnect(self) -> None:
        """A new connection; what is held is kept, and followed threads go on from their cursors."""
        await self.disconnect()
        await self.connect()

    async def refresh(self) -> None:
        """As a browser's: everything held is forgotten, the same threads are opened again. Returns when connected."""
        await self.disconnect()
        self.forget()
        await self.connect()

    def forget(self) -> None:
        """Everything held is forgotten. Not while it is connected."""
        self.inbox = self.new_inbox()
        self._transcripts = {pk: self._anew(held) for pk, held in self._transcripts.items()}

    def _anew(self, held: Thread) -> Thread:
        empty = self.new_transcript(held.id)
        empty.whole = held.whole
        return empty

    def stop_reading(self) -> None:
        """Read no frame until :meth:`go_on_reading`: the connection fills up."""
        self.reading.clear()

    def go_on_reading(self) -> None:
        self.reading.set()

    async def wait_until(self, predicate: Callable[[], Any], what: str = "", seconds: float = PATIENCE) -> None:
        """Returns when it holds; looks again after each frame. Raises what is wrong with the server meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while not predicate():
                    if self.error is not None:
                        raise self.error
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"waited {seconds:g} s for {what}; closes {self.closes}") from None

    # what is held ----------------------------------------------------------------------------------------------

    def new_transcript(self, thread: str) -> Thread:
        return Thread(thread, self.counts)

    def new_inbox(self) -> Inbox:
        return Inbox(self.counts)

    def transcript(self, thread: str) -> dict[str, tuple[str, str, str, int]]:
        """{message: (text, reasoning, status, reasoning_ms)}."""
        return self.thread(thread).transcript()

    async def caught_up(self, thread: str) -> Thread:
        """Returns when the thread is (after a reconnect: again). Raises if it can't be attached."""
        await self.thread(thread).until(lambda: self.thread(thread).caught_up)
        return self.thread(thread)

    async def caught_up_inbox(self) -> Inbox:
        """Returns when the inbox is (after a reconnect: again)."""
        return await self.inbox.until(lambda: self.inbox.caught_up)  # type: ignore[return-value]

    async def ended(self, thread: str, run: str) -> dict[str, Any]:
        """The run's row, when it has come to an end."""
        await self.wait_until(lambda: self.thread(thread).has_ended(run), f"the end of run {run}")
        return self.thread(thread).runs[run]

    async def text_of(self, thread: str, run: str, length: int = 1) -> str:
        """The run's text, when there is so much of it."""
        await self.wait_until(lambda: len(self.thread(thread).text(run)) >= length, f"text of run {run}")
        return self.thread(thread).text(run)

    # what a server promises ------------------------------------------------------------------------------------

    def became(self, state: State) -> None:
        super().became(state)
        self._news.set()

    def receive(self, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if kind == "welcome":
            self._beat = 0
        elif kind == "heartbeat":
            self.counts.heartbeats += 1
            if frame["n"] <= self._beat:
                raise Broken(f"the heartbeat after {self._beat} has the number {frame['n']}")
            self._beat = frame["n"]
        elif kind == "reply":
            self._check_reply(frame)
        elif kind != "error" and (topic := frame.get("thread", INBOX)) not in self._attached:
            raise Broken(f"an event of a thread that is not attached: {topic} {str(frame)[:500]}")
        super().receive(frame)
        self._news.set()

    @property
    def _attached(self) -> set[str]:
        """What the server may send events of."""
        return {*self._attachments.followed, *self._attachments.detaching}

    def _check_reply(self, frame: dict[str, Any]) -> None:
        pk, result = frame["id"], frame["result"]
        command = next((command for command in self.outbox.unanswered if command["id"] == pk), None)
        if command is None:
            if not self._attachments.awaits(pk):
                raise Broken(f"a reply to nothing: {frame}")
        elif self._attachments.hears(thread := command.get("thread", "")) and self.thread(thread).version < result.get(
            "version", 0
        ):
            raise Broken(f"the reply to {command['type']} came before its change: {result}")
