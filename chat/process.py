"""What one server process has: run log, channel layer, hub, open connections, and in the embedded default the worker.

Started by the application's first call (daphne has no lifespan), ended by SIGTERM or SIGINT before the server sees
it: these are told to come back at once, and an embedded worker settles its runs.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import random
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

from channels.layers import get_channel_layer
from django.conf import settings

from chat import conf
from chat.announcement import Announcement
from chat.database import in_database
from chat.errors import RunError
from chat.generation import ledger
from chat.generation.sweep import Sweeper, remove_old
from chat.generation.worker import Worker
from chat.lanes import Lane
from chat.limits import Limits
from chat.live.hub import Hub
from chat.providers import providers
from chat.replication.announce import announce
from chat.replication.attachment import Sources, compare
from chat.runlog.base import RunLog
from chat.runlog.memory import MemoryRunLog
from chat.runlog.redis import RedisRunLog
from chat.tasks import end

log = logging.getLogger(__name__)

EMBEDDED = "embedded:"
"""What an embedded worker's name begins with."""
TICK = 1.0
"""Seconds between two looks at the silence of connections."""
RENDERERS = 2
"""Pages whose answers become HTML at once. It takes the processor, of which a process has one core."""
READERS = 3
"""Searches and exports that read at once, of the database's threads."""
MODELS_AGE = 60.0
"""Seconds for which a list of models is believed, and for which a model server that did not answer is left alone."""
MODELS_PATIENCE = 2.0
"""Seconds that the first who asks waits for the list."""


class Connection(Protocol):
    """A client's to this process, while it is open: a socket, a stream or a long poll."""

    def tick(self, now: float) -> None:
        """Called about once a second."""

    async def restart(self) -> None:
        """The server ends: tell the client to come back at once."""


def make_run_log() -> RunLog:
    """The run log of the settings: Redis, or in the embedded default this process's memory."""
    if conf.embedded():
        return MemoryRunLog(ttl=conf.LOG_TTL)
    return RedisRunLog(settings.REDIS_URL, ttl=conf.LOG_TTL, timeout=conf.REDIS_TIMEOUT)


