"""Whoever comes back after long gets the rows since, a page at a time, or begins anew where that is less."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.fold import Fold
from chat.generation import ledger
from chat.models import Message
from chat.protocol import MAX_FRAME, WINDOW, Cursor, text
from tests.unit.chats import Chat, in_database
from tests.unit.replica import Replica
from tests.unit.sockets import Socket, attached


def turns(chat: Chat, count: int, words: str = "An answer.") -> str:
    """So many questions and answers. Returns the cursor of who has seen them all."""
    for n in range(count):
        chat.turn(f"question {n}", f"{words} {n}")
    return str(Cursor(chat.thread.version))


async def changes(socket: Socket, chat: Chat, **fields: Any) -> list[dict[str, Any]]:
    """The changes that an attach brings."""
    await socket.command("attach", thread=chat.id, **fields)
    events = await socket.until("caught_up")
    for heartbeat in (event for event in events if event["type"] == "heartbeat"):
        await socket.write(json.dumps({"type": "ack", "n": heartbeat["n"]}))
    return [event for event in events if event["type"] == "change"]


def applied(replica: Replica, events: list[dict[str, Any]]) -> Replica:
    for event in events:
        replica.apply(json.dumps(event))
    return replica


async def test_a_cursor_of_last_month_gets_one_change_with_the_rows_since_and_nothing_else(
    socket: Socket, owned: Chat
) -> None:
    before = await in_database(turns, owned, 10)
    known = {message["id"] for event in await changes(socket, owned) for message in event["messages"]}
    await in_database(turns, owned, 3)
    [change] = await changes(socket, owned, cursor=before)
    assert change["from"] == Cursor.parse(before).version
    since = [message["text"] for message in change["messages"] if message["id"] not in known]
    assert since == [words for n in range(3) for words in (f"question {n}", f"An answer. {n}")]
    assert len(change["runs"]) == 3
    assert len(change["messages"]) == 6, "what had been there has not changed"


async def test_rows_that_changed_together_are_never_parted_however_many_they_are(socket: Socket, owned: Chat) -> None:
    def change_together() -> None:
        turns(owned, 70)
        Message.objects.filter(thread=owned.thread).update(version=1)
        turns(owned, 2)

    await in_database(change_together)
    found = await changes(socket, owned, all=True)
    rows = {message["id"]: message["version"] for event in found for message in event["messages"]}
    assert list(rows.values()).count(1) == 140
    assert len(rows) == 144
    for event in found:
        assert Cursor.parse(event["cursor"]).version == 0 or 1 not in [
            message["version"] for later in found[found.index(event) + 1 :] for message in later["messages"]
        ], "a cursor promises what has not come yet"


@pytest.mark.parametrize("everything", [False, True])
async def test_a_large_change_comes_in_pages_that_follow_one_another_and_end_where_a_fresh_copy_does(
    socket: Socket, owned: Chat, everything: bool
) -> None:
    before = await in_database(turns, owned, 2)
    replica = applied(Replica(), await changes(socket, owned, all=everything))
    await in_database(turns, owned, 20, "long " * 2000)
    pages = await changes(socket, owned, cursor=before, all=everything)
    assert len(pages) > 3
    assert [page["from"] for page in pages[1:]] == [page["to"] for page in pages[:-1]]
    assert all(len(json.dumps(page, ensure_ascii=False).encode()) <= MAX_FRAME for page in pages)
    fresh = applied(Replica(), await changes(socket, owned, all=everything))
    assert applied(replica, pages).view() == fresh.view()


@pytest.fixture
async def gone_on(owned: Chat) -> str:
    """More has happened than the window shows. The cursor of before."""
    before: str = await in_database(turns, owned, 3)
    await in_database(turns, owned, WINDOW // 2 + 25)
    return before


async def test_who_missed_more_than_the_window_shows_begins_anew_with_the_window(
    socket: Socket, owned: Chat, gone_on: str
) -> None:
    first, *rest = await changes(socket, owned, cursor=gone_on)
    assert (first["from"], rest) == (0, [])
    assert len(first["messages"]) == WINDOW
    assert first == (await changes(socket, owned))[0], "as who has nothing"


async def test_who_wants_everything_never_begins_anew(socket: Socket, owned: Chat, gone_on: str) -> None:
    pages = await changes(socket, owned, cursor=gone_on, all=True)
    assert [page["from"] for page in pages] == [Cursor.parse(gone_on).version, *(page["to"] for page in pages[:-1])]
    assert sum(len(page["messages"]) for page in pages) == 2 * (WINDOW // 2 + 25)


async def test_who_begins_anew_in_the_middle_of_an_answer_has_what_was_said_of_it(
    socket: Socket, owned: Chat, gone_on: str
) -> None:
    asked = await in_database(owned.send, "the last")
    claim = await in_database(owned.claim, asked.run)
    answer = str(await in_database(owned.begin, claim))
    fold = Fold(claim.first)
    fold.add([text(answer, "said so far")], claim.first + 1)
    await in_database(ledger.checkpoint, claim.run, claim.lease, fold)
    replica = await attached(socket, owned, cursor=gone_on)
    assert (replica.messages[answer]["status"], replica.messages[answer]["text"]) == ("streaming", "said so far")
    assert len(replica.messages) == WINDOW


async def test_a_command_with_an_old_cursor_brings_the_same_as_an_attach_with_it(
    socket: Socket, owned: Chat, gone_on: str
) -> None:
    result = await socket.do("update", thread=owned.id, title="later", cursor=gone_on)
    [attached] = await changes(socket, owned, cursor=gone_on)
    assert result["change"] == attached
