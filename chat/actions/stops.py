"""What ends: a run where it was read, what waits, and all that happens on a path which is left."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q

from chat import access, frames
from chat.actions import queue
from chat.actions.outcome import Outcome, done, nothing
from chat.errors import Conflict
from chat.models import Message, Run, Thread

Seen = dict[UUID, int]


def stop(user_id: Any, command: frames.Stop) -> Outcome:
    """The first recorded stop of a run wins; later ones change nothing. See docs/protocol.md, Stop."""
    thread = access.thread(user_id, command.thread, lock=True)
    run = access.run(thread, command.run, lock=True)
    if run.stop is not None or (run.state in Run.FINAL and (command.seen is None or run.state == Run.State.STOPPED)):
        return nothing(thread)
    if run.state == Run.State.RUNNING:
        record(run, command.seen)
        return done(thread, stop=run.pk)
    thread.version += 1
    if run.state == Run.State.QUEUED:
        queue.take_back(thread, run)
    elif gone_on_from(run):
        raise Conflict()
    else:
        _late_cut(thread, run, command.seen or {})
    thread.touch_item()
    thread.save()
    return done(thread, look=True)


def record(run: Run, seen: Seen | None) -> None:
    """Its worker reads it under lock in the transaction that ends the run. The first one stays."""
    if run.stop is None:
        run.stop = _as_json(seen)
        run.save(update_fields=["stop", "updated_at"])


def interrupt(thread: Thread, seen: Seen | None) -> UUID | None:
    """What is being said ends where it was seen; returns the run that runs, for its worker to hear of it.

    If it has ended since, the cut still happens, unless the thread has gone on. A run that waits at a message which has
    its place (to be tried again, to go on with the path's end, to answer it anew) is given up: the message that
    interrupts comes after the path as it is.
    """
    for run in queue.waiting(thread):
        if run.prompt.status != Message.Status.QUEUED:
            queue.take_back(thread, run)
    running = Run.objects.running(thread)
    if running is not None:
        record(running, seen)
        return running.pk
    last = Run.objects.filter(messages=thread.head_id, state__in=Run.FINAL).exclude(state=Run.State.STOPPED).first()
    if last is not None and seen and answers(last).filter(pk__in=seen).exists() and not gone_on_from(last):
        _late_cut(thread, last, seen)
    return None


def leave(thread: Thread, top: Message, seen: Seen | None) -> UUID | None:
    """The path through ``top`` is left: what waits there is taken back, and a run that writes there is stopped where it
    was seen (and returned)."""
    left = {row.pk for row in Message.objects.below(top.pk)}
    for run in queue.waiting(thread):
        asked = run.prompt
        if asked.status != Message.Status.QUEUED:
            leaves = (run.continues_id or asked.pk) in left
        elif leaves := asked.place() in left:
            left.add(asked.pk)  # and so does what was written after it
        if leaves:
            queue.take_back(thread, run)
    running = Run.objects.running(thread)
    if running is None or not Message.objects.filter(Q(run=running) | Q(pk=running.prompt_id), pk__in=left).exists():
        return None
    record(running, seen)
    return running.pk


def went_on(message: Message) -> bool:
    """Whether a claimed run has had this message in its prompt: something was put below it that neither its own run
    wrote nor, if it is a question, a run that answers it."""
    below = Message.objects.filter(pk__in=[row.pk for row in Message.objects.below(message.pk)]).exclude(pk=message.pk)
    own = Q(run=message.run_id) | Q(run__prompt=message.pk)
    return below.exclude(own, role=Message.Role.ASSISTANT).exists()


def gone_on_from(run: Run) -> bool:
    """Whether a claimed run has had an answer of this run in its prompt, or has gone on writing it."""
    if Run.objects.filter(resumes=run, started_at__isnull=False).exists():
        return True
    return any(went_on(answer) for answer in answers(run))


def answers(run: Run) -> Any:
    """The messages that a run writes, or wrote last."""
    return Message.objects.filter(thread=run.thread_id, role=Message.Role.ASSISTANT, run=run)


def _late_cut(thread: Thread, run: Run, seen: Seen) -> None:
    """The run ended before its stop came: cut all the same."""
    for answer in answers(run):
        if answer.cut(seen.get(answer.pk, 0)):
            answer.version = thread.version
            answer.save()
    run.state, run.error_code, run.retry_after = Run.State.STOPPED, "", None
    run.announced_at = None  # another final state: the hook hears of it too
    run.stop = _as_json(seen)
    run.version = thread.version
    run.save()


def _as_json(seen: Seen | None) -> dict[str, Any]:
    return {"seen": None if seen is None else {str(message): count for message, count in seen.items()}}
