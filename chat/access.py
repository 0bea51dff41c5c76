"""The only getters that take a user. Everything user-facing goes through them.

Not there and not yours are the same NotFound, found by the same query, so that nothing can be probed.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from chat.errors import NotFound
from chat.models import Message, Run, Thread, ThreadQuerySet


def items(user_id: Any) -> ThreadQuerySet:
    """What the user's inbox is made of: the threads, and what is left of those that were deleted. In no order."""
    return Thread.objects.filter(owner_id=user_id)


def threads(user_id: Any) -> ThreadQuerySet:
    """The user's threads that are not deleted, in no order."""
    return items(user_id).alive()


def thread(user_id: Any, thread_id: UUID, *, lock: bool = False) -> Thread:
    """One thread of the user's; with ``lock`` its row is locked for the transaction. Raises NotFound."""
    rows = threads(user_id)
    if lock:
        rows = rows.select_for_update()
    found = rows.filter(pk=thread_id).first()
    if found is None:
        raise NotFound()
    return found


def message(owned: Thread, message_id: UUID) -> Message:
    """A message of a thread that was got by :func:`thread`. Raises NotFound."""
    found = owned.messages.filter(pk=message_id).first()
    if found is None:
        raise NotFound()
    return found


def run(owned: Thread, run_id: UUID, *, lock: bool = False) -> Run:
    """A run of a thread that was got by :func:`thread`. Raises NotFound."""
    rows = owned.runs.all()
    if lock:
        rows = rows.select_for_update()
    found = rows.filter(pk=run_id).first()
    if found is None:
        raise NotFound()
    return found
