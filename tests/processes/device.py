"""A device that speaks HTTP: it follows chats by event streams or long polls, and says commands to the JSON API."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx2

from chat.errors import from_dict
from tests.client import PATIENCE, until
from tests.replica import Counts, Thread
from tests.schema import check, check_command
from tests.sse import EventSource, Follower, LongPoller

CSRF = "a" * 32


class HttpDevice:
    """The same words as :class:`tests.client.Client`, as far as a whole conversation needs them. ``how``: "events" or
    "updates". A context manager."""

    def __init__(self, url: str, session: str, how: str) -> None:
        self.url = url
        self.session = session
        self.counts = Counts()
        self._kind = {"events": EventSource, "updates": LongPoller}[how]
        self._followers: dict[str, Follower] = {}
        self._online = asyncio.Event()
        self._online.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        self._online.set()
        for follower in self._followers.values():
            follower.url = self.url
            await follower.__aenter__()

    async def disconnect(self) -> None:
        """The network is gone. What is held is kept."""
        if self._online.is_set():
            self._online.clear()
            for follower in self._followers.values():
                await follower.__aexit__(None, None, None)

    async def refresh(self) -> None:
        """What is held is forgotten, and the same chats are opened again."""
        await self.disconnect()
        self._followers = {thread: self._new(thread) for thread in self._followers}
        await self.connect()

    # chats -----------------------------------------------------------------------------------------------------

    async def follow(self, thread: str, *, all: bool = False) -> Thread:
        assert all, "nothing less is needed so far"
        self._followers[thread] = self._new(thread)
        await self._followers[thread].__aenter__()
        return await self.caught_up(thread)

    def _new(self, thread: str) -> Follower:
        return self._kind(self.url, self.session, thread, everything=True)

    def thread(self, thread: str) -> Thread:
        held: Thread = self._followers[thread].held
        return held

    def transcript(self, thread: str) -> dict[str, tuple[str, str, str, int]]:
        return self.thread(thread).transcript()

    async def caught_up(self, thread: str) -> Thread:
        follower = self._followers[thread]
        await follower.wait_until(lambda: follower.held.caught_up, "all of the chat")
        return self.thread(thread)

    async def wait_until(self, predicate: Callable[[], Any], what: str) -> None:
        """Returns when it holds. Raises what a follower has broken at."""

        def holds() -> Any:
            for follower in self._followers.values():
                follower.check()
            return predicate()

        await until(holds, what)

    # commands --------------------------------------------------------------------------------------------------

    async def do(self, kind: str, *, thread: str, **fields: Any) -> dict[str, Any]:
        """Its reply's result. Said again until there is an answer. Raises the ChatError of a refusal."""
        command = {"type": kind, "id": str(uuid.uuid4()), "thread": thread, **fields}
        check_command(command)
        async with asyncio.timeout(PATIENCE):
            while (answer := await self._ask(thread, command)) is None:
                await asyncio.sleep(0.1)
        check(answer, 0)
        if answer["type"] == "error":
            raise from_dict(answer)
        return dict(answer["result"])

    async def _ask(self, thread: str, command: dict[str, Any]) -> dict[str, Any] | None:
        """One attempt."""
        await self._online.wait()
        self.counts.connections += 1
        cookies = {"sessionid": self.session, "csrftoken": CSRF}
        try:
            async with httpx2.AsyncClient(cookies=cookies, timeout=5, trust_env=False) as http:
                address = f"{self.url}/api/threads/{thread}/commands"
                got = await http.post(address, json=[command], headers={"X-CSRFToken": CSRF})
        except httpx2.TransportError:
            return None
        if got.status_code != 200:
            assert got.json()["retryable"], got.json()
            return None
        [answer] = got.json()
        assert answer["id"] == command["id"]
        return dict(answer)
