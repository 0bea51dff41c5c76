"""The ledger: what a worker does to a run in the database, each in one transaction.

Every write compares and sets on the lease number: whoever has lost the lease changes nothing, and is told so by None or
False. Lease times come from the database's clock (``now`` is an expression, so that tests may bring their own).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from chat import conf, prompt
from chat.announcement import Announcement
from chat.errors import Internal, NoWorker
from chat.fold import Answer, Fold
from chat.models import Inbox, Message, Run, Thread, Worker
from chat.protocol import LEASE_SPAN
from chat.providers.base import Conversation

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
UNLISTED = ("version", "row_version", "head")
"""What changes of a thread while its item in the inbox does not. Not ``updated_at``: the inbox is sorted by it."""


@dataclass(frozen=True)
class Claim:
    """A run that is ours to write until the lease runs out: its messages so far are in ``held``."""

    run: UUID
    thread: UUID
    lease: int
    attempts: int
    conversation: Conversation
    held: Mapping[str, Answer]
    announcement: Announcement

    @property
    def first(self) -> int:
        """The seq before the first of this lease."""
        return self.lease * LEASE_SPAN

    def for_model(self, model: str) -> Claim:
        """The same with the model's name as its provider knows it."""
        return replace(self, conversation=replace(self.conversation, model=model))


@dataclass(frozen=True)
class Takeover:
    """A run that was taken from a dead worker."""

    run: UUID
    thread: UUID
    lease: int
    seq: int
    attempts: int
    stopped: bool
    held: Mapping[str, Answer]
    said: bool


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint was made. ``announcement``: messages have ended while others go on, and their rows say so now."""

    announcement: Announcement | None = None


@dataclass(frozen=True)
class Times:
    """When the first and the last part of the answer came, by the worker's wall clock."""

    first: datetime | None = None
    last: datetime | None = None


def claimable(limit: int, passed: Collection[UUID] = ()) -> list[UUID]:
    """Runs that may be claimed now, longest waiting first, but for those in ``passed``."""
    waiting = Run.objects.claimable(conf.MAX_RUNNING).exclude(pk__in=passed)
    return list(waiting.values_list("pk", flat=True)[:limit])


def claim(run_id: UUID, owner: str, now: Any = None) -> Claim | None:
    """Take a queued run: its message gets its place on the path, its prompt is built. None: somebody else was first,
    its owner has enough running, or its thread is locked."""
    try:
        with transaction.atomic():
            return _claim(run_id, owner, Now() if now is None else now)
    except IntegrityError:  # another run began in the thread at the same moment
        return None


def _claim(run_id: UUID, owner: str, now: Any) -> Claim | None:
    thread = _lock_thread(run_id, wait=False)
    run = Run.objects.filter(pk=run_id, state=Run.State.QUEUED).select_related("prompt").first()
    if thread is None or run is None:
        return None
    before = Q(state=Run.State.RUNNING) | Q(state=Run.State.QUEUED, place__lt=run.place)
    if thread.runs.filter(before).exists():
        return None
    Inbox.objects.lock(thread.owner_id)
    if Run.objects.filter(state=Run.State.RUNNING, thread__owner=thread.owner_id).count() >= conf.MAX_RUNNING:
        return None
    thread.version += 1
    asked = run.prompt
    if asked.status == Message.Status.QUEUED:
        asked.parent_id, asked.after = asked.place(), None
        asked.status = Message.Status.COMPLETE
        asked.version = asked.placed = thread.version
        asked.save()
        _renumber_siblings(thread, asked)
        if asked.branch or thread.head_id == asked.parent_id:
            thread.show(asked.pk)
    elif run.takes_the_head:
        thread.show(asked.pk)
    run.lease += 1
    run.seq = run.lease * LEASE_SPAN
    run.attempts += 1
    run.state = Run.State.RUNNING
    run.lease_owner = owner
    run.started_at = timezone.now()
    run.error_code = ""
    run.version = thread.version
    conversation, run.left_out = prompt.build(thread, run)
    run.lease_expires_at = now + timedelta(seconds=conf.LEASE)
    run.save()
    Run.objects.queue_moved(thread)
    held: dict[str, Answer] = {}
    if run.continues is not None:
        answer = run.continues
        Run.objects.filter(messages=answer).update(version=thread.version)  # its row names this answer no longer
        answer.run = run
        answer.status, answer.error_code = Message.Status.STREAMING, ""
        answer.base_length = len(answer.text)
        answer.version = thread.version
        answer.save()
        held[str(answer.pk)] = _as_checkpointed(answer)
    # What an earlier attempt began is empty, and begins anew with this lease's seqs.
    run.messages.filter(role=Message.Role.ASSISTANT).update(
        status=Message.Status.STREAMING, error_code="", seq=run.seq, version=thread.version, updated_at=Now()
    )
    return Claim(run.pk, thread.pk, run.lease, run.attempts, conversation, held, _announce(thread))


