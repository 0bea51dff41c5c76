"""Sockets that read answers, by the plain websockets client, and note when each frame came.

While a measurement runs they do as little as they can: frames are looked into afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.script import Script
from chat.protocol import PROTOCOL

AT_ONCE = 10
"""People who come at one time where it does not matter how long that takes."""
INBOX = "inbox"
PATIENCE = 60.0
"""Seconds until something that was asked for and does not come is an error."""


async def take_places(address: str, sessions: Sequence[str]) -> list[tuple[RejoinViewer, str]]:
    """Each of these people at a thread of their own, which is new and empty: (viewer, thread)."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def come(session: str) -> tuple[RejoinViewer, str]:
        async with gate:
            viewer, thread = RejoinViewer(session), str(uuid4())
            await viewer.open(address)
            await viewer.create(thread)
            await viewer.attach(thread)
            return viewer, thread

    return await asyncio.gather(*map(come, sessions))


@dataclass(frozen=True)
class CaughtUp:
    """What it took to catch up: from the command to ``caught_up``, and the frames up to there."""

    seconds: float
    frames: list[bytes]

    @property
    def size(self) -> int:
        """Bytes of the frames."""
        return sum(map(len, self.frames))


class Viewer:
    """One socket. ``frames``: (when it was read, by the monotonic clock; the frame)."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, bytes]] = []
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None

    async def _open(self, url: str, **options: Any) -> None:
        socket = await connect(
            url, compression=None, max_size=None, ping_interval=None, open_timeout=PATIENCE, proxy=None, **options
        )
        self._socket = socket
        self._reading = asyncio.create_task(self._read(socket))

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._take(await socket.recv(decode=False))

    async def _take(self, frame: bytes) -> None:
        self.frames.append((time.monotonic(), frame))
        if not frame.startswith(b'{"type":"delta"'):
            await self._notice(frame)

    async def _notice(self, frame: bytes) -> None:
        """Something other than an answer's text came."""

    async def _send(self, message: str | bytes) -> None:
        assert self._socket is not None
        await self._socket.send(message, text=True)

    async def close(self) -> None:
        assert self._socket is not None and self._reading is not None
        await self._socket.close()
        await self._reading


class RejoinViewer(Viewer):
    """Somebody who is signed in. It acknowledges heartbeats, as every client does."""

    def __init__(self, session: str) -> None:
        super().__init__()
        self._session = session
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def open(self, address: str) -> None:
        """Connect, and be welcome."""
        welcome = self._expect("welcome")
        await self._open(
            f"ws://{address}/ws/chat/",
            origin=f"http://{address}",
            subprotocols=[PROTOCOL],
            additional_headers={"Cookie": f"sessionid={self._session}"},
        )
        await welcome

    async def command(self, kind: str, command: str = "", **fields: Any) -> dict[str, Any]:
        """Send a command; returns its reply's result."""
        command = command or str(uuid4())
        reply = self._expect(command)
        await self._send(orjson.dumps({"id": command, "type": kind, **fields}))
        result: dict[str, Any] = (await reply)["result"]
        return result

    async def create(self, thread: str) -> None:
        """A thread of one's own. Repeatable."""
        await self.command("create", command=str(uuid5(UUID(thread), "create")), thread=thread)

    async def attach(self, thread: str, cursor: str | None = None, *, everything: bool = False) -> CaughtUp:
        """Returns when this viewer has all that there is in the thread (or in INBOX)."""
        since, begun = len(self.frames), time.monotonic()
        caught_up = self._expect(f"caught_up {thread}")
        named = {"inbox": True} if thread == INBOX else {"thread": thread}
        await self.command("attach", **named, all=everything, **({"cursor": cursor} if cursor else {}))
        end = orjson.dumps(await caught_up)
        frames = self.frames[since:]
        last = next(n for n, (_, frame) in enumerate(frames) if frame == end)
        return CaughtUp(frames[last][0] - begun, [frame for _, frame in frames[: last + 1]])

    async def ask(self, thread: str, script: Script, model: str) -> str:
        """Have the model say the script. Returns the run's id."""
        run = str(uuid4())
        await self.command("send", thread=thread, message=str(uuid4()), run=run, text=str(script), model=model)
        return run

    def ended(self, run: str) -> asyncio.Future[dict[str, Any]]:
        """The change that tells of the run's end, if that is still to come."""
        return self._expect(f"ended {run}")

    def cursor(self, thread: str) -> str:
        """The last one of the thread (or of INBOX)."""
        for _, frame in reversed(self.frames):
            event = orjson.loads(frame)
            if "cursor" in event and event.get("thread", INBOX) == thread:
                return str(event["cursor"])
        raise LookupError(thread)

    def _expect(self, what: str) -> asyncio.Future[dict[str, Any]]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[what] = future
        asyncio.get_running_loop().call_later(PATIENCE, _give_up, future, what)
        return future

    async def _notice(self, frame: bytes) -> None:
        event = orjson.loads(frame)
        if event["type"] == "heartbeat":
            await self._send(orjson.dumps({"type": "ack", "n": event["n"]}))
        for what in _news(event):
            waiting = self._waiting.pop(what, None)
            if waiting is None or waiting.done():
                continue
            if event["type"] == "error":
                waiting.set_exception(RuntimeError(event["message"]))
            else:
                waiting.set_result(event)

    def pieces(self, run: str, since: int = 0) -> Iterator[tuple[float, str, bool]]:
        """(when, text, whether it replaces what was there) of a run's answer, in order, of the frames ``since``."""
        answer = answer_of(run)
        for at, frame in self.frames[since:]:
            event = orjson.loads(frame)
            if event["type"] == "delta":
                text = "".join(part[2] for part in event["parts"] if part[0] == "text" and part[1] == answer)
                yield at, text, False
            elif event["type"] == "change":
                for row in event["messages"]:
                    if row["id"] == answer and "text" in row:
                        yield at, row["text"], True

    def text(self, run: str) -> str:
        """What this viewer has of the run's answer."""
        said = ""
        for _, piece, replaces in self.pieces(run):
            said = piece if replaces else said + piece
        return said


def answer_of(run: str) -> str:
    """The id of the run's one message."""
    return str(uuid5(UUID(run), "0"))


def _news(event: dict[str, Any]) -> list[str]:
    """What somebody may be waiting for, and has come."""
    if event["type"] == "caught_up":
        return [f"caught_up {event.get('thread', INBOX)}"]
    if event["type"] == "change":
        return [f"ended {run['id']}" for run in event["runs"] if run["finished_at"]]
    return [event.get("id") or event["type"]]


class StockViewer(Viewer):
    """Somebody who watches one answer of the stock deployment."""

    async def open(self, address: str, answer: str, *, http: bool) -> None:
        await self._open(f"ws://{address}/{answer}/{'?http' if http else ''}")

    async def ask(self, script: Script) -> None:
        await self._send(str(script))

    def pieces(self) -> Iterator[tuple[float, str, bool]]:
        """As :meth:`RejoinViewer.pieces`."""
        for at, frame in self.frames:
            yield at, orjson.loads(frame)["token"], False


def _give_up(future: asyncio.Future[Any], what: str) -> None:
    if not future.done():
        future.set_exception(TimeoutError(f"waited {PATIENCE:g} s for {what}"))
