"""The protocol's values: limits, close codes, parts and cursors. Frames are in :mod:`chat.frames`.

Pure: no Django, no Redis, no clock. docs/protocol.md is the description for people.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from chat.errors import BadRequest, RunError

PROTOCOL: Final = "rejoin.v1"
MAX_FRAME = 64 * 1024
"""Bytes of one frame, either way; only a single row that is itself larger goes alone in a larger one."""
FRAME_ROOM = MAX_FRAME - 1024
"""Bytes of a frame for rows or parts."""
MAX_COMMANDS = 50
"""Commands in one request of the JSON API."""
MAX_COMMANDS_BODY = 1024 * 1024
"""Bytes of such a request."""
MAX_WAITING = 64
"""Commands of a socket that may wait for the one being done."""
MAX_COSTLY = 50
"""Searches, exports or pages of a user that may wait for their turn at a web process."""
HEARTBEAT_BYTES = 64 * 1024
"""A heartbeat follows after so many bytes sent …"""
HEARTBEAT_SILENCE = 10.0
"""… or so many seconds of silence."""
MAX_UNANSWERED = 4
"""So many heartbeats without an ack pause the socket."""
MAX_PAUSE = 60.0
"""A socket that is paused for so many seconds is closed with 4408."""
BAD_FRAMES = 5
"""The fifth malformed frame closes the socket with 4400."""
MAX_RESPONSE = 256 * 1024
"""Bytes after which an event stream or the answer to a long poll ends …"""
MAX_STREAM = 60.0
"""… and seconds after which an event stream does, at the latest."""
MAX_WAIT = 30.0
"""Seconds that a long poll may ask to wait, and waits unless told."""
LEASE_SPAN = 1_000_000
"""Seqs of one lease: seq = lease × LEASE_SPAN + 1, 2, 3 …"""
WINDOW = 50
"""Messages that an attach without a cursor brings, and that one ``history`` brings unless told …"""
MAX_WINDOW = 200
"""… and at most."""
MAX_VERSIONS = 200
"""Messages with the same parent: each row of one names them all."""
FOUND = 20
"""Threads that one ``search`` finds unless told …"""
MAX_FOUND = 100
"""… and at most."""
MAX_QUERY = 200
"""Characters of what is searched for."""
MAX_SEARCH = 5.0
"""Seconds that a search may take, from when it is its turn."""

CLOSE_BAD_FRAMES = 4400
CLOSE_SIGN_IN = 4401
CLOSE_FORBIDDEN = 4403
CLOSE_UNANSWERED = 4408
CLOSE_TOO_FAST = 4429
CLOSE_RESTARTING = 1012
CLOSE_TRY_LATER = 1013

# ---------------------------------------------------------------------------------------------------------- parts

Part = tuple[str, str, Any] | tuple[str, str]
"""``(kind, message id, value)``, as on the wire. Kinds: see the makers below. Unknown kinds are skipped."""


def start(message: str, *, parent: str | None = None, author: str = "", role: str = "assistant") -> Part:
    """A message begins. ``parent`` None: it follows what the run has put on the path so far."""
    return ("start", message, {"parent": parent, "author": author, "role": role})


def text(message: str, value: str) -> Part:
    """More text of a message."""
    return ("text", message, value)


def reasoning(message: str, value: str) -> Part:
    """More of what the model thinks before it answers."""
    return ("reasoning", message, value)


def reasoned(message: str, milliseconds: int) -> Part:
    """It has thought for so much longer: what the engine writes before the text that follows the thoughts, or when they
    end without any."""
    return ("reasoned", message, milliseconds)


def end(message: str, error: RunError | None = None) -> Part:
    """A message is complete; or, with an error, it failed, while others of the run may go on."""
    return ("end", message) if error is None else ("end", message, {"error": error.as_dict()})


def usage(message: str, *, input: int, output: int) -> Part:
    """Tokens that the message cost, by the provider's count. Clients skip it."""
    return ("usage", message, {"input": input, "output": output})


def done() -> Part:
    """The run has said everything: what the engine writes last. Clients skip it; a finalizer that finds it knows that
    the run was completed, whatever became of its worker."""
    return ("done", "")


def join(parts: Iterable[Part]) -> list[Part]:
    """The same parts with neighbouring text (or reasoning) of one message joined: fewer bytes, same meaning."""
    joined: list[Part] = []
    kind = message = ""
    pieces: list[str] = []
    for part in parts:
        if part[0] == kind and part[1] == message:
            pieces.append(part[2])  # type: ignore[misc]
            continue
        if pieces:
            joined.append((kind, message, "".join(pieces)))
            pieces = []
        kind, message = part[0], part[1]
        if kind in ("text", "reasoning"):
            pieces.append(part[2])  # type: ignore[misc]
        else:
            joined.append(part)
            kind = ""
    if pieces:
        joined.append((kind, message, "".join(pieces)))
    return joined


def clean(value: str) -> str:
    """The text without what can't be stored or sent: surrogate halves joined where both are there, else replaced by
    U+FFFD, as is NUL. Clean text comes back as it is."""
    if "\0" in value:
        value = value.replace("\0", "\ufffd")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


# --------------------------------------------------------------------------------------------------------- cursor


class Cursor(NamedTuple):
    """What a client has applied: the version of a thread (or inbox), and of a running run its seq.

    On the wire an opaque string. ``Cursor()`` is the cursor of somebody who has nothing.
    """

    version: int = 0
    run: str | None = None
    seq: int = 0

    def __str__(self) -> str:
        return f"{self.version}" if self.run is None else f"{self.version}.{self.run}.{self.seq}"

    @classmethod
    def parse(cls, value: str) -> Cursor:
        """The inverse of ``str``. Raises BadRequest for anything else."""
        try:
            version, _, rest = value.partition(".")
            if not rest:
                return cls(_natural(version))
            run, _, seq = rest.partition(".")
            return cls(_natural(version), str(uuid.UUID(run)), _natural(seq))
        except (ValueError, AttributeError) as error:
            raise BadRequest("The cursor is not one that this server gave.", detail={"field": "cursor"}) from error


def _natural(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise ValueError(digits)
    return int(digits)
