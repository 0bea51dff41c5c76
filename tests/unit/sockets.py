"""A browser's websocket, through the project's own routing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client

from chat.process import Process
from chat.protocol import (
    PROTOCOL,
    Cursor,
)
from chat.routing import websockets
from tests.schema import check, check_command
from tests.unit.chats import Chat
from tests.unit.replica import Replica


class Socket:
    """One websocket of a browser. Every frame that comes is held to the published schema, and every command that was
    done: it refuses what the schema does not have."""

    def __init__(self, process: Process, cookie: str = "", **headers: str) -> None:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            await websockets({**scope, "rejoin": process}, receive, send)

        given = {"host": "testserver", "origin": "http://testserver"} | headers
        if cookie:
            given["cookie"] = f"{django_settings.SESSION_COOKIE_NAME}={cookie}"
        wire = [(name.encode(), value.encode()) for name, value in given.items() if value]
        self.process, self.cookie = process, cookie
        self.wire = WebsocketCommunicator(application, "/ws/chat/", wire, subprotocols=[PROTOCOL])
        self.closed: int | None = None
        self.welcome: dict[str, Any] = {}
        self._sent: dict[str, dict[str, Any]] = {}

    async def open(self) -> dict[str, Any]:
        """The welcome."""
        connected, subprotocol = await self.wire.connect(timeout=10)
        assert connected
        assert subprotocol == PROTOCOL
        self.welcome = await self.next()
        return self.welcome

    async def refused(self) -> int:
        """The code of a socket that is closed without a word."""
        connected, _ = await self.wire.connect(timeout=10)
        if connected:
            closing = await self.wire.receive_output(10)
            assert closing["type"] == "websocket.close"
            return int(closing["code"])
        return 403

    async def next(self) -> dict[str, Any]:
        message = await self.wire.receive_output(10)
        if message["type"] == "websocket.close":
            self.closed = message["code"]
            return {"type": "close", "code": message["code"]}
        event: dict[str, Any] = json.loads(message["text"])
        check(event, len(message["text"].encode()))
        if event["type"] == "reply":
            check_command(self._sent[event["id"]])
        return event

    async def until(self, *types: str) -> list[dict[str, Any]]:
        """All events up to the first of one of these types."""
        events = [await self.next()]
        while events[-1]["type"] not in types:
            events.append(await self.next())
        return events

    async def silent(self) -> bool:
        return bool(await self.wire.receive_nothing(timeout=0.1))

    async def write(self, data: str) -> None:
        with suppress(ValueError, TypeError, LookupError):  # some frames are wrong on purpose
            frame = json.loads(data)
            self._sent[frame["id"]] = frame
        await self.wire.send_to(text_data=data)

    async def command(self, type: str, **fields: Any) -> str:
        """Send a command: its id."""
        pk = str(fields.pop("id", uuid4()))
        await self.write(json.dumps({"type": type, "id": pk, **fields}, default=str))
        return pk

    async def do(self, type: str, **fields: Any) -> dict[str, Any]:
        """The answer to a command: its result, or the error."""
        pk = await self.command(type, **fields)
        events = await self.until("reply", "error", "close")
        self.before = events[:-1]
        assert events[-1]["id"] == pk
        return events[-1]["result"] if events[-1]["type"] == "reply" else events[-1]

    def tick(self, seconds: float) -> None:
        """So much time has passed."""
        for socket in list(self.process.connections):
            socket.tick(asyncio.get_running_loop().time() + seconds)


def sign_in(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies[django_settings.SESSION_COOKIE_NAME].value


Opens = Callable[[User], Any]


async def attached(socket: Socket, chat: Chat, **fields: Any) -> Replica:
    """A copy of the thread, from an attach up to ``caught_up``."""
    replica = Replica()
    if "cursor" in fields:
        replica.cursor = Cursor.parse(fields["cursor"])
    await socket.command("attach", thread=chat.id, **fields)
    while not replica.caught_up:
        event = await socket.next()
        if event["type"] not in ("reply", "heartbeat"):
            replica.apply(json.dumps(event))
    return replica