def begin(run_id: UUID, lease: int, message_id: UUID, parent_id: UUID | None, author: str) -> Announcement | None:
    """A message of the run begins: at ``parent_id``, else after what the run has put on the path so far. A message that
    an earlier attempt began is begun anew. None: the lease is lost."""
    with transaction.atomic():
        thread = _lock_thread(run_id)
        run = Run.objects.held(run_id, lease).select_for_update().first()
        if thread is None or run is None:
            return None
        answers = Message.objects.filter(thread=thread, run=run, role=Message.Role.ASSISTANT)
        message = answers.filter(pk=message_id).first()
        if parent_id is not None and not thread.messages.placed().filter(pk=parent_id).exists():
            raise ValueError("The parent is no message of the thread.")
        if message is None:
            last = answers.order_by(*Message.BY_PLACE).last()
            message = Message(pk=message_id, thread=thread, run=run, placed=thread.version + 1)
            message.parent_id = parent_id or (last.pk if last else run.prompt_id)
        thread.version += 1
        run.version = thread.version
        message.author, message.role = author, Message.Role.ASSISTANT
        message.text, message.reasoning, message.reasoning_ms = "", "", 0
        message.status, message.error_code = Message.Status.STREAMING, ""
        message.seq = run.seq
        message.version = thread.version
        message.save()
        _renumber_siblings(thread, message)
        if thread.head_id == message.parent_id:
            thread.head = message
            thread.row_version = thread.version
        run.save(update_fields=["version", "updated_at"])
        thread.save(update_fields=UNLISTED)
        return Announcement(thread.pk, thread.version)


def checkpoint(run_id: UUID, lease: int, fold: Fold) -> Checkpoint | None:
    """The texts of all the run's messages, as of ``fold.seq``. Raises a version only if messages have ended since the
    last one: their status lasts from now on, whatever becomes of the others. None: the lease is lost."""
    with transaction.atomic():
        thread = _lock_thread(run_id) if fold.ended else None
        if not Run.objects.held(run_id, lease).update(seq=fold.seq, updated_at=Now()):
            return None
        for message_id, answer in fold.answers.items():
            Message.objects.filter(pk=message_id, run=run_id).update(
                text=answer.text,
                reasoning=answer.reasoning,
                reasoning_ms=answer.reasoning_ms,
                seq=fold.seq,
                updated_at=Now(),
            )
        ended = Message.objects.filter(run=run_id, pk__in=fold.ended, status=Message.Status.STREAMING)
        if thread is None or not ended.exists():
            return Checkpoint()
        thread.version += 1
        for message in ended:
            message.settle(fold.answers[str(message.pk)].error)
            message.version = thread.version
            message.save(update_fields=["status", "error_code", "version", "updated_at"])
        thread.save(update_fields=UNLISTED)
        return Checkpoint(Announcement(thread.pk, thread.version))


