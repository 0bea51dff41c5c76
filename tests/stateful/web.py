"""A web process of the world: the project's own, with its real edges, whose database, log and layer are the world's."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.handlers.asgi import ASGIHandler

from chat.generation.sweep import Sweeper
from chat.live.hub import Hub
from chat.process import Process
from chat.replication.attachment import Sources, compare
from chat.routing import websockets, with_streams
from tests.stateful.virtual import Owner


class Web(Process):
    """Serves until it is stopped, or killed."""

    def __init__(self, world: Any, name: str) -> None:
        super().__init__()
        self.owner = Owner(name)
        database, self.log = world.parts(self.owner)
        self.layer, self.rng = world.layer, world.rng
        self.hub = Hub(self.layer, lambda topics: compare(database, self.log, topics), 5.0)
        self.sources = Sources(database, self.log, self.hub, self.rng)
        self._world = world
        self._sweeper = Sweeper(name, self.log, database, self.announce, self.rng, now=world.now, housekeeping=())
        self._applications = {"http": with_streams(ASGIHandler()), "websocket": websockets}
        self._serving: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """What :meth:`start` does, but for what belongs to a whole process: signals, and a worker."""
        self._tasks = [self._world.keep(self._sweeper.run()), self._world.keep(self._tick())]

    async def models(self) -> list[str]:
        return []

    def serve(self, scope: Any, receive: Any, send: Any) -> asyncio.Task[None]:
        """A connection, until it ends."""

        async def heard(message: Any) -> None:
            if self.owner.alive:
                await send(message)

        application = self._applications[scope["type"]]
        task: asyncio.Task[None] = self._world.keep(application({**scope, "rejoin": self}, receive, heard))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return task

    async def stop(self) -> None:
        """SIGTERM. Whoever is still connected then is cut off."""
        await super().stop()
        self._cut()

    def kill(self) -> None:
        """SIGKILL: from this moment on it does nothing more."""
        self.owner.alive = False
        self._cut()
        for task in self._tasks:
            task.cancel()
        self._world.keep(self.hub.close())

    def _cut(self) -> None:
        for task in self._serving:
            task.cancel()