def spare_collector() -> None:
    """Tell the garbage collector to leave alone what is there now (modules and the like, which stay), and to look at
    the rest more rarely. To look through it all stopped a busy worker for a tenth of a second every few seconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def lock_machine() -> IO[str] | None:
    """In the embedded default: make sure that this is the only process. Keep what is returned.

    Ends the process (SystemExit, with a sentence) when another one has the lock. The operating system frees it when the
    process that has it ends.
    """
    if not conf.embedded():
        return None
    path = Path(settings.DATA_DIR) / "embedded.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SystemExit(
            "Rejoin is running here already. Without REDIS_URL run log and worker live inside the one server process; "
            "set REDIS_URL to run several."
        ) from error
    return file


class Process:
    """Everything a web process shares among its connections. Lives in one event loop."""

    def __init__(self, housekeeping: Iterable[Callable[[], Any]] = ()) -> None:
        self.log = make_run_log()
        self.layer: Any = get_channel_layer()
        self.hub = Hub(self.layer, lambda topics: compare(in_database, self.log, topics), conf.COMPARE)
        self.rng = random.Random()
        self.sources = Sources(in_database, self.log, self.hub, self.rng)
        self.providers = providers()
        self.rendering = Lane(RENDERERS)
        self.reading = Lane(READERS)
        self.limits = Limits()
        self.connections: set[Connection] = set()
        self.ending = False
        """Whether :meth:`stop` was called: no more connections, please."""
        self.worker: Worker | None = None
        self._housekeeping = (remove_old, *housekeeping)
        self._models: list[str] | None = None
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to sweep, to watch the connections, and, in the embedded default, to work."""
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        if conf.embedded():
            await in_database(ledger.orphan, f"{EMBEDDED}{socket.gethostname()}:")
            self._tasks.append(asyncio.create_task(self._work(EMBEDDED + name)))
        else:
            sweeper = Sweeper(
                f"web:{name}", self.log, in_database, self.announce, self.rng, housekeeping=self._housekeeping
            )
            self._tasks.append(asyncio.create_task(sweeper.run()))
        self._tasks.append(asyncio.create_task(self._tick()))
        for number in (signal.SIGTERM, signal.SIGINT):
            self._end_before(number)
        spare_collector()
        log.info("action=process_started name=%s embedded=%s", name, conf.embedded())

    async def stop(self) -> None:
        """Tell clients to come back, settle the embedded worker's runs, end all tasks. The first call counts."""
        if self.ending:
            return
        self.ending = True
        await asyncio.gather(*(one.restart() for one in list(self.connections)), return_exceptions=True)
        if self.worker is not None:
            await self.worker.drain(0)
        tasks, self._tasks = self._tasks, []
        await end(tasks)
        await self.hub.close()
        await self.providers.close()
        await self.log.close()

    async def _work(self, name: str) -> None:
        """The embedded worker (which sweeps, too). One that fails is replaced: its runs are settled by the sweep."""
        while True:
            self.worker = Worker(
                self.log,
                self.layer,
                self.hub,
                in_database,
                self.providers,
                self.rng,
                name=name,
                housekeeping=self._housekeeping,
            )
            try:
                await self.worker.run()
            except Exception:
                log.exception("action=worker_failed worker=%s", name)
                await asyncio.sleep(TICK)

    async def models(self) -> list[str]:
        """The models that may be asked for, as they were last known. A model server that is away keeps nobody from
        reading: then the list is empty."""
        if conf.MODELS:
            return list(conf.MODELS)
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked >= MODELS_AGE):
            self._asked = now
            self._asking = asyncio.create_task(self._ask_for_models())
        if self._models is None:
            await asyncio.wait({self._asking}, timeout=MODELS_PATIENCE)
        return self._models or []

    async def _ask_for_models(self) -> None:
        try:
            self._models = await self.providers.models()
        except RunError as error:
            log.warning("action=models_failed code=%s", error.code)

    async def announce(self, announcement: Announcement | None) -> None:
        """Tell viewers and workers of a commit."""
        await announce(self.layer, self.log, announcement)

    async def _tick(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(TICK)
            now = clock()
            for connection in list(self.connections):
                connection.tick(now)
            self.limits.forget(now)

    def _end_before(self, number: signal.Signals) -> None:
        """When this signal comes, stop first, and let the server's own handler have it then. One that is ignored, as
        SIGINT is by what a shell runs in the background, stays so."""
        loop = asyncio.get_running_loop()
        servers = signal.getsignal(number)
        if servers == signal.SIG_IGN:
            return

        def handle(received: int, frame: Any) -> None:
            if self._ending is None:
                loop.call_soon_threadsafe(begin, received)
            elif callable(servers):  # asked twice: at once
                servers(received, frame)

        def begin(received: int) -> None:
            if self._ending is None:
                self._ending = loop.create_task(end(received))

        async def end(received: int) -> None:
            try:
                async with asyncio.timeout(conf.DRAIN):
                    await self.stop()
            except Exception:
                log.exception("action=process_stop_failed")
            signal.signal(received, servers or signal.SIG_DFL)
            signal.raise_signal(received)

        try:
            signal.signal(number, handle)
        except ValueError:  # not in the main thread: whoever runs the loop there ends it himself
            log.info("action=no_signal_handler signal=%s", number.name)


_processes: dict[asyncio.AbstractEventLoop, tuple[Process, asyncio.Future[None]]] = {}


async def current(housekeeping: Iterable[Callable[[], Any]] = ()) -> Process:
    """This event loop's process, started. Every call gets the same one (``housekeeping`` counts at the first)."""
    loop = asyncio.get_running_loop()
    if loop not in _processes:
        process = Process(housekeeping)
        _processes[loop] = (process, asyncio.ensure_future(process.start()))
    process, started = _processes[loop]
    try:
        await asyncio.shield(started)
    except Exception:  # whoever comes next tries again
        _processes.pop(loop, None)
        raise
    return process


Application = Callable[[Any, Any, Any], Awaitable[None]]


def with_process(application: Application, *, housekeeping: Iterable[Callable[[], Any]] = ()) -> Application:
    """The same ASGI application; its first call starts the process, and ``scope["rejoin"]`` is the process.

    ``housekeeping``: what the process does besides in the database, once an hour.
    """

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, housekeeping)
            return
        await application({**scope, "rejoin": await current(housekeeping)}, receive, send)

    return call


async def _lifespan(receive: Any, send: Any, housekeeping: Iterable[Callable[[], Any]]) -> None:
    """For servers that have it (uvicorn): start at once rather than with the first request, and end also where no
    signal came."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await current(housekeeping)
            except Exception:
                log.exception("action=process_start_failed")
                await send({"type": "lifespan.startup.failed", "message": "Rejoin could not start: see its log."})
                return
            await send({"type": "lifespan.startup.complete"})
        else:
            process = await current(housekeeping)
            await process.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
