"""One worker's parts without its loops, and providers made for the test."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

from channels.layers import InMemoryChannelLayer

from chat import database
from chat.announcement import Announcement
from chat.generation.engine import Engine
from chat.generation.ledger import Claim
from chat.generation.stream import Stream
from chat.generation.writer import Writer
from chat.live.hub import Hub
from chat.models import Run
from chat.protocol import Part, end, start, text
from chat.providers.base import Conversation, Provider
from chat.replication.attachment import Sources, compare
from chat.runlog.memory import MemoryRunLog
from tests.unit.chats import Chat


class Scripted(Provider):
    """A provider that does what the test says. ``script(conversation)`` is an async generator of parts."""

    def __init__(self, script: Callable[[Conversation], AsyncIterator[Part]]) -> None:
        self._script = script
        self.closed = False

    async def stream(self, conversation: Conversation) -> AsyncIterator[Part]:
        try:
            async for part in self._script(conversation):
                yield part
        finally:
            self.closed = True


def saying(*words: str) -> Scripted:
    """A provider whose one answer comes in these pieces."""

    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer, author="model")
        for word in words:
            yield text(answer, word)
        yield end(answer)

    return Scripted(script)


async def endless(conversation: Conversation) -> AsyncIterator[Part]:
    """An answer without end."""
    answer = conversation.answer_id(0)
    yield start(answer)
    while True:
        yield text(answer, "on and on " * 10)
        await asyncio.sleep(0)


async def silent(conversation: Conversation) -> AsyncIterator[Part]:
    """An answer that stands still after its first words."""
    answer = conversation.answer_id(0)
    yield start(answer)
    yield text(answer, "a word, and then ")
    await asyncio.sleep(3600)


class Rig:
    """One worker's parts without its loops: a run log in memory, a writer, and what engines of it announce."""

    def __init__(self) -> None:
        self.log = MemoryRunLog()
        self.layer = InMemoryChannelLayer(capacity=100_000)
        self.announced: list[Announcement] = []
        self.held = True
        """Whether the database confirms the lease when the writer asks."""
        self.writer = Writer(self.log, self.layer, self._renew, pause=0.002, tail=10.0, cap=128 * 1024)
        self.rng = random.Random(0)
        self._writing: asyncio.Task[None] | None = None
        self._hubs: list[Hub] = []

    async def _renew(self, stream: Stream) -> bool:
        if self.held:
            stream.deadline = float("inf")
        return self.held

    async def announce(self, announcement: Announcement) -> None:
        self.announced.append(announcement)

    def write(self) -> None:
        """From now on the writer writes by itself."""
        self._writing = asyncio.create_task(self.writer.run())

    def engine(self, claim: Claim, provider: Provider) -> Engine:
        engine = Engine(claim, provider, self.writer, self.log, database.in_database, self.announce, self.rng)
        engine.stream.deadline = float("inf")
        return engine

    async def generate(self, chat: Chat, provider: Provider, question: str = "hello") -> Run:
        """Ask, and let the provider answer to the end: the run as it ended."""
        self.write()
        asked = await database.in_database(chat.send, question)
        claim = await database.in_database(chat.claim, asked.run)
        assert await self.engine(claim, provider).run()
        return await database.in_database(chat.run, asked.run)

    def sources(self, compare_every: float = 3600.0) -> Sources:
        """What attachments need, with a hub of this rig's layer. By default it compares nothing while a test lasts."""
        hub = Hub(self.layer, lambda topics: compare(database.in_database, self.log, topics), compare_every)
        self._hubs.append(hub)
        return Sources(database.in_database, self.log, hub, self.rng)

    async def close(self) -> None:
        for hub in self._hubs:
            await hub.close()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
