"""A user's inbox: what is in it, what changes, and how it is paged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat.protocol import MAX_FRAME, Cursor
from chat.replication import inbox as listed
from chat.replication.inbox import read_inbox
from tests.unit.chats import Chat, make_user
from tests.unit.story import NOTHING, Story, everything_that_happens


def inbox(user: Any, cursor: Cursor = NOTHING, everything: bool = False) -> tuple[list[dict[str, Any]], Cursor]:
    """All pages from a cursor on."""
    events, more = [], True
    while more:
        page = read_inbox(user.pk, cursor, everything)
        assert all(len(frame.encode()) <= MAX_FRAME for frame in page.frames)
        events += [json.loads(frame) for frame in page.frames]
        cursor, more = page.cursor, page.more
    return events, cursor


def test_an_inbox_begins_with_the_newest_threads_and_goes_on_with_what_changes(chat: Chat) -> None:
    others = [Chat(chat.owner) for _ in range(3)]
    [event], cursor = inbox(chat.owner)
    assert (event["from"], event["to"]) == (0, 4)
    assert {item["id"] for item in event["items"]} == {str(one.id) for one in (chat, *others)}
    chat.do("update", title="new")
    others[0].do("delete")
    [event], cursor = inbox(chat.owner, cursor)
    assert [item["title"] for item in event["items"]] == ["new"]
    assert event["removed"] == [str(others[0].id)]
    assert inbox(chat.owner, cursor) == ([], cursor)


async def test_who_followed_the_inbox_has_what_a_fresh_one_has_at_every_point(story: Story) -> None:
    held: dict[str, Any] = {}
    cursor = NOTHING
    async for step in everything_that_happens(story):
        events, cursor = await story.do(inbox, story.chat.owner, cursor)
        held |= {item["id"]: item for event in events for item in event["items"]}
        [fresh], _ = await story.do(inbox, story.chat.owner)
        assert list(held.values()) == fresh["items"], step


@pytest.mark.parametrize("everything", [False, True])
def test_an_inbox_of_very_many_comes_in_frames(db: None, everything: bool) -> None:
    user = make_user()
    for _ in range(130):
        Chat(user).do("update", title="漢" * 200)
    events, _ = inbox(user, everything=everything)
    items = [item["id"] for event in events for item in event["items"]]
    assert len(items) == len(set(items)) == (130 if everything else 100)
    assert [event["from"] for event in events[1:]] == [event["to"] for event in events[:-1]]


def test_an_inbox_begins_with_what_is_pinned_however_old_and_without_the_archived(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "PAGE_ITEMS", 4)
    user = make_user()
    chats = [Chat(user) for _ in range(9)]
    chats[0].do("update", pinned=True)
    for one in chats[1:]:
        one.do("update", title="later")
    chats[8].do("update", archived=True)
    [event], _ = inbox(user)
    assert [item["id"] for item in event["items"]] == [str(chats[number].id) for number in (0, 5, 6, 7)]
    assert event["older"] is True
    everything, _ = inbox(user, everything=True)
    assert sum(len(event["items"]) for event in everything) == 9
    for one in chats[1:5]:
        one.do("delete")
    [event], _ = inbox(user)
    assert len(event["items"]) == 4 and "older" not in event


def test_an_inbox_cursor_ahead_of_the_server_begins_anew(chat: Chat) -> None:
    [event], cursor = inbox(chat.owner, Cursor(1000))
    assert (event["from"], cursor) == (0, Cursor(1))
    assert [item["id"] for item in event["items"]] == [str(chat.id)]


def test_an_empty_inbox_has_nothing_to_say(db: None) -> None:
    assert inbox(make_user()) == ([], Cursor(0))


def test_an_empty_inbox_tells_who_thinks_otherwise(db: None) -> None:
    [event], cursor = inbox(make_user(), Cursor(5))
    assert (event["from"], event["to"], event["items"], cursor) == (0, 0, [], Cursor(0))


def test_an_item_shows_what_its_thread_does(chat: Chat) -> None:
    def item() -> tuple[str, bool]:
        [event], _ = inbox(chat.owner)
        return event["items"][0]["status"], event["items"][0]["unread"]

    shown = [item()]
    asked = chat.send()
    shown.append(item())
    claim = chat.claim(asked.run)
    shown.append(item())
    answer = chat.begin(claim)
    chat.finish(claim, {answer: "said"})
    shown.append(item())
    chat.do("read", message=answer)
    shown.append(item())
    assert shown == [("idle", False), ("queued", False), ("running", False), ("idle", True), ("idle", False)]
