"""Reading one moment of the database, and the truth that viewers are compared with."""

from __future__ import annotations

from typing import Any

from django.db import connection

from chat.database import in_database, snapshot
from chat.models import Inbox, Message, Thread
from chat.protocol import Cursor
from chat.replication import catchup
from chat.replication.truths import truths
from chat.runlog.memory import MemoryRunLog
from tests.unit.chats import Chat
from tests.unit.concurrency import together
from tests.unit.story import Story, saying


async def test_the_truth_is_the_version_and_the_last_seq_of_what_runs(story: Story) -> None:
    run = await saying(story, "a", "b")
    assert story.stream is not None
    quiet = await in_database(Chat)
    threads, inboxes = await truths(
        in_database, story.log, [story.chat.id, quiet.id], [story.chat.owner.pk, quiet.owner.pk]
    )
    version = (await in_database(lambda: story.chat.thread)).version
    assert threads[story.chat.id].cursor == Cursor(version, run, story.stream.seq)
    assert (threads[quiet.id].cursor, threads[quiet.id].owner) == (Cursor(1), quiet.owner.pk)
    assert inboxes[quiet.owner.pk].cursor == Cursor(1)


async def test_there_is_no_truth_of_what_nobody_may_watch(story: Story) -> None:
    deleted, locked_out = await in_database(Chat), await in_database(Chat)

    def change() -> None:
        deleted.do("delete")
        locked_out.owner.is_active = False
        locked_out.owner.save()

    await in_database(change)
    threads, inboxes = await truths(in_database, story.log, [deleted.id, locked_out.id], [locked_out.owner.pk])
    assert (threads, inboxes) == ({}, {})


async def test_the_truth_without_a_log_is_the_checkpoint(story: Story) -> None:
    run = await saying(story, "a")
    await story.checkpoint()
    assert story.stream is not None
    threads, _ = await truths(in_database, MemoryRunLog(), [story.chat.id], [])
    assert threads[story.chat.id].cursor[1:] == (run, story.stream.seq)


def test_all_reads_of_a_snapshot_see_one_moment(either_database: str) -> None:
    chat = Chat()
    with snapshot():
        before = (chat.thread.title, Message.objects.count())
        [done] = together(lambda: (chat.do("update", title="later"), chat.send()))
        assert not isinstance(done, Exception)
        assert (chat.thread.title, Message.objects.count()) == before
    assert (chat.thread.title, Message.objects.count()) == ("later", 1)


def test_a_snapshot_does_not_keep_writers_waiting_nor_stay_in_force(either_database: str) -> None:
    chat = Chat()
    with snapshot():
        assert chat.thread.version == 1
    chat.do("update", title="new")
    assert chat.thread.title == "new"
    assert not connection.in_atomic_block
    assert Thread.objects.count() == Inbox.objects.count() == 1


async def test_a_catch_up_reads_one_moment_though_the_thread_changes_meanwhile(story: Story) -> None:
    # The change comes between the statements of the read, in another connection.
    await story.do(story.chat.turn)
    original = catchup.message_rows

    def rows_after_a_change(*args: Any, **fields: Any) -> Any:
        catchup.message_rows = original  # type: ignore[attr-defined]
        together(story.chat.send)
        return original(*args, **fields)

    catchup.message_rows = rows_after_a_change  # type: ignore[attr-defined]
    viewer = await story.catch_up()
    assert len(viewer.runs) == 1
    await story.catch_up(viewer)
    assert len(viewer.runs) == 2
    assert viewer.view() == (await story.catch_up()).view()
