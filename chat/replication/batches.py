"""What is live, as frames: the log's batches put together into deltas. Pure: both who writes them and who reads them
again (the writer, a catch-up) make the same of them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from chat.frames import encode
from chat.protocol import FRAME_ROOM, join
from chat.runlog.base import Batch, Log


def goes_on(log: Log | None, seq: int) -> bool:
    """Whether the log has everything after ``seq``, from the very next part on."""
    if log is None or seq > log.last:
        return False
    return seq == log.last or any(batch.frm == seq for batch in log.batches)


def group_batches(batches: Sequence[Batch]) -> list[tuple[int, int, str]]:
    """Neighbouring batches put together, as many as one frame holds: (from, to, parts) of each delta."""
    groups: list[list[Batch]] = []
    size = 0
    for batch in batches:
        weight = len(batch.parts.encode())
        if not groups or size + weight > FRAME_ROOM:
            groups.append([])
            size = 0
        groups[-1].append(batch)
        size += weight
    return [(group[0].frm, group[-1].to, _joined(group)) for group in groups]


def _joined(batches: Sequence[Batch]) -> str:
    """All their parts. Text that goes on from batch to batch is one part: each part costs about 50 bytes of its own."""
    if len(batches) == 1:
        return batches[0].parts
    return encode(join(part for batch in batches for part in orjson.loads(batch.parts)))


def delta_frame(thread: str, run: str, frm: int, to: int, parts: str) -> str:
    """The JSON of a delta up to its cursor, which is each viewer's own."""
    return f'{{"type":"delta","thread":"{thread}","run":"{run}","from":{frm},"to":{to},"parts":{parts}'
