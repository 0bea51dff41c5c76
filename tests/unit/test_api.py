"""The JSON API: the same verbs, errors and ids as on the websocket, one request at a time."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from chat import actions
from chat.api.verbs import VERBS
from chat.process import Process
from chat.protocol import MAX_COMMANDS
from tests.unit.caller import Caller
from tests.unit.chats import Chat, in_database
from tests.unit.sockets import Opens


@pytest.fixture
async def caller(process: Process, owned: Chat) -> Caller:
    """The thread's owner, signed in."""
    return await Caller.of(process, owned.owner)


def ids(*names: str) -> dict[str, str]:
    return {name: str(uuid4()) for name in names}


# -------------------------------------------------------------------------------------------------------- commands


def test_every_verb_has_an_address() -> None:
    assert {verb.kind for verb in VERBS} == set(actions.VERBS)


async def test_a_thread_is_made_with_the_clients_id(caller: Caller) -> None:
    body = {**ids("id", "thread"), "title": "Rivers"}
    answer = await caller("create", body)
    assert answer["id"] == body["id"]
    assert answer["version"] == 1
    assert answer["change"]["row"]["title"] == "Rivers"
    found = await caller("thread", thread=body["thread"])
    assert found["thread"]["title"] == found["item"]["title"] == "Rivers"
    assert found["version"] == 1


async def test_a_message_is_sent_and_its_run_waits(caller: Caller, owned: Chat) -> None:
    sent = ids("message", "run")
    answer = await caller.do("send", {**sent, "text": "Where do rivers begin?"}, thread=owned.id)
    assert [row["id"] for row in answer["change"]["messages"]] == [sent["message"]]
    assert [row["state"] for row in answer["change"]["runs"]] == ["queued"]
    assert (await caller("run", thread=owned.id, run=sent["run"]))["place"] == 1
    found = await caller("message", thread=owned.id, message=sent["message"])
    assert found["text"] == "Where do rivers begin?"


async def test_a_command_with_a_cursor_brings_all_that_was_missed(caller: Caller, owned: Chat) -> None:
    turn = await in_database(owned.turn)
    answer = await caller.do("update", {"title": "Rivers", "cursor": "1"}, thread=owned.id)
    assert {row["id"] for row in answer["change"]["messages"]} == {str(turn.message), str(turn.answer)}
    assert answer["change"]["cursor"] == str(answer["version"])


async def test_a_command_given_again_changes_nothing_and_gets_the_same_answer(caller: Caller, owned: Chat) -> None:
    body = {**ids("id", "message", "run"), "text": "once"}
    first = await caller("send", body, thread=owned.id)
    again = await caller("send", body, thread=owned.id)
    assert (first["id"], first["version"]) == (again["id"], again["version"])
    assert len(await in_database(lambda: list(owned.thread.messages.all()))) == 1


async def test_a_command_of_a_websocket_given_again_here_is_the_same_command(
    caller: Caller, owned: Chat, opens: Opens
) -> None:
    socket = await opens(owned.owner)
    body = {**ids("id", "message", "run"), "text": "once"}
    result = await socket.do("send", thread=owned.id, **body)
    assert (await caller("send", body, thread=owned.id))["version"] == result["version"]
    assert len(await in_database(lambda: list(owned.thread.messages.all()))) == 1


async def test_who_follows_on_a_websocket_sees_what_is_done_here(caller: Caller, owned: Chat, opens: Opens) -> None:
    socket = await opens(owned.owner)
    await socket.command("attach", thread=owned.id)
    await socket.until("caught_up")
    await caller.do("update", {"title": "Rivers"}, thread=owned.id)
    change = (await socket.until("change"))[-1]
    assert change["row"]["title"] == "Rivers"


async def test_fields_that_are_not_there_stay_as_they_are(caller: Caller, owned: Chat) -> None:
    await caller.do("update", {"title": "Rivers"}, thread=owned.id)
    await caller("update", {**ids("id"), "pinned": True}, thread=owned.id)
    row = (await caller("thread", thread=owned.id))["thread"]
    assert (row["title"], row["pinned"]) == ("Rivers", True)


