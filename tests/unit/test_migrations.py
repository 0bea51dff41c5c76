"""A database that a server of the version before has filled, or goes on filling while a deployment replaces it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps.registry import Apps
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from chat import actions, frames
from chat.models import Message, Thread
from chat.protocol import Cursor
from chat.replication import catchup
from tests.unit.chats import make_user

BEFORE = ("chat", "0001_initial")


class Old:
    """What the server of the version before knows of the database."""

    def __init__(self, apps: Apps) -> None:
        self.thread, self.message, self.run, self.command = (
            apps.get_model("chat", name).objects for name in ("Thread", "Message", "Run", "Command")
        )

    def fails(self, owner: User) -> UUID:
        """It creates a thread, asks something there, and the answer fails: the thread."""
        thread = self.thread.create(owner_id=owner.pk, version=3, row_version=3, inbox_version=1)
        about: dict[str, Any] = {"thread": thread, "version": 3}
        question = self.message.create(role="user", status="complete", text="Why?", **about)
        failed = {"state": "failed", "error_code": "provider_refused", "finished_at": timezone.now()}
        run = self.run.create(prompt=question, **failed, **about)
        answer = self.message.create(role="assistant", status="failed", text="Be", parent=question, run=run, **about)
        self.thread.filter(pk=thread.pk).update(head=answer)
        return UUID(str(thread.pk))


@pytest.fixture
def old(either_database: str) -> Iterator[Old]:
    """The database is as the version before has made it."""
    executor = MigrationExecutor(connection)
    executor.migrate([BEFORE])
    try:
        yield Old(executor.loader.project_state([BEFORE]).apps)
    finally:
        update()


def update() -> None:
    """The database is as this version wants it."""
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("chat"))


def messages(owner: User, thread: UUID) -> list[tuple[str, str]]:
    """What somebody who has nothing gets of the thread."""
    change = catchup.changes(owner.pk, thread, Cursor())
    return [(row["status"], row["text"]) for row in change["messages"]]


def test_the_chats_of_the_version_before_are_all_there(old: Old) -> None:
    owner = make_user()
    thread = old.fails(owner)
    update()
    assert messages(owner, thread) == [("complete", "Why?"), ("failed", "Be")]


def test_a_command_that_the_version_before_has_done_is_not_done_again(old: Old) -> None:
    owner = make_user()
    thread = old.fails(owner)
    command = frames.command({"type": "update", "id": str(uuid4()), "thread": str(thread), "title": "Named"})
    old.command.create(user_id=owner.pk, command=command.id, type="update", reply={"version": 2})
    update()
    assert actions.perform(owner.pk, command).result == {"version": 2}
    assert Thread.objects.get(pk=thread).title == ""


def test_the_version_before_goes_on_writing_in_a_database_that_is_the_newest(old: Old) -> None:
    owner = make_user()
    update()
    thread = old.fails(owner)
    old.command.create(user_id=owner.pk, command=uuid4(), type="create", reply={"version": 1})
    assert messages(owner, thread) == [("complete", "Why?"), ("failed", "Be")]
    assert set(Message.objects.values_list("error_code", "reasoning_ms")) == {("", 0)}
