"""What carries frames: the interface that :class:`~chat.client.connection.Connection` needs, and the websocket."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol, Self
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.typing import Origin, Subprotocol

from chat.protocol import CLOSE_FORBIDDEN, CLOSE_SIGN_IN, PROTOCOL

ABNORMAL = 1006
"""The code of a connection that ended without one."""
GOODBYE = 1.0
"""Seconds that the other side has to answer a goodbye."""
REFUSED = {401: CLOSE_SIGN_IN, 403: CLOSE_FORBIDDEN}
"""What a handshake that was refused with this status is like."""
SCHEMES = {"http": "", "ws": "", "https": "s", "wss": "s"}
PATH = "/ws/chat"


def places(url: str) -> tuple[str, str]:
    """The websocket's address at the server of this url, and the origin of its pages. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname or parts.query or parts.fragment or parts.port == 0:
        raise ValueError(f"The server's url has to be like https://host or wss://host, and is {url!r}.")
    secure, path = SCHEMES[parts.scheme], parts.path.rstrip("/").removesuffix(PATH)
    return f"ws{secure}://{parts.netloc}{path}{PATH}/", f"http{secure}://{parts.netloc.rpartition('@')[2]}"


class Lost(Exception):
    """The connection is gone, or could not be made; ``code`` is the close code that says why."""

    def __init__(self, code: int = ABNORMAL) -> None:
        super().__init__(f"the connection was lost: {code}")
        self.code = code


class Socket(Protocol):
    """One connection. Both directions keep the order; both calls raise :class:`Lost`."""

    async def send(self, data: str) -> None: ...

    async def receive(self) -> str | bytes: ...

    async def close(self) -> None:
        """Say goodbye, for a moment at most. Repeatable."""

    def abort(self) -> None:
        """End it at once. Repeatable."""


class WebSocket:
    """A websocket of the protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str, *, origin: str | None, headers: Mapping[str, str]) -> Self:
        """Connect. Raises Lost."""
        try:
            connection = await connect(
                url,
                origin=None if origin is None else Origin(origin),
                subprotocols=[Subprotocol(PROTOCOL)],
                additional_headers=headers,
                compression=None,
                ping_interval=None,  # the protocol's heartbeats do
                max_size=None,  # a row that is larger than a frame comes in a larger one
                close_timeout=GOODBYE,
            )
        except InvalidStatus as refused:
            raise Lost(REFUSED.get(refused.response.status_code, ABNORMAL)) from refused
        except (InvalidHandshake, WebSocketException, OSError, EOFError) as error:
            raise Lost from error
        return cls(connection)

    async def send(self, data: str) -> None:
        try:
            await self._connection.send(data)
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def close(self) -> None:
        with suppress(WebSocketException, OSError):
            await self._connection.close()

    def abort(self) -> None:
        self._connection.transport.abort()


def _lost(closed: ConnectionClosed) -> Lost:
    return Lost(ABNORMAL if closed.rcvd is None else closed.rcvd.code)
