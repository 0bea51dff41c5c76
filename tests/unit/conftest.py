"""Fixtures of the unit tests: a choice of databases, a chat, a worker's parts, a story, a process and its sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, connections

from chat import database
from chat.process import Process
from chatproject.settings import database as database_of
from tests.servers.postgres import PostgresServer
from tests.unit.chats import Chat, in_database
from tests.unit.rig import Rig
from tests.unit.sockets import Opens, Socket, sign_in
from tests.unit.story import Story

# ------------------------------------------------------------------------------------------------------- databases

_made: dict[int, str] = {}
"""By the server's port: the URL of the PostgreSQL database of these tests, with all tables."""


@pytest.fixture
def sqlite(transactional_db: None) -> None:
    """SQLite, with real commits: for tests that use the database from several threads."""


@pytest.fixture
def postgres(
    transactional_db: None, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PostgresServer]:
    """The default database is an empty one on PostgreSQL, in this thread, in new ones and in chat.database's."""
    original = connections["default"]
    with ThreadPoolExecutor(database.THREADS) as threads:
        monkeypatch.setattr(database, "_pool", threads)
        monkeypatch.setitem(connections.settings, "default", None)
        try:
            if postgres_server.port not in _made:
                _made[postgres_server.port] = postgres_server.url_of(postgres_server.create())
                _connect(_made[postgres_server.port])
                call_command("migrate", verbosity=0)
                connections["default"].close()
            _connect(_made[postgres_server.port])
            tables = ", ".join(connection.introspection.django_table_names(only_existing=True))
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE {tables}")
            yield postgres_server
        finally:
            connections["default"].close()
            connections["default"] = original


def _connect(url: str) -> None:
    settings = {**database_of(url), "OPTIONS": {}}  # without the pool: a connection ends with its call
    connections.settings["default"] = connections.configure_settings({"default": settings})["default"]
    del connections["default"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def either_database(request: pytest.FixtureRequest, transactional_db: None) -> str:
    """Each database in turn, with real commits."""
    if request.param == "postgres":
        request.getfixturevalue("postgres")
    return str(request.param)


# ----------------------------------------------------------------------------------------------------------- things


@pytest.fixture
def chat(db: None) -> Chat:
    """An empty thread of a user."""
    return Chat()


@pytest.fixture
async def rig(sqlite: None) -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.close()


@pytest.fixture
async def scene(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> tuple[Rig, Chat]:
    """A worker's parts and an empty thread, whose viewers are followed; hints are on their way for a moment only."""
    monkeypatch.setattr("chat.live.hub.GRACE", 0.01)
    return rig, await in_database(Chat)


@pytest.fixture
async def story(sqlite: None) -> Story:
    return Story(await in_database(Chat))


@pytest.fixture
async def process(sqlite: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> AsyncIterator[Process]:
    """What sockets share, with nothing going on by itself."""
    settings.REJOIN_COMPARE = 3600.0
    settings.REJOIN_MODELS = ["model"]
    monkeypatch.setattr(channel_layers, "backends", {})
    process = Process()
    yield process
    for socket in list(process.connections):
        await socket.restart()
    await process.hub.close()


@pytest.fixture
async def opens(process: Process) -> AsyncIterator[Opens]:
    """Opens sockets of users, and closes them at the end."""
    sockets: list[Socket] = []

    async def open(user: User) -> Socket:
        socket = Socket(process, await sync_to_async(sign_in)(user))
        sockets.append(socket)
        await socket.open()
        return socket

    yield open
    for socket in sockets:
        await socket.wire.disconnect()


@pytest.fixture
async def owned(process: Process) -> Chat:
    """An empty thread, where sockets may see it."""
    return await in_database(Chat)


@pytest.fixture
async def socket(opens: Opens, owned: Chat) -> Socket:
    """An open socket of that thread's owner."""
    return await opens(owned.owner)
