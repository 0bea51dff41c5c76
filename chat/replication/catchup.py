"""catch_up(cursor): the one operation behind opening, refreshing, coming back, a second device and a lost hint.

One read of the database in one snapshot, then the run log, joined so that nothing is missing and nothing is doubled:

- the rows that changed after the cursor's version, a page at a time, each page ending at a version;
- with the last page, if a run is running: nothing of its text but the parts after the cursor's seq, if the log still
  reaches it; otherwise its messages' rows (text as of the checkpoint) and the parts after the checkpoint. If the log
  begins after the checkpoint, a newer checkpoint has been made in between: read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Func, IntegerField, Q, QuerySet

from chat import access
from chat.database import Database, snapshot
from chat.frames import MessageRow, encode
from chat.models import Message, Run, Thread
from chat.protocol import FRAME_ROOM, LEASE_SPAN, WINDOW, Cursor
from chat.replication.batches import delta_frame, goes_on, group_batches
from chat.replication.rows import message_rows, run_rows, thread_row, versions
from chat.replication.subscription import Page
from chat.runlog.base import Batch, Log, RunLog, RunLogUnavailable

PAGE_SIZE = 48 * 1024
"""Bytes of text in one page, which is then mostly one frame."""
ROW_SIZE = 600
"""What a row weighs beside its text …"""
ID_SIZE = 39
"""… and beside the ids of its versions, each."""
READ_AGAIN = 20
"""Attempts to find checkpoint and log in step, before the rows alone must do."""


class Ahead(Exception):
    """The cursor is of a version that the thread does not have (as after a restored backup): begin from nothing."""


class Octets(Func):
    """The bytes of a text in UTF-8."""

    function = "OCTET_LENGTH"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)


@dataclass(frozen=True)
class Window:
    """What an attach without a cursor shows: these messages, as the thread stood at ``version``; then all changes."""

    version: int
    messages: frozenset[UUID]


@dataclass(frozen=True)
class Running:
    """The running run: the checkpoint's seq, and its messages' rows, with text as of the checkpoint."""

    id: str
    seq: int
    rows: Sequence[MessageRow]


@dataclass(frozen=True)
class Snapshot:
    """What the database says to a cursor, in one moment. Without ``more`` it is the last page."""

    frm: int
    to: int
    change: dict[str, Any]
    ended: Sequence[str]
    running: Running | None
    more: bool


def window(user_id: Any, thread_id: UUID) -> Window:
    """The last messages of the path, and what is queued or running. Raises NotFound."""
    with snapshot():
        return _window(access.thread(user_id, thread_id))


def _window(thread: Thread) -> Window:
    path = Message.objects.outline(thread.head_id, WINDOW)
    active = Message.objects.filter(
        thread=thread, status__in=(Message.Status.QUEUED, Message.Status.STREAMING)
    ).values_list("pk", flat=True)
    return Window(thread.version, frozenset(message.pk for message in path) | frozenset(active))


def window_if_less(user_id: Any, thread_id: UUID, cursor: Cursor, within: float = inf) -> Window | None:
    """The window, if it weighs less than what has changed since the cursor, and less than ``within`` bytes: then
    beginning anew brings the same end sooner. Raises NotFound."""
    with snapshot():
        thread = access.thread(user_id, thread_id)
        view = _window(thread)
        anew = _weight(*_rows(thread, Cursor(), view))
        return view if anew < min(within, _weight(*_rows(thread, cursor, None))) else None


def _rows(thread: Thread, cursor: Cursor, view: Window | None) -> tuple[QuerySet[Message], QuerySet[Run]]:
    """What has changed since the cursor, as far as it is in view."""
    messages = Message.objects.filter(thread=thread, version__gt=cursor.version)
    runs = Run.objects.filter(thread=thread, version__gt=cursor.version)
    if view is not None and cursor.version < view.version:
        later = Q(version__gt=view.version)
        active = Q(state__in=(Run.State.QUEUED, Run.State.RUNNING))
        around = Run.objects.filter(thread=thread).around(view.messages).values("pk")
        runs = runs.filter(Q(pk__in=around) | active | later)
        messages = messages.filter(Q(pk__in=view.messages) | later)
    return messages, runs


def read(user_id: Any, thread_id: UUID, cursor: Cursor, view: Window | None) -> Snapshot:
    """What changed after the cursor's version: one page. Raises NotFound or Ahead."""
    with snapshot():
        thread = access.thread(user_id, thread_id)
        if cursor.version > thread.version:
            raise Ahead
        running = Run.objects.filter(thread=thread, state=Run.State.RUNNING).first()
        messages, runs = _rows(thread, cursor, view)
        if running is not None:
            messages = messages.exclude(run=running, role=Message.Role.ASSISTANT)
        to, more = _page_end(messages, runs, thread.version)
        rows = message_rows(
            thread,
            found := list(messages.filter(version__lte=to).order_by("version", *Message.BY_PLACE)),
            known=[message.pk for message in found if _has_whole(cursor, message)],
        )
        found_runs = list(runs.filter(version__lte=to).order_by("version", "created_at"))
        change: dict[str, Any] = {
            "type": "change",
            "thread": str(thread_id),
            "from": cursor.version,
            "to": to,
            "messages": rows,
            "runs": run_rows(thread, found_runs),
        }
        if cursor.version < thread.row_version <= to:
            change["row"] = thread_row(thread)
        live = None
        if running is not None and not more:
            own = Message.objects.filter(run=running, role=Message.Role.ASSISTANT).order_by(*Message.BY_PLACE)
            live = Running(str(running.pk), running.seq, message_rows(thread, own))
        ended = [str(run.pk) for run in found_runs if run.state in Run.FINAL]
        return Snapshot(cursor.version, to, change, ended, live, more)


