"""A TCP proxy that misbehaves when told: a network between two processes.

All proxies share one thread with one event loop. Methods may be called from any thread or coroutine, and return when
what they ask for has happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
CHUNK = 64 * 1024
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="proxies", daemon=True).start()
    return loop


def _in_loop(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run_coroutine_threadsafe(method(*args, **kwargs), _loop()).result()

    return call


class Proxy:
    """Listens on ``port`` (loopback) and leads to ``target``. Honest until told otherwise. A context manager.

    ``connections``: how many are open. ``accepted``: how many there ever were. ``carried`` and ``swallowed``: bytes,
    both ways together.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        # Bound for as long as there is the proxy, and never listening: while connections are refused nobody else gets
        # the port, neither a server nor the other end of a connection.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port: int = self._place.getsockname()[1]
        self.accepted = 0
        self.carried = 0
        self.swallowed = 0
        self.delay = 0.0
        """Seconds that everything is held back, each way."""
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._swallowing = self._only_answers = self._holding = False
        self._upgrades: Literal["pass", "refuse", "swallow"] = "pass"
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def connections(self) -> int:
        return len(self._links)

    @_in_loop
    async def reset(self) -> None:
        """Cut every connection, both ends, with a RST: what was on its way is lost."""
        await self._cut(self._links)

    @_in_loop
    async def refuse(self, refusing: bool) -> None:
        """Whether new connections are refused. Those that are open stay."""
        if refusing:
            self._stop_listening()
        elif self._server is None:
            await self._start_listening()

    @_in_loop
    async def swallow(self, swallowing: bool, *, answers: bool = False) -> None:
        """Whether what is sent disappears without a word, as in a tunnel: new connections open, and nothing comes.
        ``answers``: only what the target says; it hears everything.

        At the end of it, connections that have lost something are cut: a stream with a hole in it would be no TCP.
        """
        self._swallowing, self._only_answers = swallowing, answers
        if not swallowing:
            await self._cut({link for link in self._links if link.torn})

    @_in_loop
    async def upgrades(self, what: Literal["pass", "refuse", "swallow"]) -> None:
        """What becomes of requests for a websocket, from now on: a network like this one knows HTTP only."""
        self._upgrades = what
        if what == "pass":
            await self._cut({link for link in self._links if link.torn})

    @_in_loop
    async def hold_streams(self, holding: bool) -> None:
        """Whether event streams that begin from now on are kept back for as long as they last."""
        self._holding = holding
        if not holding:
            await self._cut({link for link in self._links if link.torn})

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The target is gone, inside the block: connections are cut, new ones refused."""
        self.refuse(True)
        self.reset()
        try:
            yield
        finally:
            self.refuse(False)

    @_in_loop
    async def close(self) -> None:
        """The end of it. Repeatable."""
        self._stop_listening()
        self._place.close()
        await self._cut(self._links)

    # inside the loop -------------------------------------------------------------------------------------------

    @_in_loop
    async def _listen(self) -> None:
        await self._start_listening()

    async def _start_listening(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, reuse_port=True)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self, links: set[_Link]) -> None:
        for link in links:
            link.abort()
            link.task.cancel()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(writer)
        link.task = asyncio.create_task(self._lead(link, reader, writer))
        link.task.add_done_callback(lambda _: self._links.discard(link))
        self._links.add(link)

    async def _lead(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target)
            link.writers.append(target_writer)
            await asyncio.gather(
                self._carry(link, reader, target_writer), self._carry(link, target_reader, writer, answer=True)
            )
        except OSError:  # one side broke off: the other learns of it
            link.abort()
        finally:
            for end in link.writers:
                end.close()

    async def _carry(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool = False
    ) -> None:
        """One way of a connection, to its end."""
        while True:
            data = await reader.read(CHUNK)
            if self.delay:
                await asyncio.sleep(self.delay)
            if not answer and self._upgrades != "pass" and b"upgrade: websocket" in data.lower():
                if self._upgrades == "refuse":
                    link.writers[0].write(BAD_GATEWAY)
                    writer.write_eof()
                    return
                link.silent = True
            if answer and self._holding and b"content-type: text/event-stream" in data.lower():
                link.silent = True
            if link.silent or (self._swallowing and (answer or not self._only_answers)):
                link.torn = True
                self.swallowed += len(data)
                if not data:
                    await asyncio.Event().wait()  # not even the end gets through; reset() ends this
                continue
            if not data:
                writer.write_eof()
                return
            self.carried += len(data)
            writer.write(data)
            await writer.drain()


class _Link:
    """One connection through the proxy: its two ends, and the task that carries."""

    task: asyncio.Task[None]

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.torn = False
        """It has lost something."""
        self.silent = False
        """It loses everything, whatever else the proxy does."""

    def abort(self) -> None:
        """End both ends with a RST."""
        for writer in self.writers:
            with contextlib.suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
