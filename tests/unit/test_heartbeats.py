"""Heartbeats over a websocket, and the pause of who does not answer them."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from chat import frames
from chat.announcement import Announcement
from chat.consumers import SEND_PATIENCE
from chat.process import Process
from chat.protocol import (
    CLOSE_UNANSWERED,
    HEARTBEAT_SILENCE,
    MAX_FRAME,
    MAX_PAUSE,
    MAX_UNANSWERED,
    PROTOCOL,
    text,
)
from chat.routing import websockets
from chat.runlog.base import Append, Batch
from tests.unit.chats import Chat, in_database, until
from tests.unit.sockets import Opens, Socket, attached, sign_in


async def test_silence_is_broken_by_a_heartbeat(socket: Socket) -> None:
    socket.tick(HEARTBEAT_SILENCE - 1)
    assert await socket.silent()
    socket.tick(HEARTBEAT_SILENCE)
    event = await socket.next()
    assert event["type"] == "heartbeat"


async def spoken(owned: Chat, process: Process, count: int, size: int = 10_000, character: str = "x") -> None:
    """A run says so many long words, and everybody is told."""
    asked = await in_database(owned.send)
    claim = await in_database(owned.claim, asked.run)
    answer = str(await in_database(owned.begin, claim))
    run, topic = str(asked.run), f"thread.{owned.id}"
    await process.log.open(run, claim.lease, claim.first)
    for n in range(count):
        at, parts = claim.first + n, json.dumps([text(answer, character * size)], ensure_ascii=False)
        await process.log.append([Append(run, claim.lease, [Batch(at, at + 1, parts)])])
    version = (await in_database(lambda: owned.thread)).version
    await process.layer.group_send(topic, {"type": "changed", "topic": topic, "version": version})


@pytest.mark.parametrize("character", ["x", "漢"])
async def test_a_heartbeat_follows_after_64_kib(socket: Socket, owned: Chat, process: Process, character: str) -> None:
    await attached(socket, owned)
    await spoken(owned, process, 10, 20_000 // len(character.encode()), character)
    events = await socket.until("heartbeat")
    size = sum(len(frames.encode(event).encode()) for event in events[:-1])
    assert 60 * 1024 <= size <= 64 * 1024 + MAX_FRAME


async def test_who_answers_no_heartbeat_is_paused_and_goes_on_where_it_was(
    socket: Socket, owned: Chat, process: Process
) -> None:
    replica = await attached(socket, owned)
    await spoken(owned, process, 60)
    [consumer] = process.connections
    await until(lambda: consumer._flow.paused and not consumer._out)  # type: ignore[attr-defined]
    events: list[dict[str, Any]] = []
    while not await socket.silent():
        events.append(await socket.next())
    beats = [event["n"] for event in events if event["type"] == "heartbeat"]
    assert len(beats) >= MAX_UNANSWERED
    await process.announce((await in_database(lambda: owned.do("update", title="meanwhile"))).announcement)
    assert await socket.silent()
    await socket.write(json.dumps({"type": "ack", "n": beats[-1]}))
    events += await socket.until("change")
    for event in events:
        if event["type"] != "heartbeat":
            replica.apply(json.dumps(event))
    assert replica.row["title"] == "meanwhile"
    [answer] = [message for message in replica.messages.values() if message["role"] == "assistant"]
    assert len(answer["text"]) == 600_000


async def pause(socket: Socket) -> int:
    """Let heartbeats go unanswered until the socket is paused: the last one's number."""
    for _ in range(MAX_UNANSWERED):
        socket.tick(HEARTBEAT_SILENCE)
    return [(await socket.next())["n"] for _ in range(MAX_UNANSWERED)][-1]


async def test_a_pause_that_lasts_is_closed_4408(socket: Socket) -> None:
    await pause(socket)
    socket.tick(MAX_PAUSE - 1)
    assert await socket.silent()
    socket.tick(MAX_PAUSE)
    assert (await socket.next())["code"] == CLOSE_UNANSWERED


async def test_no_further_heartbeats_are_sent_to_who_is_paused(socket: Socket) -> None:
    await pause(socket)
    socket.tick(HEARTBEAT_SILENCE * 3)
    assert await socket.silent()


