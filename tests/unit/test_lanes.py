"""Lanes: costly work takes turns."""

from __future__ import annotations

import asyncio
from threading import Lock
from time import sleep
from typing import Any

import pytest

from chat import commands
from chat.errors import RateLimited
from chat.lanes import Lane
from chat.process import READERS, Process
from chat.protocol import MAX_COSTLY
from chat.replication import listing


class Work:
    """Pieces of work that go on until they are let, and who has begun one."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def ask(self, user: str, name: str = "") -> asyncio.Task[str]:
        """A task that has got as far as it can."""
        name = name or user

        async def work() -> str:
            self.begun.append(name)
            await self.gates.setdefault(name, asyncio.Event()).wait()
            return name

        task = asyncio.create_task(self.lane.do(user, work))
        await settle()
        return task

    async def end(self, name: str) -> None:
        self.gates[name].set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def work() -> Work:
    return Work(Lane(2))


async def test_so_much_is_done_at_once_and_the_rest_in_the_order_in_which_it_was_asked_for(work: Work) -> None:
    tasks = [await work.ask(user) for user in ("ann", "bob", "cyd", "dee")]
    assert work.begun == ["ann", "bob"]
    await work.end("bob")
    assert work.begun == ["ann", "bob", "cyd"]
    for name in ("ann", "cyd", "dee"):
        await work.end(name)
    assert [await task for task in tasks] == ["ann", "bob", "cyd", "dee"]


async def test_a_user_has_one_piece_done_at_once_and_others_pass_by(work: Work) -> None:
    for name in ("first", "second", "third"):
        await work.ask("ann", name)
    await work.ask("bob")
    assert work.begun == ["first", "bob"]
    await work.end("first")
    assert work.begun == ["first", "bob", "second"]


async def test_who_has_too_much_waiting_is_refused_and_nobody_else(work: Work) -> None:
    for number in range(MAX_COSTLY):
        await work.ask("ann", f"{number}")
    refused = await work.ask("ann", "one more")
    with pytest.raises(RateLimited) as caught:
        await refused
    assert caught.value.retry_after
    await work.ask("bob")
    assert "bob" in work.begun
    await work.end("0")
    assert not (await work.ask("ann", "now")).done()


async def test_who_leaves_while_work_is_done_makes_room_only_when_it_is_done(work: Work) -> None:
    left, _ = [await work.ask(user) for user in ("ann", "bob")]
    left.cancel()
    await work.ask("cyd")
    assert work.begun == ["ann", "bob"]
    await work.end("ann")
    assert work.begun == ["ann", "bob", "cyd"]
    assert left.cancelled()


async def test_who_leaves_while_waiting_takes_no_turn(work: Work) -> None:
    for user in ("ann", "bob"):
        await work.ask(user)
    waiting = [await work.ask("cyd"), await work.ask("dee")]
    waiting[0].cancel()
    await settle()
    await work.end("ann")
    assert work.begun == ["ann", "bob", "dee"]


async def test_work_that_fails_tells_who_asked_and_makes_room() -> None:
    async def fail() -> None:
        raise OSError

    lane = Lane(1)
    for _ in range(3):
        with pytest.raises(OSError):
            await lane.do("ann", fail)


async def test_searches_take_turns(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, searching, most = Lock(), set[str](), 0

    def search(user: str, *what: Any) -> None:
        nonlocal most
        with lock:
            assert user not in searching
            searching.add(user)
            most = max(most, len(searching))
        sleep(0.005)
        with lock:
            searching.remove(user)

    monkeypatch.setattr(listing, "search", search)
    users = list("abcdefghi" * 4)
    await asyncio.gather(*(commands.search(process, user, "x") for user in users))
    assert most <= READERS
