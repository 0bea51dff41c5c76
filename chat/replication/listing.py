"""Lists and single rows, for who reads without following: of the JSON API, of pages, of ``history`` and ``search``.

What is being said right now is in them, too: :func:`current` adds to the rows of a running run what its log holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Exists, F, OuterRef, Q, Subquery, Value
from django.db.models.functions import Greatest, Lower, StrIndex, Substr

from chat import access
from chat.database import Database, snapshot, time_limit
from chat.fold import Fold
from chat.frames import FoundItem, MessageRow, RunRow, ThreadRow
from chat.models import Message, Run, Thread
from chat.protocol import FOUND, FRAME_ROOM, MAX_SEARCH
from chat.replication.batches import goes_on
from chat.replication.catchup import READ_AGAIN, ROW_SIZE, Running
from chat.replication.rows import inbox_item, message_rows, run_rows, thread_row
from chat.runlog.base import RunLog, RunLogUnavailable

EXCERPT = 160
"""Characters of an excerpt, at most …"""
BEFORE_MATCH = 40
"""… of which so many may stand before what was searched for."""


@dataclass(frozen=True)
class Listing:
    """Messages as the database has them, oldest first, and their runs. ``more``: there are earlier ones."""

    messages: list[MessageRow]
    runs: list[RunRow] = field(default_factory=list)
    more: bool = False
    thread: ThreadRow | None = None
    running: Running | None = None


# ------------------------------------------------------------------------------------------------------- threads


def search(
    user_id: Any, query: str, before: UUID | None, archived: bool | None = None, limit: int = FOUND
) -> dict[str, Any]:
    """Threads with the query in their title or in a message, the latest first, a page at a time (``before``: the last
    thread of the page before), each page as long as told and as fits a frame. What a message says around the query is
    its thread's ``excerpt``. Raises NotFound for a ``before`` that is not there (any more), and TookTooLong."""
    with snapshot(), time_limit(MAX_SEARCH):
        return _search(user_id, query, before, archived, limit)


def _search(user_id: Any, query: str, before: UUID | None, archived: bool | None, limit: int) -> dict[str, Any]:
    found = access.threads(user_id)
    if query:
        said = Exists(Message.objects.filter(thread=OuterRef("pk"), text__icontains=query))
        found = found.filter(Q(title__icontains=query) | said)
    if archived is not None:
        found = found.filter(archived=archived)
    if before is not None:
        found = found.filter(inbox_version__lt=access.thread(user_id, before).inbox_version)
    page = list(found.with_status().order_by("-inbox_version")[: limit + 1])
    excerpts = _excerpts(page[:limit], query) if query else {}
    items: list[FoundItem] = []
    size = 0
    for thread in page[:limit]:
        item: FoundItem = {**inbox_item(thread)}  # type: ignore[typeddict-item]
        if thread.pk in excerpts:
            item["excerpt"] = excerpts[thread.pk]
        size += len(orjson.dumps(item)) + 1
        if size > FRAME_ROOM:
            break
        items.append(item)
    return {"items": items, "more": len(page) > len(items)}


def _excerpts(threads: Sequence[Thread], query: str) -> dict[UUID, str]:
    """What the newest message that has the query says around it. Only so much of its text is read."""
    said = Message.objects.filter(thread=OuterRef("pk"), text__icontains=query).order_by("-created_at", "-id")
    said = said.annotate(at=StrIndex(Lower("text"), Lower(Value(query))))
    # A character more at each end tells whether the text goes on there.
    piece = said.values_list(Substr("text", Greatest(F("at") - BEFORE_MATCH - 1, 1), EXCERPT + 2))[:1]
    found = Thread.objects.filter(pk__in=[thread.pk for thread in threads]).annotate(piece=Subquery(piece))
    return {pk: _excerpt(piece, query) for pk, piece in found.values_list("pk", "piece") if piece is not None}


def _excerpt(piece: str, query: str) -> str:
    """On one line, with marks where the text goes on. It begins with a whole word if it can."""
    extra = max(0, piece.lower().find(query.lower()) - BEFORE_MATCH)
    words = piece[extra : extra + EXCERPT]
    end = "…" if extra + EXCERPT < len(piece) else ""
    if not extra:
        return " ".join(words.split()) + end
    return "…" + " ".join(words[words.find(" ", 0, BEFORE_MATCH) + 1 :].split()) + end


def thread(user_id: Any, thread_id: UUID) -> dict[str, Any]:
    """A thread's own row, its item in the inbox, and the version of all of it. Raises NotFound."""
    with snapshot():
        found = access.thread(user_id, thread_id)
        item = access.threads(user_id).with_status().get(pk=found.pk)
        return {"thread": thread_row(found), "item": inbox_item(item), "version": found.version}


# ------------------------------------------------------------------------------------------------------ messages