def finish(
    run_id: UUID,
    lease: int,
    fold: Fold,
    state: str,
    error_code: str = "",
    retry_after: float | None = None,
    times: Times | None = None,
) -> Announcement | None:
    """The final row. A recorded stop is read under lock, and wins: then each message is cut to what was seen.

    None: the lease is lost, or somebody else has finished the run.
    """
    with transaction.atomic():
        thread = _lock_thread(run_id)
        run = Run.objects.held(run_id, lease).select_for_update().first()
        if thread is None or run is None:
            return None
        thread.version += 1
        if run.stop is not None:
            state, error_code, retry_after = Run.State.STOPPED, "", None
        seen = (run.stop or {}).get("seen")
        for message in Message.objects.filter(thread=thread, run=run, role=Message.Role.ASSISTANT):
            answer = fold.answers.get(str(message.pk))
            if answer is not None:
                message.text, message.reasoning = answer.text, answer.reasoning
                message.reasoning_ms = answer.reasoning_ms
            if answer is not None and (answer.ended or state == Run.State.COMPLETED):
                message.settle(answer.error)
            elif state == Run.State.FAILED:
                message.settle(error_code or Internal.code)
            else:  # a stop or an interruption cut it; or only an earlier attempt began it
                message.status = Message.Status.CUT
            if seen is not None:
                message.cut(seen.get(str(message.pk), 0))
            message.seq = fold.seq
            message.version = thread.version
            message.save()
        thread.settle_head(run.prompt)
        run.state, run.error_code, run.retry_after = state, error_code, retry_after
        run.seq = fold.seq
        run.tokens_in, run.tokens_out = _count(fold.tokens_in), _count(fold.tokens_out)
        if times is not None:
            run.first_token_at, run.last_token_at = times.first, times.last
        run.finished_at = timezone.now()
        run.lease_owner, run.lease_expires_at = "", None
        run.version = thread.version
        run.save()
        thread.answered_version = thread.version
        return _announce(thread, look=True)


def _count(tokens: int | None) -> int | None:
    """What the column holds: a provider's nonsense must not keep a run from ending."""
    return None if tokens is None else min(tokens, 2**31 - 1)


def requeue(run_id: UUID, lease: int) -> Announcement | None:
    """The run had said nothing: it waits again, at its old place. None: the lease is lost."""
    with transaction.atomic():
        thread = _lock_thread(run_id)
        run = Run.objects.held(run_id, lease).filter(stop__isnull=True).select_for_update().first()
        if thread is None or run is None:
            return None
        thread.version += 1
        run.state = Run.State.QUEUED
        run.lease_owner, run.lease_expires_at = "", None
        run.save()
        Run.objects.queue_moved(thread)
        return _announce(thread, look=True)


# --------------------------------------------------------------------------------------------------------- leases


@dataclass(frozen=True)
class Renewed:
    """The runs that are still ours; those of them whose lease lasts longer now; those that somebody asked to stop."""

    held: frozenset[UUID]
    pushed: frozenset[UUID]
    stopped: frozenset[UUID]


def renew(owner: str, leases: Mapping[UUID, int], now: Any = None) -> Renewed:
    """Push out all leases of a worker (by run), in one UPDATE, and say that it is alive."""
    with transaction.atomic():
        at = Now() if now is None else now
        Worker.objects.update_or_create(name=owner, defaults={"seen_at": at})
        if not leases:
            return Renewed(frozenset(), frozenset(), frozenset())
        pushed = Run.objects.renew(owner, leases, conf.LEASE, now)
        ours = Run.objects.filter(pk__in=list(leases), lease_owner=owner, state=Run.State.RUNNING)
        found = ours.values_list("pk", "lease", "stop")
        # A worker may have claimed again what it had lost: only the newer lease is held.
        held = {run: stop for run, lease, stop in found if lease == leases[run]}
        stopped = (run for run, stop in held.items() if stop is not None)
        return Renewed(frozenset(held), frozenset(pushed) & frozenset(held), frozenset(stopped))


def orphan(prefix: str) -> None:
    """The leases of all owners whose name begins so run out now: they were one process, and it is dead."""
    Run.objects.filter(state=Run.State.RUNNING, lease_owner__startswith=prefix).update(lease_expires_at=LONG_AGO)
    Worker.objects.filter(name__startswith=prefix).delete()


def retire(owner: str) -> None:
    """The worker has ended: it no longer counts as alive."""
    Worker.objects.filter(name=owner).delete()


