"""How asynchronous code uses the database: one synchronous function per transaction, run on a few threads of our own.

Django's ``database_sync_to_async`` sends every call of a process through one thread, where a slow one delays all
sockets; here a call takes any free thread. Each thread has its own connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol, TypeVar

from django.db import OperationalError, close_old_connections, connection, transaction

from chat.errors import TookTooLong

T = TypeVar("T")
THREADS = 8
STEPS = 1_000
"""Of SQLite's machine, between two looks at the clock."""
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


class Database(Protocol):
    """Calls a synchronous function that uses the database, from a coroutine."""

    async def __call__(self, function: Callable[..., T], /, *args: object) -> T: ...


async def in_database(function: Callable[..., T], /, *args: object) -> T:
    """Run ``function(*args)`` on a database thread. Its exceptions come back; cancelling does not undo it."""
    return await asyncio.get_running_loop().run_in_executor(_pool, _call, function, args)


def _call(function: Callable[..., T], args: tuple[object, ...]) -> T:
    close_old_connections()
    try:
        return function(*args)
    finally:
        close_old_connections()


@contextmanager
def snapshot() -> Iterator[None]:
    """A transaction whose reads all see one moment of the database, and that writes nothing.

    PostgreSQL: REPEATABLE READ. SQLite: a deferred transaction, so that readers do not queue for the write lock that
    the project's IMMEDIATE mode would take. Inside a transaction that has begun already (in tests) it adds nothing.
    """
    if connection.in_atomic_block:
        yield
        return
    if connection.vendor == "sqlite":
        sqlite: Any = connection
        sqlite.ensure_connection()  # which sets its transaction_mode
        mode, sqlite.transaction_mode = sqlite.transaction_mode, None
        try:
            with transaction.atomic():
                yield
        finally:
            sqlite.transaction_mode = mode
        return
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Inside a transaction: queries that go on for so long are ended, and TookTooLong is raised. PostgreSQL counts each
    by itself; SQLite all together, but ends none within a row."""
    try:
        with (_sqlite_limit if connection.vendor == "sqlite" else _postgres_limit)(seconds):
            yield
    except OperationalError as error:
        cause = error.__cause__
        if getattr(cause, "sqlstate", "") == "57014" or getattr(cause, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            raise TookTooLong() from error
        raise


@contextmanager
def _sqlite_limit(seconds: float) -> Iterator[None]:
    sqlite: Any = connection.connection
    end = monotonic() + seconds
    sqlite.set_progress_handler(lambda: monotonic() > end, STEPS)
    try:
        yield
    finally:
        sqlite.set_progress_handler(None, STEPS)


@contextmanager
def _postgres_limit(seconds: float) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(round(seconds * 1000))])  # SET LOCAL
    yield
