"""The verbs that ask for an answer: send, edit, regenerate, continue. Each queues one run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from chat import access, conf, frames
from chat.actions import queue, stops
from chat.actions.outcome import Outcome, done
from chat.actions.threads import allow_model
from chat.errors import BadRequest, Busy, Conflict, TooLarge
from chat.models import Message, Run, Thread

TITLE_LENGTH = 60


def send(user_id: Any, command: frames.Send) -> Outcome:
    """A message is queued, and a run that answers it. A worker that is free takes both at once."""
    _allow_text(command.text)
    allow_model(command.model)
    thread = access.thread(user_id, command.thread, lock=True)
    if command.on_busy == "reject" and Run.objects.active(thread).exists():
        raise Busy()
    thread.version += 1
    ahead = command.on_busy == "interrupt"
    stop = stops.interrupt(thread, command.seen) if ahead else None
    runs = queue.waiting(thread)
    at = queue.branches(runs) if ahead else len(runs)
    message = Message(pk=command.message, text=command.text)
    message.after_id, message.branch = _after(thread, command.parent, runs[:at])
    if message.branch:
        queue.allow_version(thread, message.after_id)
    queue.put_ahead(thread, message, Run(pk=command.run, model=command.model), runs[at:])
    if not thread.title:
        thread.title = _title(command.text)
        thread.row_version = thread.version
    return _asked(thread, stop)


def edit(user_id: Any, command: frames.Edit) -> Outcome:
    """A new sibling of a user's message: what runs or waits on the path that is left ends. One that waits itself is
    replaced where it waits."""
    _allow_text(command.text)
    thread = access.thread(user_id, command.thread, lock=True)
    old = access.message(thread, command.of)
    if old.role != Message.Role.USER or old.status == Message.Status.UNQUEUED:
        raise BadRequest("Only a message of yours that was not taken back can be edited.", detail={"field": "of"})
    thread.version += 1
    stop = None
    message, run = Message(pk=command.message, text=command.text), Run(pk=command.run)
    if old.status == Message.Status.QUEUED:
        waits = Run.objects.select_related("prompt").get(prompt=old, state=Run.State.QUEUED)
        run.model = waits.model
        queue.replace(thread, waits, message, run)
    else:
        queue.allow_version(thread, old.parent_id)
        stop = stops.leave(thread, old, command.seen)
        message.after_id, message.branch = old.parent_id, True
        queue.put_message(thread, message, run)
    return _asked(thread, stop)


def regenerate(user_id: Any, command: frames.Regenerate) -> Outcome:
    """A new sibling of an answer, or another attempt at a question whose run said nothing. What runs or waits on the
    path that is left ends: the run where it was seen."""
    allow_model(command.model)
    thread = access.thread(user_id, command.thread, lock=True)
    message = access.message(thread, command.of)
    question = message
    if message.role == Message.Role.ASSISTANT and message.run is not None:
        question = message.run.prompt
    if question.role != Message.Role.USER or question.status != Message.Status.COMPLETE:
        raise BadRequest("Only an answer can be generated again.", detail={"field": "of"})
    queue.allow_version(thread, question.pk)
    thread.version += 1
    stop = stops.leave(thread, message, command.seen)
    queue.put(thread, Run(pk=command.run, prompt=question, model=command.model))
    return _asked(thread, stop)


def go_on(user_id: Any, command: frames.Continue) -> Outcome:
    """A run that goes on with an answer that was cut or broke off, at the path's end, in the same message, by the same
    model. An answer without a word may be gone on with, too: it begins there."""
    thread = access.thread(user_id, command.thread, lock=True)
    answer = access.message(thread, command.of)
    if answer.role != Message.Role.ASSISTANT or answer.run is None:
        raise BadRequest("Only an answer can be gone on with.", detail={"field": "of"})
    if Run.objects.active(thread).exists():
        raise Busy()
    if answer.pk != thread.head_id:
        raise Conflict("The answer is no longer the last message.")
    if answer.status not in (Message.Status.CUT, Message.Status.FAILED):
        raise Conflict("The answer is complete.")
    thread.version += 1
    last = answer.run
    queue.put(thread, Run(pk=command.run, prompt=last.prompt, continues=answer, resumes=last, model=last.model))
    return _asked(thread, None)


def _asked(thread: Thread, stop: UUID | None) -> Outcome:
    thread.touch_item()
    thread.save()
    return done(thread, look=True, stop=stop)


def _after(thread: Thread, parent: UUID | None, before: list[Run]) -> tuple[UUID | None, bool]:
    """What a message that is sent with this ``parent`` comes after, and whether it begins a branch exactly there.
    ``before``: the runs that wait and will be claimed before it."""
    end = queue.end(thread, before)
    if parent is None or parent in (end, thread.head_id):
        return end, False
    found = access.message(thread, parent)
    if found.status == Message.Status.QUEUED and all(run.prompt_id != parent for run in before):
        return end, False  # this one goes before it
    if found.status == Message.Status.QUEUED and not Message.objects.filter(after=parent, status=found.status).exists():
        return parent, False  # the end of what waits on another path
    if found.status in Message.UNPLACED:
        raise BadRequest("The parent has no place in the chat yet.", detail={"field": "parent"})
    # The path's end may only have grown by answers of the very run that the reader was watching or waiting for.
    if stops.went_on(found) or Message.objects.tip(parent) != thread.head_id:
        return parent, True
    return end, False


def _allow_text(text: str) -> None:
    if len(text.encode()) > conf.MAX_MESSAGE:
        raise TooLarge(detail={"limit": conf.MAX_MESSAGE})


def _title(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"
