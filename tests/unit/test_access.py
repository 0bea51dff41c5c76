"""The getters that take a user: what is not yours is not there, and by the same query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat import access
from chat.errors import NotFound
from chat.protocol import Cursor
from chat.replication import catchup, listing
from chat.replication.inbox import read_inbox
from tests.unit.chats import Chat, make_user


def refused(call: Callable[[], Any]) -> list[str]:
    """The statements of a call that ends with NotFound, with every id made alike."""
    with (
        CaptureQueriesContext(
            connection,
        ) as queries,
        pytest.raises(NotFound),
    ):
        call()
    statements = []
    for query in queries.captured_queries:
        words = query["sql"]
        for word in words.replace("'", " ").split():
            if len(word) == 32 and all(letter in "0123456789abcdef" for letter in word):
                words = words.replace(word, "id")
        statements.append(words)
    return statements


def test_a_user_gets_his_own_thread(chat: Chat) -> None:
    assert access.thread(chat.owner.pk, chat.id).pk == chat.id


READERS: dict[str, Callable[[Any, UUID], Any]] = {
    "thread": access.thread,
    "window": catchup.window,
    "read": lambda user, thread: catchup.read(user, thread, Cursor(), None),
    "changes": lambda user, thread: catchup.changes(user, thread, Cursor(10**6)),
    "history": lambda user, thread: listing.history(user, thread, uuid4(), 10),
    "path": lambda user, thread: listing.path(user, thread, None, 10),
    "everything": listing.everything,
    "listed thread": listing.thread,
    "listed message": lambda user, thread: listing.message(user, thread, uuid4()),
    "runs": lambda user, thread: listing.runs(user, thread, None, 10),
    "listed run": lambda user, thread: listing.run(user, thread, uuid4()),
    "search before": lambda user, thread: listing.search(user, "river", thread),
}


@pytest.mark.parametrize("reader", READERS)
def test_not_there_not_yours_and_deleted_are_found_out_by_the_same_statements(chat: Chat, reader: str) -> None:
    chat.turn()
    stranger, deleted = make_user(), Chat()
    deleted.turn()
    deleted.do("delete")
    read = READERS[reader]
    owner = str(stranger.pk)
    seen = [
        refused(lambda: read(stranger.pk, chat.id)),
        refused(lambda: read(stranger.pk, uuid4())),
        [
            words.replace(f"= {deleted.owner.pk}", f"= {owner}")
            for words in refused(lambda: read(deleted.owner.pk, deleted.id))
        ],
    ]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]


def test_a_message_or_run_of_another_thread_is_not_found(chat: Chat) -> None:
    mine, other = chat.turn(), Chat(chat.owner)
    for getter, pk in ((access.message, mine.message), (access.run, mine.run)):
        assert getter(chat.thread, pk).pk == pk
        with pytest.raises(NotFound):
            getter(other.thread, pk)
        with pytest.raises(NotFound):
            getter(chat.thread, uuid4())


def test_a_users_threads_are_his_own_that_are_not_deleted(chat: Chat) -> None:
    deleted = Chat(chat.owner)
    deleted.do("delete")
    Chat()
    assert [thread.pk for thread in access.threads(chat.owner.pk)] == [chat.id]


def test_an_inbox_has_only_its_users_threads(chat: Chat) -> None:
    Chat().do("update", title="theirs")
    chat.do("update", title="mine")
    [frame] = read_inbox(chat.owner.pk, Cursor(), True).frames
    assert '"title":"mine"' in frame
    assert "theirs" not in frame


def test_history_of_a_message_of_another_thread_is_not_found(chat: Chat) -> None:
    other = Chat(chat.owner).turn()
    with pytest.raises(NotFound):
        listing.history(chat.owner.pk, chat.id, other.answer, 10)


@pytest.mark.parametrize("reader", [listing.message, listing.run])
def test_what_is_of_another_thread_is_not_listed(chat: Chat, reader: Any) -> None:
    other = Chat(chat.owner).turn()
    with pytest.raises(NotFound):
        reader(chat.owner.pk, chat.id, other.answer if reader is listing.message else other.run)