async def test_a_thread_is_deleted_by_a_command_in_the_query(caller: Caller, owned: Chat) -> None:
    answer = await caller.do("delete", thread=owned.id)
    assert set(answer) == {"id", "version"}
    assert (await caller.refused("thread", thread=owned.id))["code"] == "not_found"


async def test_a_run_is_stopped_where_it_was_read(caller: Caller, owned: Chat) -> None:
    turn = await in_database(owned.turn, "hello", "In mountains 🏔 far away")
    body = {**ids("id"), "seen": {str(turn.answer): 14}}
    await caller("stop", body, thread=owned.id, run=turn.run)
    row = await caller("message", thread=owned.id, message=turn.answer)
    assert (row["text"], row["status"]) == ("In mountains 🏔", "cut")
    assert (await caller("run", thread=owned.id, run=turn.run))["state"] == "stopped"


async def test_an_answer_is_generated_again_beside_the_first(caller: Caller, owned: Chat) -> None:
    turn = await in_database(owned.turn)
    run = uuid4()
    await caller.do("regenerate", {"run": run}, thread=owned.id, of=turn.answer)
    other = await in_database(owned.answered, run)
    row = await caller("message", thread=owned.id, message=turn.answer)
    assert row["siblings"] == [str(turn.answer), str(other)]


async def test_what_was_read_is_no_longer_unread(caller: Caller, owned: Chat) -> None:
    turn = await in_database(owned.turn)
    assert (await caller("thread", thread=owned.id))["item"]["unread"]
    await caller.do("read", thread=owned.id, message=turn.answer)
    assert not (await caller("thread", thread=owned.id))["item"]["unread"]


# ------------------------------------------------------------------------------------------------- a list of them


async def test_a_list_is_done_in_order_and_answered_in_the_same(caller: Caller) -> None:
    thread, sent = uuid4(), ids("message", "run")
    found = await caller(
        "commands",
        [
            {"type": "create", **ids("id"), "title": "Rivers"},
            {"type": "send", **ids("id"), **sent, "text": "Where do they begin?"},
            {"type": "stop", **ids("id"), "run": sent["run"]},
            {"type": "history", **ids("id"), "before": sent["message"]},
        ],
        thread=thread,
    )
    assert [reply["type"] for reply in found] == ["reply"] * 4
    assert [reply["result"].get("version") for reply in found] == [1, 2, 3, None]
    assert found[3]["result"]["messages"] == []
    assert (await caller("run", thread=thread, run=sent["run"]))["state"] == "stopped"


async def test_what_is_wrong_in_a_list_gets_an_error_in_its_place_and_the_rest_is_done(
    caller: Caller, owned: Chat
) -> None:
    named = ids("id")
    given: list[Any] = [
        {"type": "update", **named, "title": 7},
        "no frame",
        {"type": "update", "title": "no id"},
        {"type": "dance", **ids("id")},
        {"type": "attach", **ids("id"), "thread": str(owned.id)},
        {"type": "update", **ids("id"), "thread": str(uuid4()), "title": "another's"},
        {"type": "stop", **ids("id"), "run": str(uuid4())},
        {"type": "update", **ids("id"), "title": "the last"},
    ]
    found = await caller("commands", given, thread=owned.id)
    assert [(reply["type"], reply.get("code")) for reply in found] == [
        ("error", "bad_request"),
        ("error", "bad_frame"),
        ("error", "bad_frame"),
        ("error", "unsupported"),
        ("error", "unsupported"),
        ("error", "bad_request"),
        ("error", "not_found"),
        ("reply", None),
    ]
    assert found[0]["id"] == named["id"]
    assert found[0]["detail"] == {"field": "title"}
    assert (await caller("thread", thread=owned.id))["thread"]["title"] == "the last"


async def test_a_list_counts_as_many_as_it_has_and_is_refused_as_a_whole(
    caller: Caller, owned: Chat, settings: Any
) -> None:
    settings.REJOIN_RATE, settings.REJOIN_BURST = 0.001, 5
    titles = [{"type": "update", **ids("id"), "title": str(n)} for n in range(3)]
    assert [reply["type"] for reply in await caller("commands", titles, thread=owned.id)] == ["reply"] * 3
    error = await caller.refused("commands", [{**title, **ids("id")} for title in titles], thread=owned.id)
    assert error["code"] == "rate_limited"
    assert (await in_database(lambda: owned.thread.version)) == 4


