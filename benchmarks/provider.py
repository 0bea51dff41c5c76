"""A model inside the worker's process, and the same one behind HTTP.

    python -m uvicorn benchmarks.provider:server

is any OpenAI-compatible server, as far as a client of one model needs it. It notes when a client leaves in the middle
of an answer: GET …/left tells, as JSON, {the answer's ``begin``: when it was left, by the monotonic clock}.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from benchmarks.script import Script
from chat.protocol import Part, end, start, text
from chat.providers.base import Conversation, Provider


class ScriptProvider(Provider):
    """Says what the user's message tells it to."""

    name = "script"

    async def stream(self, conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer, author="script")
        async for token in Script.parse(conversation.turns[-1].text).tokens():
            yield text(answer, token)
        yield end(answer)


LEFT: dict[str, float] = {}


async def server(scope: Any, receive: Any, send: Any) -> None:
    """POST …/chat/completions with ``stream``; GET …/left."""
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"].endswith("/left"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": orjson.dumps(LEFT)})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    script = Script.parse(orjson.loads(body)["messages"][-1]["content"])
    saying = asyncio.create_task(_say(script, send))
    leaving = asyncio.create_task(_leave(receive))
    await asyncio.wait({saying, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not saying.done():
        LEFT[str(script.begin)] = leaving.result()
    saying.cancel()
    leaving.cancel()


async def _say(script: Script, send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for token in script.tokens():
        await send({"type": "http.response.body", "body": _chunk({"content": token}), "more_body": True})
    await send({"type": "http.response.body", "body": _chunk({}, "stop") + b"data: [DONE]\n\n"})


async def _leave(receive: Any) -> float:
    """When the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
    return time.monotonic()


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "script"}
    return b"data: %s\n\n" % orjson.dumps({**head, "choices": [choice]})
