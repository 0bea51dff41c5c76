"""Versions: the messages with one parent. Each one's row names them all, so there is a bound on them."""

from __future__ import annotations

from uuid import uuid4

import orjson
import pytest

from chat.actions import queue
from chat.errors import Conflict
from chat.models import Message
from chat.protocol import FRAME_ROOM, MAX_VERSIONS, Cursor
from chat.replication import catchup
from chat.replication.catchup import PAGE_SIZE
from tests.unit.chats import Chat


@pytest.fixture
def three_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_VERSIONS", 3)


@pytest.mark.usefixtures("three_at_most")
def test_a_message_is_not_edited_into_more_versions_than_there_may_be(chat: Chat) -> None:
    first = chat.turn()
    for _ in range(2):
        chat.answered(chat.edit(first.message).run)
    with pytest.raises(Conflict) as caught:
        chat.edit(first.message)
    assert caught.value.detail == {"limit": 3}
    assert Message.objects.filter(role="user").count() == 3


@pytest.mark.usefixtures("three_at_most")
def test_an_answer_is_not_generated_more_often_than_there_may_be_versions(chat: Chat) -> None:
    turn = chat.turn()
    for _ in range(2):
        chat.answered(chat.regenerate(turn.answer))
    with pytest.raises(Conflict):
        chat.regenerate(turn.answer)


@pytest.mark.usefixtures("three_at_most")
def test_what_waits_to_be_a_version_counts_as_one(chat: Chat) -> None:
    first, second = chat.turn("one"), chat.turn("two")
    chat.send("beside the second", parent=first.answer)
    chat.send("beside it, too", parent=first.answer)
    with pytest.raises(Conflict):
        chat.send("and here", parent=first.answer)
    with pytest.raises(Conflict):
        chat.edit(second.message)


@pytest.mark.usefixtures("three_at_most")
def test_what_was_taken_back_is_no_version(chat: Chat) -> None:
    first = chat.turn("one")
    chat.turn("two")
    for _ in range(5):
        chat.stop(chat.send("beside the second", parent=first.answer).run)


@pytest.mark.usefixtures("three_at_most")
def test_a_chat_goes_on_where_there_are_as_many_versions_as_may_be(chat: Chat) -> None:
    turn = chat.turn()
    for _ in range(2):
        chat.answered(chat.regenerate(turn.answer))
    assert chat.turn("next").answer in chat.path()


@pytest.mark.parametrize("first", [True, False], ids=["the first messages", "answers"])
def test_a_page_of_versions_is_no_larger_than_any(chat: Chat, first: bool) -> None:
    """Their ids are most of what they weigh: as many as there may be were 1.6 MB at once."""
    turn = chat.turn()
    parent = None if first else turn.message
    role = Message.Role.USER if first else Message.Role.ASSISTANT
    Message.objects.bulk_create(
        Message(
            pk=uuid4(), thread=chat.thread, parent_id=parent, role=role, text="x", status="complete", version=100 + n
        )
        for n in range(MAX_VERSIONS - 1)
    )
    chat.thread.__class__.objects.filter(pk=chat.id).update(version=100 + MAX_VERSIONS)
    cursor, more, rows = Cursor(), True, 0
    while more:
        found = catchup.read(chat.owner.pk, chat.id, cursor, None)
        assert len(orjson.dumps(found.change)) <= max(PAGE_SIZE, FRAME_ROOM)
        cursor, more, rows = Cursor(found.to), found.more, rows + len(found.change["messages"])
    assert rows >= MAX_VERSIONS