async def test_a_list_may_be_as_long_as_its_limit(caller: Caller, owned: Chat) -> None:
    many = [{"type": "update", **ids("id"), "title": str(n)} for n in range(MAX_COMMANDS + 1)]
    error = await caller.refused("commands", many, thread=owned.id)
    assert (error["code"], error["detail"]) == ("too_large", {"limit": MAX_COMMANDS})
    assert (await in_database(lambda: owned.thread.version)) == 1
    assert len(await caller("commands", many[:-1], thread=owned.id)) == MAX_COMMANDS


async def test_a_list_that_is_empty_or_no_list_is_a_bad_request(caller: Caller, owned: Chat) -> None:
    for given in ([], {"type": "delete", **ids("id")}):
        error = await caller.refused("commands", given, thread=owned.id)
        assert error["code"] == "bad_request"
    assert (await caller("thread", thread=owned.id))["version"] == 1


# --------------------------------------------------------------------------------------------------------- reading


async def test_me_is_what_a_websocket_is_welcomed_with(caller: Caller, owned: Chat, opens: Opens) -> None:
    socket = await opens(owned.owner)
    welcome = await frames_of_welcome(socket)
    mine = await caller("me")
    assert {**mine, "server_time": ""} == {**welcome, "server_time": ""}
    assert mine["user"]["name"] == owned.owner.username


async def frames_of_welcome(socket: Any) -> dict[str, Any]:
    """Another socket of the same browser, from its beginning."""
    again = type(socket)(socket.process, socket.cookie)
    welcome: dict[str, Any] = await again.open()
    await again.wire.disconnect()
    return welcome


async def test_threads_are_listed_the_latest_first_a_page_at_a_time(caller: Caller, owned: Chat) -> None:
    made = [str(owned.id)] + [str((await in_database(Chat, owned.owner)).id) for _ in range(4)]
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    more = True
    while more:
        page = await caller("threads", query=query)
        found += [item["id"] for item in page["items"]]
        query, more = {"limit": 2, "before": found[-1]}, page["more"]
    assert found == made[::-1]


async def test_threads_are_found_by_what_was_said_in_them(caller: Caller, owned: Chat) -> None:
    await in_database(owned.turn, "Where do rivers begin?")
    await in_database(Chat, owned.owner)
    assert [item["id"] for item in (await caller("threads", query={"query": "RIVERS"}))["items"]] == [str(owned.id)]
    assert (await caller("threads", query={"query": "a\0b"}))["items"] == []


async def test_archived_threads_are_listed_when_asked_for(caller: Caller, owned: Chat) -> None:
    await caller("update", {**ids("id"), "archived": True}, thread=owned.id)
    assert (await caller("threads", query={"archived": "false"}))["items"] == []
    assert len((await caller("threads", query={"archived": "true"}))["items"]) == 1


async def test_the_path_is_read_from_its_end(caller: Caller, owned: Chat) -> None:
    turns = [await in_database(owned.turn, f"question {n}") for n in range(3)]
    page = await caller("messages", thread=owned.id, query={"limit": 2})
    assert [row["id"] for row in page["messages"]] == [str(turns[2].message), str(turns[2].answer)]
    assert page["more"]
    assert [run["id"] for run in page["runs"]] == [str(turns[2].run)]
    before = page["messages"][0]["id"]
    rest = await caller("messages", thread=owned.id, query={"before": before})
    assert [row["id"] for row in rest["messages"]][-1] == str(turns[1].answer)
    assert not rest["more"]


async def test_runs_are_listed_by_their_state(caller: Caller, owned: Chat) -> None:
    turn, waiting = await in_database(owned.turn), await in_database(owned.send)
    assert [run["id"] for run in (await caller("runs", thread=owned.id))["runs"]] == [
        str(waiting.run),
        str(turn.run),
    ]
    queued = await caller("runs", thread=owned.id, query={"state": "queued"})
    assert [run["id"] for run in queued["runs"]] == [str(waiting.run)]
    some = await caller("runs", thread=owned.id, query={"state": ["queued", "completed"], "limit": 1})
    assert some["more"]
