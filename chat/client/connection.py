"""One connection that is kept up for ever: reconnects, heartbeats, and when not to come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from chat.client.transport import ABNORMAL, Lost, Socket
from chat.protocol import (
    CLOSE_BAD_FRAMES,
    CLOSE_FORBIDDEN,
    CLOSE_RESTARTING,
    CLOSE_SIGN_IN,
    CLOSE_TRY_LATER,
    clean,
)

FIRST_DELAY = 0.25
LONGEST_DELAY = 30.0
GOOD = 5.0
"""A connection that lived so many seconds was a good one: the next delay begins anew."""
HANDSHAKE = 15.0
"""Seconds in which handshake and welcome must come: a server waits 10 s for its database, and then says "later"."""
SILENCE = 25.0
"""The server sends a heartbeat after 10 s of silence; after so many the connection is dead."""
RESTART_DELAY = 1.0
LATER_ATTEMPT = 5
"""A server that says "later" is left alone as after so many failures."""
REFUSALS = frozenset({CLOSE_BAD_FRAMES, CLOSE_SIGN_IN, CLOSE_FORBIDDEN})
"""Close codes after which nobody comes back by itself."""


def encode(frame: dict[str, Any]) -> str:
    """A frame as it is sent. Half a surrogate pair, which can't be, becomes U+FFFD."""
    return clean(json.dumps(frame, ensure_ascii=False))


@dataclass(frozen=True)
class State:
    """``connecting`` → ``live`` (the welcome came) → ``waiting`` (it fell, by ``code``; ``delay`` seconds until the
    next attempt) → ``connecting`` …; ``refused`` (``code`` says why) and ``closed`` end it."""

    name: Literal["closed", "connecting", "live", "waiting", "refused"] = "closed"
    code: int | None = None
    delay: float = 0.0


class Connection:
    """``open`` makes a socket, ``random`` is in [0, 1).

    ``on_frame`` gets every frame, in order; a heartbeat is answered when ``on_frame`` has returned, so everything
    before it has been applied. ``on_state`` is told each new state.
    """

    def __init__(
        self,
        open: Callable[[], Awaitable[Socket]],
        *,
        random: Callable[[], float],
        on_frame: Callable[[dict[str, Any]], None],
        on_state: Callable[[State], None],
    ) -> None:
        self.state = State()
        self._open = open
        self._random = random
        self._on_frame = on_frame
        self._on_state = on_state
        self._socket: Socket | None = None
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._attempt = 0
        self._heard = 0.0
        self._woken = asyncio.Event()

    @property
    def live(self) -> bool:
        return self.state.name == "live"

    def send(self, frame: dict[str, Any]) -> bool:
        """Whether it will be written to the connection, after all before it; it may be lost all the same."""
        if self.live:
            self._outgoing.put_nowait(encode(frame))
        return self.live

    def wake(self) -> None:
        """The network may be back: don't wait any longer, and don't trust a connection that has been silent."""
        self._woken.set()
        silent = asyncio.get_running_loop().time() - self._heard
        if self._socket is not None and (not self.live or silent > SILENCE / 2):
            self._socket.abort()

    async def run(self) -> int:
        """Be connected until the server says not to come back: its close code. Raises what ``on_frame`` raises.
        Cancel it to leave without a goodbye."""
        try:
            while True:
                self._become(State("connecting"))
                self._woken.clear()
                code = await self._one_connection()
                if code in REFUSALS:
                    self._become(State("refused", code))
                    return code
                delay = self._delay(code)
                self._become(State("waiting", code, delay))
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._woken.wait()
        finally:
            if self.state.name != "refused":
                self._become(State())

    async def say_goodbye(self) -> None:
        """Close the connection of the moment."""
        if self._socket is not None:
            await self._socket.close()

    async def _one_connection(self) -> int:
        """From connecting to the end of it: the code it ended with."""
        clock = asyncio.get_running_loop().time
        begun = float("inf")
        writing: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(HANDSHAKE):
                self._socket = await self._open()
                welcome = json.loads(await self._socket.receive())
            self._outgoing = asyncio.Queue()
            writing = asyncio.create_task(self._write(self._socket))
            begun = self._heard = clock()
            self._become(State("live"))
            self._receive(welcome)
            while True:
                async with asyncio.timeout(SILENCE):
                    data = await self._socket.receive()
                self._heard = clock()
                self._receive(json.loads(data))
        except Lost as lost:
            code = lost.code
        except TimeoutError:
            code = ABNORMAL
        finally:
            if writing is not None:
                writing.cancel()
            if self._socket is not None:
                self._socket.abort()
            self._socket = None
        if clock() - begun >= GOOD:
            self._attempt = 0
        return code

    def _receive(self, frame: dict[str, Any]) -> None:
        self._on_frame(frame)
        if frame["type"] == "heartbeat":
            self.send({"type": "ack", "n": frame["n"]})

    async def _write(self, socket: Socket) -> None:
        with suppress(Lost):  # the reader learns of it
            while True:
                await socket.send(await self._outgoing.get())

    def _delay(self, code: int) -> float:
        """A random share of what is due, so that a crowd does not come back at once."""
        if code == CLOSE_RESTARTING:
            return self._random() * RESTART_DELAY
        if code == CLOSE_TRY_LATER:
            self._attempt = max(self._attempt, LATER_ATTEMPT)
        longest: float = min(LONGEST_DELAY, FIRST_DELAY * 2**self._attempt)
        self._attempt = min(self._attempt + 1, 16)
        return self._random() * longest

    def _become(self, state: State) -> None:
        self.state = state
        self._on_state(state)