def _page_end(messages: QuerySet[Message], runs: QuerySet[Run], version: int) -> tuple[int, bool]:
    """The version at which the page ends, and whether something is left."""
    total, previous = 0, 0
    # More than a page is full of: where that many have one version, the page ends with it, however many there are.
    most = PAGE_SIZE // ROW_SIZE + 2
    weights = sorted(_weights(messages, runs, most))
    for at, size in weights:
        if total and total + size > PAGE_SIZE and at > previous:
            return previous, True
        total, previous = total + size, at
    return (version, False) if len(weights) < most else (previous, previous < version)


def _weights(messages: QuerySet[Message], runs: QuerySet[Run], most: int | None = None) -> list[tuple[int, int]]:
    """The version and the bytes, about, of each row; of the first ``most`` of either kind, by version."""
    size = Octets("text") + Octets("reasoning") + versions() * ID_SIZE + ROW_SIZE
    sizes = messages.annotate(size=size).order_by("version")
    return [
        *sizes.values_list("version", "size")[:most],
        *((at, ROW_SIZE) for at in runs.order_by("version").values_list("version", flat=True)[:most]),
    ]


def _weight(messages: QuerySet[Message], runs: QuerySet[Run]) -> int:
    return sum(size for _, size in _weights(messages, runs))


def _has_whole(cursor: Cursor, message: Message) -> bool:
    """Whether the viewer has all of this ended answer by having followed its run: then lengths are enough."""
    return (
        cursor.run is not None
        and message.role == Message.Role.ASSISTANT
        and str(message.run_id) == cursor.run
        and cursor.seq >= message.seq
        and cursor.seq // LEASE_SPAN == message.seq // LEASE_SPAN
    )


async def catch_up(
    database: Database, log: RunLog, user_id: Any, thread_id: UUID, cursor: Cursor, view: Window | None
) -> Page:
    """One page from ``cursor`` on. Raises NotFound, Ahead, and the database's own exceptions when it is away.

    A run log that is away is no failure: then the rows must do, as they are in the database.
    """
    for attempt in range(READ_AGAIN):
        found = await database(read, user_id, thread_id, cursor, view)
        if found.running is None:
            return _settled(found, cursor)
        try:
            held = await log.read(found.running.id, _after(cursor, found.running))
        except RunLogUnavailable:
            held = None
        page = _live(found, found.running, held, cursor, last=attempt == READ_AGAIN - 1)
        if page is not None:
            return page
        await asyncio.sleep(0.005 * (attempt + 1))
    raise AssertionError("the last attempt always gives a page")


def _settled(found: Snapshot, cursor: Cursor) -> Page:
    # Between pages the run's half stays: the page with its rows is still to come. Unless some have come, with text.
    kept = found.more and not any(_replaces(row, cursor.run) for row in found.change["messages"])
    at = cursor._replace(version=found.to) if kept else Cursor(found.to)
    change = found.change
    if found.frm == found.to and not (change["messages"] or change["runs"] or "row" in change):
        return Page([], at, found.more, found.ended)
    return Page([encode(event) for event in _split(change, cursor, at)], at, found.more, found.ended)


