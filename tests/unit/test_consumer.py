"""The websocket edge: who gets in, what frames it takes, and how fast.

Time passes only where a test says so: what a process does once a second is called by hand.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from chat import actions
from chat.models import Guest
from chat.process import Process
from chat.protocol import (
    BAD_FRAMES,
    CLOSE_BAD_FRAMES,
    CLOSE_RESTARTING,
    CLOSE_SIGN_IN,
    CLOSE_TOO_FAST,
    HEARTBEAT_SILENCE,
    MAX_FRAME,
    PROTOCOL,
)
from chat.replication.attachment import Sources
from tests.unit.chats import Chat, in_database, make_user
from tests.unit.sockets import Opens, Socket, attached, sign_in


async def test_who_is_signed_in_is_welcome(process: Process, owned: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_QUEUED = 7
    socket = Socket(process, await sync_to_async(sign_in)(owned.owner))
    welcome = await socket.open()
    assert welcome["user"] == {"id": str(owned.owner.pk), "name": owned.owner.username, "guest": False}
    assert (welcome["protocol"], welcome["models"]) == (PROTOCOL, ["model"])
    assert welcome["limits"] == {"frame": MAX_FRAME, "message": 32 * 1024, "window": 50, "queued": 7}
    await socket.wire.disconnect()


async def test_a_guest_is_welcome_and_told_so(opens: Opens, process: Process) -> None:
    user = await in_database(make_user)
    await in_database(lambda: Guest.objects.create(user=user))
    socket = Socket(process, await sync_to_async(sign_in)(user))
    assert (await socket.open())["user"] == {"id": str(user.pk), "name": "", "guest": True}
    await socket.wire.disconnect()


@pytest.mark.parametrize("cookie", ["", "x", "a-session-that-is-not-there"])
async def test_who_is_not_signed_in_is_closed_4401(process: Process, cookie: str) -> None:
    assert await Socket(process, cookie).refused() == CLOSE_SIGN_IN
    assert not process.connections


async def test_who_may_not_sign_in_any_more_is_closed_4401(process: Process, owned: Chat) -> None:
    cookie = await sync_to_async(sign_in)(owned.owner)
    await in_database(lambda: User.objects.filter(pk=owned.owner.pk).update(is_active=False))
    assert await Socket(process, cookie).refused() == CLOSE_SIGN_IN


@pytest.mark.parametrize("origin", ["http://evil.example", "http://testserver.evil.example", "null", ""])
async def test_a_page_from_elsewhere_can_not_use_the_visitors_session(
    process: Process, owned: Chat, origin: str, settings: Any
) -> None:
    socket = Socket(process, await sync_to_async(sign_in)(owned.owner), origin=origin)
    assert await socket.refused() == 403
    assert not process.connections


async def test_there_is_no_socket_at_any_other_address(process: Process, owned: Chat) -> None:
    socket = Socket(process, await sync_to_async(sign_in)(owned.owner))
    socket.wire.scope["path"] = "/ws/chats/"
    assert await socket.refused() == 403


async def test_a_client_of_another_protocol_is_closed(process: Process, owned: Chat) -> None:
    socket = Socket(process, await sync_to_async(sign_in)(owned.owner))
    socket.wire.scope["subprotocols"] = ["rejoin.v9"]
    assert await socket.refused() == CLOSE_BAD_FRAMES


@pytest.mark.parametrize("how", ["signed out", "locked out"])
async def test_the_session_is_looked_at_again_while_the_socket_is_open(socket: Socket, owned: Chat, how: str) -> None:
    if how == "signed out":
        await in_database(lambda: Session.objects.all().delete())
    else:
        await in_database(lambda: User.objects.filter(pk=owned.owner.pk).update(is_active=False))
    socket.tick(61)
    assert (await socket.until("close"))[-1]["code"] == CLOSE_SIGN_IN


async def test_a_server_that_ends_says_come_back(socket: Socket, process: Process) -> None:
    for one in list(process.connections):
        await one.restart()
    assert (await socket.next())["code"] == CLOSE_RESTARTING


async def test_who_is_being_let_in_when_the_server_ends_is_told_to_come_back(process: Process, owned: Chat) -> None:
    """All who were there have been told by then."""

    async def database(function: Any, *args: Any) -> Any:
        result = await in_database(function, *args)
        await process.stop()
        return result

    process.sources = Sources(database, process.log, process.hub, process.rng)
    socket = Socket(process, await sync_to_async(sign_in)(owned.owner))
    assert await socket.refused() == CLOSE_RESTARTING
    await socket.wire.disconnect()


async def test_who_leaves_while_a_command_is_being_done_has_it_done_and_told(
    socket: Socket, opens: Opens, owned: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would tell: viewers here are compared once in an hour."""
    loop, begun, left = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    perform = actions.perform

    def once_they_have_left(*args: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        assert left.wait(10)
        return perform(*args)

    reader = await opens(owned.owner)
    await attached(reader, owned)
    monkeypatch.setattr(actions, "perform", once_they_have_left)
    await socket.command("update", thread=owned.id, title="Told")
    await begun.wait()
    await socket.wire.disconnect()
    left.set()
    assert (await reader.until("change"))[-1]["row"]["title"] == "Told"


async def test_what_changed_comes_with_the_reply_where_the_thread_was_followed_and_is_no_longer(socket: Socket) -> None:
    """It is created after somebody has tried to follow it."""
    thread = uuid4()
    await socket.command("attach", thread=thread)
    assert (await socket.until("gone"))[-1]["thread"] == str(thread)
    created = await socket.do("create", thread=thread)
    assert created["change"]["row"]["id"] == str(thread)


async def test_what_changed_comes_before_the_reply_also_to_whose_cursor_is_ahead_of_the_server(
    socket: Socket, owned: Chat
) -> None:
    await socket.command("attach", thread=owned.id, cursor="1000")
    updated = await socket.command("update", thread=owned.id, title="Told")
    events = await socket.until("change")
    assert updated not in [event["id"] for event in events if event["type"] == "reply"]
    assert events[-1]["row"]["title"] == "Told"
    assert updated in [event.get("id") for event in await socket.until("reply")]


# --------------------------------------------------------------------------------------------------------- bad frames


@pytest.mark.parametrize("data", [" ", "x", "[]", "{}", '{"type": 5}', '{"type": "send"}', "x" * (MAX_FRAME + 1)])
async def test_the_fifth_malformed_frame_closes_4400_and_the_others_are_answered(socket: Socket, data: str) -> None:
    for _ in range(BAD_FRAMES):
        await socket.write(data)
    events = await socket.until("close")
    assert [event["type"] for event in events] == ["error"] * BAD_FRAMES + ["close"]
    assert {event["code"] for event in events[:-1]} <= {"bad_frame", "too_large"}
    assert events[-1]["code"] == CLOSE_BAD_FRAMES


async def test_a_binary_frame_is_a_bad_frame(socket: Socket) -> None:
    await socket.wire.send_to(bytes_data=b"{}")
    assert (await socket.next())["code"] == "bad_frame"


@pytest.mark.parametrize("ack", ['{"type": "ack"}', '{"type": "ack", "n": "1"}', '{"type": "ack", "n": true}'])
async def test_an_ack_of_no_heartbeat_is_a_bad_frame(socket: Socket, ack: str) -> None:
    await socket.write(ack)
    assert (await socket.next())["code"] == "bad_frame"


async def test_a_frame_that_was_refused_for_what_it_says_is_not_malformed(socket: Socket, owned: Chat) -> None:
    refused = [
        await socket.do("fly"),
        await socket.do("send", thread=owned.id),
        await socket.do("update", thread=uuid4(), title="x"),
        await socket.do("attach"),
        await socket.do("attach", thread=owned.id, inbox=True),
        await socket.do("attach", thread=owned.id, cursor="x"),
        await socket.do("send", thread=owned.id, message=uuid4(), run=uuid4(), text="x" * 33_000),
    ]
    assert [error["code"] for error in refused] == [
        "unsupported",
        "bad_request",
        "not_found",
        "bad_request",
        "bad_request",
        "bad_request",
        "too_large",
    ]
    for _ in range(BAD_FRAMES):
        error = await socket.do("send", thread=owned.id, message=uuid4(), run=uuid4(), text="x" * 33_000)
        assert error["code"] == "too_large"
    assert await socket.do("update", thread=owned.id, title="still here")


async def test_no_frame_harms_the_socket_that_sent_it(socket: Socket, owned: Chat) -> None:
    await socket.write('{"type": "ack", "n": 99999999999999999999999999}')
    deep = '{"type": "x", "a": ' + "[" * 900 + '"\\u0000"' + "]" * 900 + "}"
    await socket.write(deep)
    await socket.command("update", thread=owned.id, title="still here")
    assert (await socket.until("reply"))[-1]["result"]["version"] == 2


# ---------------------------------------------------------------------------------------------------------- too fast


async def test_a_flood_is_refused_and_then_closed(settings: Any, opens: Opens, owned: Chat) -> None:
    settings.REJOIN_BURST, settings.REJOIN_RATE = 5, 0.001
    other = await opens(await in_database(make_user))
    flooding = await opens(owned.owner)
    for _ in range(5 + 2 * 5 + 1):
        await flooding.command("search", query="x")
    events = await flooding.until("close")
    kinds = [event["type"] for event in events if event["type"] != "reply"]
    assert kinds == ["error"] * 11 + ["close"]
    errors = [event for event in events if event["type"] == "error"]
    assert {event["code"] for event in errors} == {"rate_limited"}
    assert all(event["retry_after"] > 0 and event["id"] for event in errors)
    assert events[-1]["code"] == CLOSE_TOO_FAST
    assert "items" in await other.do("search", query="x")


async def test_who_opens_more_sockets_may_send_no_more_commands(settings: Any, opens: Opens, owned: Chat) -> None:
    settings.REJOIN_BURST, settings.REJOIN_RATE = 5, 0.001
    sockets = [await opens(owned.owner) for _ in range(4)]
    answers = [await socket.do("search", query="x") for socket in sockets for _ in range(2)]
    assert ["items" in answer for answer in answers] == [True] * 5 + [False] * 3
    assert {answer["code"] for answer in answers[5:]} == {"rate_limited"}


async def test_a_user_has_only_so_many_sockets_and_others_have_theirs(
    settings: Any, opens: Opens, owned: Chat, process: Process
) -> None:
    settings.REJOIN_MAX_SOCKETS = 2
    first, _ = [await opens(owned.owner) for _ in range(2)]
    assert await Socket(process, first.cookie).refused() == CLOSE_TOO_FAST
    await opens(await in_database(make_user))
    await first.wire.disconnect()
    await opens(owned.owner)


async def test_a_flood_of_acks_is_one_too(settings: Any, opens: Opens, owned: Chat) -> None:
    settings.REJOIN_BURST, settings.REJOIN_RATE = 5, 0.001
    flooding = await opens(owned.owner)
    for _ in range(20):
        await flooding.write('{"type": "ack", "n": 0}')
    assert (await flooding.until("close"))[-1]["code"] == CLOSE_TOO_FAST


async def test_acks_of_heartbeats_cost_nothing(settings: Any, opens: Opens, owned: Chat) -> None:
    settings.REJOIN_BURST, settings.REJOIN_RATE = 2, 0.001
    socket = await opens(owned.owner)
    for _ in range(10):
        socket.tick(HEARTBEAT_SILENCE)
        await socket.write(json.dumps({"type": "ack", "n": (await socket.next())["n"]}))
    assert "items" in await socket.do("search", query="x")


async def test_a_queue_that_is_full_refuses_and_closes_nobody(socket: Socket, owned: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_QUEUED = 1
    first, *others = [
        await socket.do("send", thread=owned.id, message=uuid4(), run=uuid4(), text="hello") for _ in range(4)
    ]
    assert "version" in first
    assert {error["code"] for error in others} == {"rate_limited"}


async def test_one_socket_watches_only_so_many_threads(socket: Socket, owned: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_ATTACHED = 3
    chats = [await in_database(Chat, owned.owner) for _ in range(4)]
    for one in chats[:3]:
        assert await socket.do("attach", thread=one.id) == {}
    assert (await socket.do("attach", thread=chats[3].id))["code"] == "rate_limited"
    assert await socket.do("attach", thread=chats[0].id) == {}
    await socket.do("detach", thread=chats[0].id)
    assert await socket.do("attach", thread=chats[3].id) == {}


async def test_threads_that_are_gone_are_not_counted(socket: Socket, owned: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_ATTACHED = 1
    await socket.do("attach", thread=uuid4())
    await socket.until("gone")
    assert await socket.do("attach", thread=owned.id) == {}
