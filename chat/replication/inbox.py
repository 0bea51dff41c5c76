"""A user's list of threads, caught up with as a thread is: by its version, a page at a time."""

from __future__ import annotations

from typing import Any

import orjson

from chat import access
from chat.database import snapshot
from chat.frames import encode
from chat.models import Inbox
from chat.protocol import FRAME_ROOM, Cursor
from chat.replication.rows import inbox_item
from chat.replication.subscription import Page

PAGE_ITEMS = 100
"""Items of an inbox in one page at most, and in the first view of it: pinned ones first, then the newest."""
ITEM_SIZE = 2048
"""What an item weighs at most."""


def read_inbox(user_id: Any, cursor: Cursor, everything: bool) -> Page:
    """The items of a user's inbox that changed after the cursor: one page. From nothing, unless ``everything``: of
    those that are not archived the pinned and the newest, PAGE_ITEMS in all; ``older`` says that there are others."""
    with snapshot():
        version = Inbox.objects.filter(user=user_id).values_list("version", flat=True).first() or 0
        frm = cursor.version if cursor.version <= version else 0
        rows = access.items(user_id).filter(inbox_version__gt=frm)
        older = False
        if frm == 0:
            rows = rows.alive()
            if not everything:
                shown = rows.filter(archived=False).order_by("-pinned", "-inbox_version")
                versions = list(shown.values_list("inbox_version", flat=True)[: PAGE_ITEMS + 1])
                older = len(versions) > PAGE_ITEMS
                rows = rows.filter(inbox_version__in=versions[:PAGE_ITEMS])
        found = list(rows.with_status().order_by("inbox_version")[: PAGE_ITEMS + 1])
        size = count = 0
        while count < len(found[:PAGE_ITEMS]) and size <= FRAME_ROOM - ITEM_SIZE:
            size += len(orjson.dumps(inbox_item(found[count]))) + 1
            count += 1
        more, found = count < len(found), found[:count]
        to = found[-1].inbox_version if more else version
        if not found and to == cursor.version:
            return Page([], Cursor(to))
        event = {
            "type": "inbox",
            "from": frm,
            "to": to,
            "items": [inbox_item(thread) for thread in found if thread.deleted_at is None],
            "removed": [str(thread.pk) for thread in found if thread.deleted_at is not None],
            **({"older": True} if older else {}),
            "cursor": str(Cursor(to)),
        }
        return Page([encode(event)], Cursor(to), more)