def _split(change: dict[str, Any], before: Cursor, at: Cursor) -> list[dict[str, Any]]:
    """The change as events that each fit a frame (a row that is itself larger goes alone). ``at`` is the cursor after
    the last; the others leave it at the last version of which they have everything."""
    rows = [(row["version"], name, row) for name in ("messages", "runs") for row in change[name]]
    if "row" in change:
        rows.append((change["row"]["version"], "row", change["row"]))
    rows.sort(key=itemgetter(0))
    empty = {"type": "change", "thread": change["thread"]}
    events: list[dict[str, Any]] = []
    event, size, frm = {**empty, "from": change["from"], "messages": [], "runs": []}, 0, change["from"]
    for version, name, row in rows:
        weight = len(orjson.dumps(row)) + 1
        if size and size + weight > FRAME_ROOM:
            frm = max(frm, version - 1)
            events.append({**event, "to": frm, "cursor": str(before._replace(version=frm))})
            event, size = {**empty, "from": frm, "messages": [], "runs": []}, 0
        if name == "row":
            event["row"] = row
        else:
            event[name].append(row)
        if name == "messages" and _replaces(row, before.run):
            before = Cursor()
        size += weight
    return [*events, {**event, "to": change["to"], "cursor": str(at)}]


def _replaces(row: MessageRow, run: str | None) -> bool:
    """Whether the row sets what a viewer has of this run: then a cursor has no half for it, for the text is of another
    seq than the viewer's, and other rows of the run may be missing."""
    return row["run"] == run and row["role"] == "assistant" and "text" in row


def _after(cursor: Cursor, running: Running) -> int:
    return min(cursor.seq, running.seq) if cursor.run == running.id else running.seq


def _live(found: Snapshot, running: Running, log: Log | None, cursor: Cursor, *, last: bool) -> Page | None:
    """The last page, with the running run joined to it. None: log and checkpoint are not in step, read again."""
    mine = cursor.run == running.id and cursor.seq // LEASE_SPAN == running.seq // LEASE_SPAN
    level = cursor.seq >= running.seq and (log is None or cursor.seq >= log.last)
    partial = mine and (level or goes_on(log, cursor.seq))
    frm = cursor.seq if partial else running.seq
    batches: Sequence[Batch] = ()
    if log is not None and log.last > frm:
        if goes_on(log, frm):
            batches = [batch for batch in log.batches if batch.to > frm]
        elif not last:
            return None
    change = found.change
    known = [row["id"] for row in running.rows] if partial else []
    own = [
        _without_text(row) if row["id"] in known else row
        for row in running.rows
        # Earlier pages have left these rows out: with the last one, all of them are due.
        if not partial or found.frm != found.to
    ]
    at = Cursor(found.to, running.id, frm)
    frames: list[str] = []
    if found.frm != found.to or change["messages"] or change["runs"] or own:
        change = {**change, "messages": [*change["messages"], *own]}
        frames += [encode(event) for event in _split(change, cursor, at)]
    for frm, to, parts in group_batches(batches):
        at = Cursor(found.to, running.id, to)
        frames.append(f'{delta_frame(change["thread"], running.id, frm, to, parts)},"cursor":"{at}"}}')
    return Page(frames, at, False, found.ended)


def _without_text(row: MessageRow) -> MessageRow:
    # Without lengths too: they count the checkpoint's text, and this viewer has more.
    short = row.copy()
    for name in ("text", "reasoning", "text_length", "reasoning_length", "reasoning_ms"):
        short.pop(name, None)  # type: ignore[misc]
    return short


def changes(user_id: Any, thread_id: UUID, cursor: Cursor) -> dict[str, Any]:
    """The change since a cursor, for a reply to somebody who does not follow the thread: its first frame, with the
    cursor after it. It begins anew where the cursor is ahead, or that is less. Raises NotFound."""
    try:
        found = read(user_id, thread_id, cursor, None)
        view = window_if_less(user_id, thread_id, cursor) if found.more else None
    except Ahead:
        view = window(user_id, thread_id)
    if view is not None:
        cursor = Cursor()
        found = read(user_id, thread_id, cursor, view)
    at = cursor._replace(version=found.to) if found.more else Cursor(found.to)
    return _split(found.change, cursor, at)[0]
