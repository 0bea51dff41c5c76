"""The verbs: what a user's command does, each in one transaction.

:func:`perform` does a command at most once per (user, id) and keeps its reply. What it returns says what to announce
after the commit: hints only, so that a lost announcement loses nothing. Called through chat.database from the edges.

A verb takes the user's id and the command, and locks the thread before anything else. They stand in threads.py (the
thread as a whole), turns.py (what asks for an answer) and stops.py (what ends one); queue.py has the order in which
turns wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, transaction

from chat import frames
from chat.actions import stops, threads, turns
from chat.actions.outcome import Outcome
from chat.errors import ChatError, Conflict
from chat.models import Command

__all__ = ["VERBS", "Outcome", "perform"]

VERBS: dict[type[Any], Callable[[Any, Any], Outcome]] = {
    frames.Create: threads.create,
    frames.Update: threads.update,
    frames.Delete: threads.delete,
    frames.Read: threads.read,
    frames.Select: threads.select,
    frames.Send: turns.send,
    frames.Edit: turns.edit,
    frames.Regenerate: turns.regenerate,
    frames.Continue: turns.go_on,
    frames.Stop: stops.stop,
}
TAKEN = "An id of this command is taken already."


def perform(user_id: Any, command: Any) -> Outcome:
    """Do a command. Raises the ChatErrors of the verb; then nothing has changed.

    A command whose id was done before changes nothing and gets the first reply again; one of another type or thread,
    which has taken that id by mistake, is a Conflict.
    """
    try:
        with transaction.atomic():
            if (done := _done(user_id, command)) is not None:
                return done
            outcome = VERBS[type(command)](user_id, command)
            Command.objects.create(
                user_id=user_id, command=command.id, type=command.type, thread=command.thread, reply=outcome.result
            )
            return outcome
    except (IntegrityError, ChatError) as error:  # perhaps because of the same command at the same moment
        if (done := _done(user_id, command)) is not None:
            return done
        if isinstance(error, IntegrityError):
            raise Conflict(TAKEN) from error
        raise


def _done(user_id: Any, command: Any) -> Outcome | None:
    done = Command.objects.filter(user_id=user_id, command=command.id).first()
    if done is None:
        return None
    if done.type != command.type or done.thread not in (None, command.thread):
        raise Conflict(TAKEN)
    return Outcome(done.reply)
