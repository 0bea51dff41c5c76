"""Calls made at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event
from typing import Any

from django.db import connections, transaction


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls returned, or raised, when each was made in a thread of its own at the same moment."""
    barrier = Barrier(len(calls))

    def make(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return call()
        except Exception as error:
            return error
        finally:
            connections["default"].close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(make, calls))


@contextmanager
def held_open(act: Callable[[], Any], then: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Inside, somebody else is in mid-transaction: has done the first act, and does the second at the end."""
    begun, go_on = Event(), Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                act()
                begun.set()
                assert go_on.wait(60)
                then()
        finally:
            begun.set()
            connections["default"].close()

    with ThreadPoolExecutor(1) as threads:
        holding = threads.submit(hold)
        assert begun.wait(60)
        try:
            yield
        finally:
            go_on.set()
            holding.result()