def history(user_id: Any, thread_id: UUID, before: UUID, limit: int) -> dict[str, Any]:
    """The messages of the path before one of its messages, oldest first, as many as fit a frame, with their runs that
    have ended. ``more``: there are earlier ones. Raises NotFound."""
    found = path(user_id, thread_id, before, limit)
    ended = [run for run in found.runs if run["state"] in Run.FINAL]
    return {"messages": found.messages, "runs": ended, "more": found.more}


def path(user_id: Any, thread_id: UUID, before: UUID | None, limit: int) -> Listing:
    """The end of the path, or what is of it before one of its messages: as many as fit a frame. Raises NotFound."""
    with snapshot():
        thread = access.thread(user_id, thread_id)
        last = thread.head_id if before is None else access.message(thread, before).parent_id
        earlier = Message.objects.path(last, limit + 1)
        rows = message_rows(thread, earlier[-limit:])
        first, size = len(rows), 0
        while first > 0 and (size := size + len(orjson.dumps(rows[first - 1])) + ROW_SIZE) <= FRAME_ROOM:
            first -= 1
        rows = rows[min(first, len(rows) - 1) :] if rows else []
        runs = thread.runs.around(UUID(row["id"]) for row in rows).order_by("version")
        return _listing(thread, rows, runs, len(earlier) > len(rows))


def message(user_id: Any, thread_id: UUID, message_id: UUID) -> Listing:
    """One message, wherever it is in the tree. Raises NotFound."""
    with snapshot():
        thread = access.thread(user_id, thread_id)
        found = access.message(thread, message_id)
        return _listing(thread, message_rows(thread, [found]), thread.runs.around([found.pk]))


def everything(user_id: Any, thread_id: UUID) -> Listing:
    """All messages of a thread, on the path or not, and all its runs. Raises NotFound."""
    with snapshot():
        thread = access.thread(user_id, thread_id)
        rows = message_rows(thread, thread.messages.order_by("created_at", "id"))
        return _listing(thread, rows, thread.runs.order_by("created_at", "id"))


def _listing(thread: Thread, rows: list[MessageRow], runs: Any, more: bool = False) -> Listing:
    runs = list(runs)
    running = None
    for run in runs:
        if run.state == Run.State.RUNNING:
            own = [row for row in rows if row["run"] == str(run.pk) and row["role"] == "assistant"]
            running = Running(str(run.pk), run.seq, own)
    return Listing(rows, run_rows(thread, runs), more, thread_row(thread), running)


async def current(database: Database, log: RunLog, read: Callable[..., Listing], *args: object) -> Listing:
    """What ``read`` finds, with everything that has been said of a running run. Raises what ``read`` raises.

    A run log that is away is no failure: then it is as of the checkpoint, as the rows' ``seq`` says.
    """
    for attempt in range(READ_AGAIN):
        found = await database(read, *args)
        if found.running is None or await _add_spoken(log, found.running):
            return found
        await asyncio.sleep(0.005 * (attempt + 1))  # a checkpoint was made since: the log begins after it
    return found


async def _add_spoken(log: RunLog, running: Running) -> bool:
    """Bring the rows up to the log's end. False: the log begins after what they hold."""
    try:
        held = await log.read(running.id, running.seq)
    except RunLogUnavailable:
        return True
    if held is None or held.last <= running.seq:
        return True
    if not goes_on(held, running.seq):
        return False
    fold = Fold(running.seq)
    for row in running.rows:
        fold.hold(row["id"], row["text"], row["reasoning"], row["reasoning_ms"])
    for batch in held.batches:
        if batch.to > running.seq:
            fold.add(orjson.loads(batch.parts), batch.to)
    for row in running.rows:
        answer = fold.answers[row["id"]]
        row |= {"text": answer.text, "reasoning": answer.reasoning, "seq": fold.seq}
        row |= {"text_length": len(answer.text), "reasoning_length": len(answer.reasoning)}
        row["reasoning_ms"] = answer.reasoning_ms
    return True


# ---------------------------------------------------------------------------------------------------------- runs


def runs(user_id: Any, thread_id: UUID, before: UUID | None, limit: int, states: Sequence[str] = ()) -> dict[str, Any]:
    """Runs of a thread, the latest first, a page at a time (``before``: the last run of the page before). Raises
    NotFound."""
    with snapshot():
        thread = access.thread(user_id, thread_id)
        found = thread.runs.order_by("-created_at", "-id")
        if states:
            found = found.filter(state__in=states)
        if before is not None:
            last = access.run(thread, before)
            found = found.filter(Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk))
        page = list(found[: limit + 1])
        return {"runs": run_rows(thread, page[:limit]), "more": len(page) > limit}


def run(user_id: Any, thread_id: UUID, run_id: UUID) -> RunRow:
    """One run of a thread. Raises NotFound."""
    with snapshot():
        thread = access.thread(user_id, thread_id)
        return run_rows(thread, [access.run(thread, run_id)])[0]
