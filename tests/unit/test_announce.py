"""Telling others: what is done is answered, whatever becomes of the telling."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from chat.announcement import Announcement
from chat.replication.announce import announce
from tests.unit.chats import until


class Silent:
    """A Redis that answers nobody until it is let go: channel layer and run log in one."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.told: list[str] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self.go_on.wait()
        self.told.append(message["type"])

    async def stop(self, run: str) -> None:
        await self.go_on.wait()
        self.told.append("flag")


async def test_nobody_waits_for_a_redis_that_is_silent_and_it_is_told_all_the_same() -> None:
    redis: Any = Silent()
    await announce(redis, redis, Announcement(uuid4(), 2, 1, 3, look=True, stop=uuid4()))
    assert redis.told == []
    redis.go_on.set()
    await until(lambda: len(redis.told) == 5)
    assert sorted(redis.told) == ["changed", "changed", "flag", "look", "stop"]
