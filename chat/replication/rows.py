"""Rows as the protocol shows them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce

from chat.frames import InboxItem, MessageRow, RunRow, ThreadRow
from chat.models import Message, Run, Thread


def moment(value: datetime) -> str:
    """UTC, ISO 8601, milliseconds."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(value: datetime | None) -> str | None:
    return None if value is None else moment(value)


def _id(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def thread_row(thread: Thread) -> ThreadRow:
    return {
        "id": str(thread.pk),
        "version": thread.row_version,
        "title": thread.title,
        "model": thread.model,
        "system_prompt": thread.system_prompt,
        "archived": thread.archived,
        "pinned": thread.pinned,
        "head": _id(thread.head_id),
        "created_at": moment(thread.created_at),
        "updated_at": moment(thread.updated_at),
    }


def inbox_item(thread: Thread) -> InboxItem:
    """``thread`` comes from ``Thread.objects.with_status()``."""
    status = "running" if thread.is_running else "queued" if thread.is_queued else "idle"  # type: ignore[attr-defined]
    return {
        "id": str(thread.pk),
        "version": thread.inbox_version,
        "title": thread.title,
        "status": status,  # type: ignore[typeddict-item]
        "unread": thread.unread,
        "archived": thread.archived,
        "pinned": thread.pinned,
        "updated_at": moment(thread.updated_at),
    }


def versions() -> Coalesce:
    """Of a message, for a query: how many have the same parent, whose ids are in its row."""
    placed = Message.objects.placed().order_by().values("thread").annotate(count=Count("pk")).values("count")
    first = placed.filter(thread=OuterRef("thread"), parent=None)
    return Coalesce(Subquery(placed.filter(parent=OuterRef("parent"))), Subquery(first), 0)


def message_rows(thread: Thread, messages: Iterable[Message], *, known: Iterable[UUID] = ()) -> list[MessageRow]:
    """The rows of a thread's messages, in the order given; those in ``known`` come without their text. One query,
    and another one if a first message of the thread is among them."""
    messages = list(messages)
    known = set(known)
    children: dict[UUID | None, list[str]] = defaultdict(list)
    parents = {message.parent_id for message in messages if message.parent_id}
    siblings = Message.objects.filter(thread=thread).placed()
    if any(message.parent_id is None for message in messages):
        roots = siblings.filter(parent=None).order_by(*Message.BY_PLACE).values_list("pk", flat=True)
        children[None] = [str(pk) for pk in roots]
    for pk, parent in siblings.filter(parent__in=parents).order_by(*Message.BY_PLACE).values_list("pk", "parent"):
        children[parent].append(str(pk))
    rows: list[MessageRow] = []
    for message in messages:
        row: MessageRow = {
            "id": str(message.pk),
            "parent": _id(message.parent_id),
            "after": _id(message.after_id),
            "siblings": [str(message.pk)] if message.status in Message.UNPLACED else children[message.parent_id],
            "role": message.role,  # type: ignore[typeddict-item]
            "author": message.author,
            "status": message.status,  # type: ignore[typeddict-item]
            "error": message.error,  # type: ignore[typeddict-item]
            "text_length": len(message.text),
            "reasoning_length": len(message.reasoning),
            "reasoning_ms": message.reasoning_ms,
            "run": _id(message.run_id),
            "seq": message.seq,
            "version": message.version,
            "created_at": moment(message.created_at),
            "updated_at": moment(message.updated_at),
        }
        if message.pk not in known:
            row["text"] = message.text
            row["reasoning"] = message.reasoning
        rows.append(row)
    return rows


def run_rows(thread: Thread, runs: Iterable[Run]) -> list[RunRow]:
    """The rows of a thread's runs, in the order given. At most two queries."""
    runs = list(runs)
    messages: dict[UUID | None, list[str]] = defaultdict(list)
    answers = Message.objects.filter(thread=thread, role=Message.Role.ASSISTANT, run__in=[run.pk for run in runs])
    for pk, run_id in answers.order_by(*Message.BY_PLACE).values_list("pk", "run"):
        messages[run_id].append(str(pk))
    queue: list[UUID] = []
    if any(run.state == Run.State.QUEUED for run in runs):
        queued = Run.objects.filter(thread=thread, state=Run.State.QUEUED)
        queue = list(queued.order_by("place").values_list("pk", flat=True))
    return [
        {
            "id": str(run.pk),
            "prompt": str(run.prompt_id),
            "messages": messages[run.pk],
            "state": run.state,  # type: ignore[typeddict-item]
            "place": queue.index(run.pk) + 1 if run.pk in queue else None,
            "model": run.model,
            "seq": run.seq,
            "error": run.error,  # type: ignore[typeddict-item]
            "tokens_in": run.tokens_in,
            "tokens_out": run.tokens_out,
            "left_out": run.left_out,
            "queued_at": moment(run.created_at),
            "started_at": _moment(run.started_at),
            "first_token_at": _moment(run.first_token_at),
            "finished_at": _moment(run.finished_at),
            "version": run.version,
        }
        for run in runs
    ]
