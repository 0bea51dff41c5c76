"""Commands, done for a client of any transport: the verb, its announcement, and what the client has missed.

Called by the edges, which have read and limited the command before.
"""

from __future__ import annotations

import logging
from typing import Any

from django.utils import timezone

from chat import actions, conf, frames
from chat.identity import Viewer
from chat.process import Process
from chat.protocol import MAX_FRAME, PROTOCOL, WINDOW, Cursor
from chat.replication import catchup, listing
from chat.replication.attachment import Attachment
from chat.replication.rows import moment
from chat.tasks import to_its_end

log = logging.getLogger(__name__)


async def welcome(process: Process, viewer: Viewer) -> frames.Welcome:
    """What a client is told first: who it is, and what is allowed."""
    return {
        "type": "welcome",
        "protocol": PROTOCOL,
        "user": {"id": str(viewer.pk), "name": viewer.name, "guest": viewer.guest},
        "limits": {"frame": MAX_FRAME, "message": conf.MAX_MESSAGE, "window": WINDOW, "queued": conf.MAX_QUEUED},
        "models": await process.models(),
        "server_time": moment(timezone.now()),
    }


async def do(process: Process, user_id: Any, command: Any, attachment: Attachment | None = None) -> dict[str, Any]:
    """Do a command (any but attach, detach and ack); returns its reply's ``result``. Raises ChatErrors.

    What a verb changed has been sent to ``attachment``, if the client follows its thread there, before this returns;
    otherwise ``result["change"]`` brings everything since the command's cursor.
    """
    database = process.sources.database
    if isinstance(command, frames.History):
        return await database(listing.history, user_id, command.thread, command.before, command.limit)
    if isinstance(command, frames.Search):
        return await search(process, user_id, command.query, command.before, command.archived, command.limit)
    outcome = await to_its_end(_perform(process, user_id, command))
    version = outcome.result["version"]
    if attachment is not None:
        await attachment.reached(version)
        return outcome.result
    since = Cursor.parse(command.cursor) if command.cursor else Cursor(max(0, version - 1))
    try:
        change = await database(catchup.changes, user_id, command.thread, since)
    except Exception as error:  # deleted, or the database is away since: the command is done all the same
        log.debug("action=no_change_for_reply error=%s", type(error).__name__)
        return outcome.result
    return {**outcome.result, "change": change}


async def search(process: Process, user_id: Any, *what: Any) -> dict[str, Any]:
    """What ``listing.search`` finds, when it is its turn. Raises RateLimited, and what that raises."""
    return await process.reading.do(user_id, lambda: process.sources.database(listing.search, user_id, *what))


async def _perform(process: Process, user_id: Any, command: Any) -> actions.Outcome:
    """What is done is told, also where whoever asked for it has left in between: else others learn of it by the next
    comparison only."""
    outcome = await process.sources.database(actions.perform, user_id, command)
    await process.announce(outcome.announcement)
    return outcome
