"""Frame sequences and what a client holds after them, for clients in any language.

Each file is ``{name, about, thread (or inbox: true), frames, effects, expected}``. ``effects`` says of each frame
whether it is ``applied``, ``dropped`` or a ``gap``; ``expected`` what is shown then, the cursor, and whether a client
has to attach again (``resync``). Those named ``recorded_…`` are what a real server sent (:mod:`tests.vectors.record`),
the others were made by hand, to be as unkind as a network can be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.schema import check

VECTORS = Path(__file__).parent
STRANGE = frozenset({"what_is_not_known", "inbox"})
"""Vectors with events that no server of this version sends."""


def check_vector(vector: dict[str, Any]) -> None:
    """Raises Broken if a frame is none of the published schema."""
    for frame in vector["frames"]:
        if vector["name"] not in STRANGE:
            check(frame, 0)
