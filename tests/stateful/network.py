"""The network between viewers and web processes: all takes a moment, and may be cut at any."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from chat.client import Lost
from chat.client.transport import ABNORMAL

HOST = (b"host", b"testserver")
ROOM = (4, 10**9)
"""Messages that a server hands out before it waits for its reader: uvicorn soon does, daphne never."""


class _Way:
    """What both kinds share: delays, and how the server learns that nobody is there any more."""

    def __init__(self, world: Any) -> None:
        self._world = world

    def _delay(self) -> float:
        return float(self._world.rng.uniform(0.0005, 0.01))

    def _notice(self) -> float:
        """Seconds until the server learns it: until then it talks into the void."""
        return float(self._world.rng.choice((0.001, 0.001, 5.0)))


class Wire(_Way):
    """A websocket, as :class:`chat.client.Socket`. ``reader.slow``: seconds that each frame takes to read."""

    def __init__(self, world: Any, reader: Any) -> None:
        super().__init__(world)
        self._reader = reader
        self._inbound: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbound: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._cut = False
        self._due = 0.0
        self._inbound.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/ws/chat/",
            "query_string": b"",
            "headers": [HOST, (b"origin", b"http://testserver"), (b"cookie", world.cookie.encode())],
            "subprotocols": ["rejoin.v1"],
        }
        server = world.serve(scope, self._inbound.get, self._outbound.put)
        server.add_done_callback(lambda _: self._outbound.put_nowait({"type": "websocket.close", "code": ABNORMAL}))

    async def send(self, data: str) -> None:
        if self._cut:
            raise Lost
        self._pass({"type": "websocket.receive", "text": data}, self._delay())

    def _pass(self, message: dict[str, Any], delay: float) -> None:
        """To the server, after all before it."""
        loop = self._world.loop
        self._due = max(self._due + 1e-6, loop.time() + delay)
        loop.call_at(self._due, self._inbound.put_nowait, message)

    async def receive(self) -> bytes:
        while True:
            message = await self._outbound.get()
            await asyncio.sleep(self._delay() + self._reader.slow)
            if message["type"] == "websocket.close":
                raise Lost(message["code"])
            if message["type"] == "websocket.send":
                return bytes(message["text"].encode())

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._cut:
            self._cut = True
            self._pass({"type": "websocket.disconnect", "code": ABNORMAL}, self._notice())


class Exchange(_Way):
    """One HTTP request and its response, by the bearer of the world's token. A context manager: whoever leaves it
    before the response has ended has hung up."""

    def __init__(
        self, world: Any, method: str, path: str, body: bytes = b"", *, headers: Any = None, **query: str
    ) -> None:
        super().__init__(world)
        self.status = 0
        self._body = body
        given = {"authorization": f"Bearer {world.token}", **(headers or {})}
        if body:
            given |= {"content-type": "application/json", "content-length": str(len(body))}
        self._scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": urlencode(query).encode(),
            "headers": [HOST, *((name.encode(), value.encode()) for name, value in given.items())],
        }
        self._asked = False
        self._hung_up = asyncio.Event()
        self._room = asyncio.Semaphore(world.rng.choice(ROOM))
        self._messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        """Returns when the response has begun. Raises Lost."""
        await asyncio.sleep(self._delay())
        server = self._world.serve(self._scope, self._receive, self._send)
        server.add_done_callback(lambda _: self._messages.put_nowait(None))
        try:
            self.status = (await self._next())["status"]
        except BaseException:
            self._hang_up()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        self._world.loop.call_later(self._notice(), self._hung_up.set)

    async def chunks(self) -> Any:
        """The body as it comes. Raises Lost if it breaks off."""
        while True:
            message = await self._next()
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def read(self) -> bytes:
        """The whole body. Raises Lost if it breaks off."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def _next(self) -> dict[str, Any]:
        message = await self._messages.get()
        await asyncio.sleep(self._delay())
        self._room.release()
        if message is None:
            raise Lost
        return message

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self._room.acquire()
        self._messages.put_nowait(message)
