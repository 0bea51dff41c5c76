"""Both ends of a client's connection, in virtual time: what it is told, what it says, and how it falls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from chat.client import Client, Lost
from chat.client.outbox import Store
from tests.stateful.virtual import VirtualLoop

T = TypeVar("T")
_begun: set[asyncio.Task[Any]] = set()
WELCOME = {"type": "welcome", "protocol": "rejoin.v1", "user": {}, "limits": {}, "models": [], "server_time": ""}


class Pipe:
    """One connection as the server sees it. ``sent``: the client's frames; ``say`` and ``fall`` are the server's."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.code: int | None = None
        self._frames: asyncio.Queue[str | int] = asyncio.Queue()

    # the client's end

    async def send(self, data: str) -> None:
        if self.code is not None:
            raise Lost(self.code)
        self.sent.append(json.loads(data))

    async def receive(self) -> str:
        frame = await self._frames.get()
        if isinstance(frame, int):
            raise Lost(frame)
        return frame

    async def close(self) -> None:
        self.fall(1000)

    def abort(self) -> None:
        self.fall(1006)

    # the server's end

    def say(self, *frames: dict[str, Any]) -> None:
        for frame in frames:
            self._frames.put_nowait(json.dumps(frame))

    def fall(self, code: int) -> None:
        if self.code is None:
            self.code = code
            self._frames.put_nowait(code)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The client's frames of this type."""
        return [frame for frame in self.sent if frame["type"] == kind]


class Server:
    """Every connection of one client. ``welcoming`` False: nobody is welcome. ``away``: nobody can connect."""

    def __init__(self, *, store: Store | None = None, random: Callable[[], float] = lambda: 0.5) -> None:
        self.pipes: list[Pipe] = []
        self.attempts: list[float] = []
        """When the client has tried to connect."""
        self.welcoming = True
        self.away = False
        self.client = Client("http://chat.test", store=store, open=self._open, random=random)

    async def _open(self) -> Pipe:
        self.attempts.append(asyncio.get_running_loop().time())
        if self.away:
            raise Lost
        pipe = Pipe()
        self.pipes.append(pipe)
        if self.welcoming:
            pipe.say(WELCOME)
        return pipe

    @property
    def pipe(self) -> Pipe:
        """The latest connection."""
        return self.pipes[-1]

    async def say(self, *frames: dict[str, Any]) -> None:
        """The client has taken these frames when this returns."""
        self.pipe.say(*frames)
        await settled()

    async def answer(self, frame: dict[str, Any], **result: Any) -> None:
        """The reply to a command."""
        await self.say({"type": "reply", "id": frame["id"], "result": result})

    async def refuse(self, frame: dict[str, Any], code: str, **error: Any) -> None:
        """The refusal of a command."""
        given = {"status": 400, "message": "No.", "retryable": False, **error}
        await self.say({"type": "error", "id": frame["id"], "code": code, **given})

    async def reconnect(self, code: int = 1006) -> None:
        """The connection falls and a new one is welcomed."""
        self.pipe.fall(code)
        await asyncio.sleep(60)


def begin(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Somebody makes this call, and may be still at it at the test's end."""
    task = asyncio.get_running_loop().create_task(call)
    _begun.add(task)
    task.add_done_callback(_begun.discard)
    return task


async def settled() -> None:
    """Everything that is due now has happened."""
    await asyncio.sleep(0.001)


def virtually(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test in virtual time."""

    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test())

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run
