"""A thread to take away: as Markdown what its reader sees, as JSON all there is. Called by the edges."""

from __future__ import annotations

import re
from typing import Any

from chat.frames import MessageRow
from chat.protocol import PROTOCOL
from chat.replication.listing import Listing

NAME_LENGTH = 80
"""Characters of a file's name, at most."""
NOTES = {"streaming": "being written", "cut": "stopped", "failed": "failed"}
"""What is said of an answer that is not whole."""


def document(found: Listing) -> dict[str, Any]:
    """All rows, of every branch, as the protocol has them."""
    return {"protocol": PROTOCOL, "thread": found.thread, "messages": found.messages, "runs": found.runs}


def markdown(found: Listing) -> str:
    """The path as its reader sees it: who said what, each text as it is."""
    assert found.thread is not None
    rows = {row["id"]: row for row in found.messages}
    path: list[MessageRow] = []
    row = rows.get(found.thread["head"] or "")
    while row is not None:
        path.append(row)
        row = rows.get(row["parent"] or "")
    title = " ".join(found.thread["title"].split()) or "Untitled"
    return "\n\n".join([f"# {title}", *map(_turn, reversed(path))]) + "\n"


def _turn(row: MessageRow) -> str:
    who = "You" if row["role"] == "user" else row["author"] or "Assistant"
    note = f" ({NOTES[row['status']]})" if row["status"] in NOTES else ""
    moment = row["created_at"][:16].replace("T", " ")
    return f"**{who}**{note} · {moment} UTC\n\n{row['text']}".rstrip()


def file_name(found: Listing, extension: str) -> str:
    """A name that any file system takes, from the title: letters, digits, spaces and hyphens."""
    assert found.thread is not None
    words = re.sub(r"[^\w-]+", " ", found.thread["title"])[:NAME_LENGTH].strip(" -_")
    return f"{words or 'chat'}.{extension}"
