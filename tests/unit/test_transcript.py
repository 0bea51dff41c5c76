"""The session that docs/protocol.md shows has taken place: here, with a real worker, and so it is compared.

    REJOIN_WRITE=1 python -m pytest tests/unit/test_transcript.py

writes it into the page anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings

from chat.database import in_database
from chat.generation.worker import Worker
from chat.process import Process
from chat.protocol import Part, start, text
from chat.providers.base import Conversation
from tests.unit.chats import Chat
from tests.unit.rig import Scripted
from tests.unit.sockets import Opens, Socket

PAGE = Path(settings.BASE_DIR) / "docs" / "protocol.md"
BLOCK = re.compile(r"(?<=^## A session\n\n).*?^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORDS = ("Once ", "upon a time ", "there was ", "a king.")
WIDTH = 118
SHOWN = {
    "welcome": ("type", "protocol", "models"),
    "change": ("type", "thread", "from", "to", "row", "messages", "runs", "cursor"),
    "row": ("id", "title", "head", "version"),
    "message": ("id", "parent", "role", "status", "text", "version"),
    "run": ("id", "prompt", "state", "place", "version"),
}
"""Fields of long objects that the page shows; the others are an ellipsis."""


class Words:
    """A model that says the next word when it is told to."""

    def __init__(self) -> None:
        self.provider = Scripted(self.say)
        self._next = asyncio.Semaphore(0)

    def go_on(self) -> None:
        self._next.release()

    async def say(self, conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        await self._next.acquire()
        yield start(answer, author="model")
        for word in WORDS:
            yield text(answer, word)
            await self._next.acquire()


class Transcript:
    """Frames as the page shows them: ids by their order, times left out, a line for each row of a long one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._ids: dict[str, str] = {}

    def note(self, line: str) -> None:
        self.lines.append(line)

    def sent(self, frame: dict[str, Any]) -> None:
        self._add("→", frame)

    def came(self, frame: dict[str, Any]) -> None:
        self._add("←", frame)

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"

    def _add(self, arrow: str, frame: dict[str, Any]) -> None:
        line = f"{arrow} {self._object(frame, frame['type'])}"
        if len(line) > WIDTH:
            line = re.sub(r', ("(?:row|messages|runs|parts|seen)": [\[{][^\]}])', r",\n   \1", line)
            line = line.replace("}, {", "},\n    {").replace("], [", "],\n    [")
        self.lines += line.split("\n")

    def _object(self, value: dict[str, Any], kind: str) -> str:
        shown = [name for name in SHOWN.get(kind, value) if name in value]
        if kind == "message" and "text_length" in value and "text" not in value:
            shown.insert(-1, "text_length")
        fields = [f"{self._value(name, '')}: {self._value(value[name], name)}" for name in shown]
        return f"{{{', '.join(fields if len(shown) == len(value) else [*fields, '…'])}}}"

    def _value(self, value: Any, name: str) -> str:
        if isinstance(value, dict):
            return self._object(value, name)
        if isinstance(value, list):
            return f"[{', '.join(self._value(item, name.removesuffix('s')) for item in value)}]"
        if isinstance(value, str):
            value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda found: self._id(found[0]), value)
        return json.dumps(value, ensure_ascii=False)

    def _id(self, pk: str) -> str:
        number = len(self._ids)
        return self._ids.setdefault(pk, f"{'abcdef'[number % 6]}{number + 1}…")


class Session:
    """One client's session, written down."""

    def __init__(self, socket: Socket, transcript: Transcript) -> None:
        self.socket, self.transcript = socket, transcript

    async def say(self, type: str, **fields: Any) -> None:
        frame = {"type": type, "id": str(uuid4()), **fields}
        self.transcript.sent(frame)
        await self.socket.write(json.dumps(frame))

    async def until(self, type: str) -> dict[str, Any]:
        """Events up to the first of this type."""
        events = await self.socket.until(type)
        for event in events:
            self.transcript.came(event)
        return events[-1]


@pytest.fixture
async def words(process: Process) -> Words:
    return Words()


@pytest.fixture
async def worker(process: Process, words: Words) -> AsyncIterator[Worker]:
    chosen: Any = SimpleNamespace(choose=lambda model: (words.provider, model))
    worker = Worker(process.log, process.layer, process.hub, in_database, chosen, process.rng, name="worker")
    yield worker
    await worker.drain(0)


async def test_the_session_in_the_page_is_one_that_took_place(
    process: Process, opens: Opens, owned: Chat, words: Words, worker: Worker
) -> None:
    transcript = Transcript()
    thread = str(owned.id)
    transcript.note("→ GET /ws/chat/  Sec-WebSocket-Protocol: rejoin.v1")
    one = Session(await opens(owned.owner), transcript)
    transcript.came(one.socket.welcome)
    await one.say("attach", thread=thread)
    await one.until("caught_up")
    run = str(uuid4())
    await one.say("send", thread=thread, message=str(uuid4()), run=run, text="Tell me a story.")
    await one.until("reply")
    working = asyncio.create_task(worker.run())
    await one.until("change")  # it is running
    words.go_on()
    await one.until("delta")
    words.go_on()
    cursor = (await one.until("delta"))["cursor"]
    await one.socket.wire.disconnect()
    transcript.note("  (the connection is lost; the model goes on)")
    words.go_on()
    await log_has(process, run, 4)
    transcript.note("→ GET /ws/chat/  Sec-WebSocket-Protocol: rejoin.v1")
    two = Session(await opens(owned.owner), transcript)
    transcript.came(two.socket.welcome)
    await two.say("attach", thread=thread, cursor=cursor)
    await two.until("caught_up")
    words.go_on()
    answer = (await two.until("delta"))["parts"][0][1]
    transcript.note("  (its user stops it; on the screen is: Once upon a time there was)")
    await two.say("stop", thread=thread, run=run, seen={answer: len("Once upon a time there was")})
    await two.until("reply")
    await two.until("change")
    assert words.provider.closed
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    page = PAGE.read_text()
    if os.environ.get("REJOIN_WRITE"):
        PAGE.write_text(page.replace(shown(page), str(transcript)))
    assert shown(PAGE.read_text()) == str(transcript), "see the module's docstring"


def shown(page: str) -> str:
    found = BLOCK.search(page)
    assert found, "the page has no section A session"
    return found[1]


async def log_has(process: Process, run: str, parts: int) -> None:
    """Returns when the run log has so many parts of the run."""
    async with asyncio.timeout(30):
        while (log := await process.log.read(run, 0)) is None or log.last % 1_000_000 < parts:
            await asyncio.sleep(0.01)
