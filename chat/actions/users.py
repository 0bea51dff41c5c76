"""The verb on a user as a whole: delete. It is no command of the protocol: a page asks for it (chat/own_data.py)."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from chat.announcement import Announcement
from chat.models import Inbox, Run, Thread


@transaction.atomic
def delete(user_id: Any) -> list[Announcement]:
    """The user, with all threads, tokens and kept replies: all of it or nothing. Their sessions open nothing any more,
    and a worker that writes for them finds its run gone. Returns what to announce after the commit."""
    # Locked in the order in which commands and checkpoints lock them.
    list(Thread.objects.select_for_update().filter(owner=user_id).order_by("pk").values_list("pk"))
    running = Run.objects.filter(thread__owner=user_id, state=Run.State.RUNNING).order_by("pk")
    stopped = list(Run.objects.select_for_update().filter(pk__in=list(running.values_list("pk", flat=True))))
    version = Inbox.objects.raise_version(user_id)
    get_user_model()._default_manager.filter(pk=user_id).delete()
    # Whoever follows the inbox looks again, and finds it empty.
    return [Announcement(user=user_id, inbox_version=version), *(Announcement(stop=run.pk) for run in stopped)]