async def test_who_is_paused_is_sent_no_replies_to_pile_up_and_gets_them_afterwards(
    socket: Socket, owned: Chat
) -> None:
    last = await pause(socket)
    ids = [await socket.command("search", query="x") for _ in range(5)]
    assert await socket.silent()
    await socket.write(json.dumps({"type": "ack", "n": last}))
    assert [event["id"] for _ in ids for event in await socket.until("reply")] == ids


async def test_an_attach_of_who_is_paused_waits_too(socket: Socket, owned: Chat) -> None:
    last = await pause(socket)
    await socket.command("attach", thread=owned.id)
    assert await socket.silent()
    await socket.write(json.dumps({"type": "ack", "n": last}))
    assert {event["type"] for event in await socket.until("caught_up")} >= {"reply", "caught_up"}


async def test_an_ack_of_what_was_never_sent_pauses_nobody_and_buys_nothing(socket: Socket) -> None:
    for n in (1, 4, 1000, 10**9):
        await socket.write(json.dumps({"type": "ack", "n": n}))
    await pause(socket)
    await socket.write('{"type": "ack", "n": 1000000000}')
    assert await socket.silent()
    socket.tick(MAX_PAUSE)
    assert (await socket.next())["code"] == CLOSE_UNANSWERED


async def test_a_socket_that_takes_nothing_any_more_is_given_up_with_all_it_had(process: Process, owned: Chat) -> None:
    """As behind a server whose buffer is full: no close comes through, and nobody tells that the client is gone."""
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    stuck = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        if "welcome" not in message.get("text", "welcome"):
            stuck.set()
            await asyncio.Event().wait()

    cookie = f"{settings.SESSION_COOKIE_NAME}={await sync_to_async(sign_in)(owned.owner)}"
    headers = {"host": "testserver", "origin": "http://testserver", "cookie": cookie}
    scope = {
        "type": "websocket",
        "path": "/ws/chat/",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "subprotocols": [PROTOCOL],
        "rejoin": process,
    }
    serving = asyncio.create_task(websockets(scope, incoming.get, send))
    attach = {"type": "attach", "id": str(uuid4()), "thread": str(owned.id)}
    incoming.put_nowait({"type": "websocket.connect"})
    await until(lambda: process.connections)
    incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(attach)})
    await stuck.wait()
    [consumer] = process.connections
    now = asyncio.get_running_loop().time()
    consumer.tick(now + SEND_PATIENCE - 1)
    assert not await still(serving)
    consumer.tick(now + SEND_PATIENCE + 1)
    await serving
    assert not process.connections
    assert not process.hub._listeners


async def still(serving: asyncio.Task[None]) -> bool:
    """Whether it has ended, after all that is ready to be done was done."""
    for _ in range(20):
        await asyncio.sleep(0)
    return serving.done()


async def test_a_socket_that_left_leaves_nothing_behind(opens: Opens, process: Process, owned: Chat) -> None:
    socket = await opens(owned.owner)
    await attached(socket, owned)
    await socket.wire.disconnect()
    await until(lambda: not process.connections)
    assert not process.hub._listeners


async def test_an_answer_is_watched_over_a_websocket_from_question_to_end(
    socket: Socket, owned: Chat, process: Process
) -> None:
    replica = await attached(socket, owned)
    message, run = uuid4(), uuid4()
    await socket.do("send", thread=owned.id, message=message, run=run, text="hello")
    for event in socket.before:
        replica.apply(json.dumps(event))
    claim = await in_database(owned.claim, run)
    await process.announce(claim.announcement)
    answer = await in_database(owned.begin, claim)
    await in_database(lambda: owned.finish(claim, {answer: "An answer."}))
    version = (await in_database(lambda: owned.thread)).version
    await process.announce(Announcement(owned.id, version))
    while replica.cursor.version < version:
        event = await socket.next()
        if event["type"] in ("change", "delta"):
            replica.apply(json.dumps(event))
    assert [replica.messages[str(pk)]["text"] for pk in (message, answer)] == ["hello", "An answer."]
    assert replica.runs[str(run)]["state"] == "completed"
    assert replica.row["head"] == str(answer)