def expired(now: Any = None) -> list[UUID]:
    """Runs whose worker has let the lease run out."""
    return list(Run.objects.expired(now).values_list("pk", flat=True)[:100])


def take_over(run_id: UUID, owner: str, now: Any = None) -> Takeover | None:
    """Win the lease of a run whose worker is dead. None: it is not, somebody else has won, or thread or run are locked:
    by a worker that is in the middle of a checkpoint, of which text and seq are to be read together."""
    with transaction.atomic():
        thread = _lock_thread(run_id, wait=False)
        run = Run.objects.expired(now).filter(pk=run_id).select_for_update(skip_locked=True).first()
        if thread is None or run is None:
            return None
        run.lease += 1
        run.lease_owner = owner
        run.lease_expires_at = (Now() if now is None else now) + timedelta(seconds=conf.LEASE)
        run.save(update_fields=["lease", "lease_owner", "lease_expires_at", "updated_at"])
        answers = list(Message.objects.filter(thread=thread, run=run, role=Message.Role.ASSISTANT))
        return Takeover(
            run.pk,
            thread.pk,
            run.lease,
            run.seq,
            run.attempts,
            run.stop is not None,
            {str(answer.pk): _as_checkpointed(answer) for answer in answers},
            any(len(answer.text) > answer.base_length for answer in answers)
            # What a continued answer has of reasoning is from before, unless there was a checkpoint since.
            or any(answer.reasoning and (answer.pk != run.continues_id or run.seq % LEASE_SPAN) for answer in answers),
        )


def _as_checkpointed(message: Message) -> Answer:
    ended = message.status in (Message.Status.COMPLETE, Message.Status.FAILED)
    return Answer.of(message.text, message.reasoning, message.reasoning_ms, ended=ended, error=message.error_code)


def release(run_id: UUID, lease: int) -> None:
    """Give back a lease that could not be used: the next sweep may try at once."""
    Run.objects.held(run_id, lease).update(lease_expires_at=LONG_AGO)


def unserved(now: Any = None) -> list[Announcement]:
    """Mark queued runs that no live worker will take (``no_worker``); they go on waiting, and lose the mark when
    a worker lives again. Announces what changed."""
    at = Now() if now is None else now
    waiting = Run.objects.filter(state=Run.State.QUEUED)
    if Worker.objects.filter(seen_at__gte=at - timedelta(seconds=conf.LEASE)).exists():
        mark, waiting = "", waiting.exclude(error_code="")
    else:
        mark = NoWorker.code
        waiting = waiting.filter(error_code="", updated_at__lt=at - timedelta(seconds=conf.SWEEP))
    announcements = []
    for run_id in list(waiting.values_list("pk", flat=True)[:100]):
        with transaction.atomic():
            thread = _lock_thread(run_id)
            run = Run.objects.filter(pk=run_id, state=Run.State.QUEUED).exclude(error_code=mark).first()
            if thread is None or run is None:
                continue
            thread.version += 1
            run.error_code, run.version = mark, thread.version
            run.save()
            thread.save(update_fields=UNLISTED)
            announcements.append(Announcement(thread.pk, thread.version))
    return announcements


def _lock_thread(run_id: UUID, *, wait: bool = True) -> Thread | None:
    """The run's thread, locked: always first, so that no two transactions wait for each other. Who has other runs to
    look at does not wait for it: None, if it is locked."""
    rows = Thread.objects.select_for_update(skip_locked=not wait)
    return rows.filter(pk__in=Run.objects.filter(pk=run_id).values("thread")).first()


def _announce(thread: Thread, *, look: bool = False) -> Announcement:
    """Save a thread whose item in the inbox has changed too."""
    thread.touch_item()
    thread.save()
    return Announcement(thread.pk, thread.version, thread.owner_id, thread.inbox_version, look)


def _renumber_siblings(thread: Thread, message: Message) -> None:
    """Its siblings' rows name it too: they have changed."""
    siblings = Message.objects.filter(thread=thread, parent=message.parent_id).placed().exclude(pk=message.pk)
    siblings.update(version=thread.version)
