"""The verbs on a thread as a whole: create, update, delete, read, select."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from chat import access, conf, frames
from chat.actions.outcome import Outcome, done, nothing
from chat.announcement import Announcement
from chat.errors import BadRequest
from chat.models import Message, Run, Thread


def create(user_id: Any, command: frames.Create) -> Outcome:
    """A new, empty thread."""
    allow_model(command.model)
    thread = Thread(
        pk=command.thread,
        owner_id=user_id,
        version=1,
        row_version=1,
        title=command.title,
        model=command.model,
        system_prompt=command.system_prompt,
    )
    thread.touch_item()
    thread.save(force_insert=True)
    return done(thread)


def update(user_id: Any, command: frames.Update) -> Outcome:
    """Changes the fields that are there."""
    allow_model(command.model or "")
    thread = access.thread(user_id, command.thread, lock=True)
    values = {name: getattr(command, name) for name in ("title", "model", "system_prompt", "archived", "pinned")}
    thread.version += 1
    thread.touch_item()
    # By update(): a name or a pin is no reason to show a chat as the latest.
    Thread.objects.filter(pk=thread.pk).update(
        version=thread.version,
        row_version=thread.version,
        inbox_version=thread.inbox_version,
        **{name: value for name, value in values.items() if value is not None},
    )
    return done(thread)


def delete(user_id: Any, command: frames.Delete) -> Outcome:
    """What was said goes; the empty row stays, so that every inbox learns of it. A worker that writes here finds its
    run gone."""
    thread = access.thread(user_id, command.thread, lock=True)
    # Locked before its messages, as its worker's checkpoint locks them.
    running = Run.objects.running(thread)
    thread.head = None
    thread.title = thread.system_prompt = thread.model = ""
    thread.deleted_at = timezone.now()
    thread.version += 1
    thread.row_version = thread.version
    thread.touch_item()
    thread.save()
    # By their keys: what was said need not be read for that.
    thread.runs.only("pk").delete()
    thread.messages.only("pk").delete()
    return done(thread, stop=running.pk if running else None)


def read(user_id: Any, command: frames.Read) -> Outcome:
    """Moves the read position, never back. Touches the inbox only."""
    thread = access.thread(user_id, command.thread, lock=True)
    message = access.message(thread, command.message)
    was_unread = thread.unread
    # The path's end: then all has been read, also that a run has failed without a word.
    position = thread.version if message.pk == thread.head_id else message.version
    thread.read_version = max(thread.read_version, position)
    if was_unread and not thread.unread:
        thread.touch_item()
    # By update(): reading a chat is no reason to show it as the latest.
    Thread.objects.filter(pk=thread.pk).update(read_version=thread.read_version, inbox_version=thread.inbox_version)
    return done(thread)


def select(user_id: Any, command: frames.Select) -> Outcome:
    """Shows the newest path through a message. What runs and what waits goes on where it is."""
    thread = access.thread(user_id, command.thread, lock=True)
    message = access.message(thread, command.message)
    if message.status in Message.UNPLACED:
        raise BadRequest("This message has no place in the chat.", detail={"field": "message"})
    tip = Message.objects.tip(message.pk)
    if tip == thread.head_id:
        return nothing(thread)
    thread.version += 1
    thread.show(tip)
    # By update(): looking at another path is no reason to show the chat as the latest.
    Thread.objects.filter(pk=thread.pk).update(
        version=thread.version, row_version=thread.row_version, head=thread.head_id
    )
    return Outcome({"version": thread.version}, Announcement(thread.pk, thread.version))


def allow_model(model: str) -> None:
    """Raises BadRequest for a model that is not offered here."""
    if model and conf.MODELS and model not in conf.MODELS:
        raise BadRequest("This model is not offered here.", detail={"field": "model"})
