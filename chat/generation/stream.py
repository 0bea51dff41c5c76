"""A stream: what one run has said and not yet settled, and what of it is where.

Parts come in one by one and get their seqs; the writer cuts them into batches, hands the batches to the run log, and
tells the stream what became of them. The stream keeps whatever may be needed to seed an emptied log again, and the
fold of all it has cut, for checkpoints. No I/O, no clock (``now`` is passed in, in seconds).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from chat.fold import Answer, Fold
from chat.protocol import Part, join
from chat.runlog.base import Batch

BATCH_CHARACTERS = 10_000
"""The most in one batch: at six bytes a character, as escapes have, a frame still holds it."""
PART_BYTES = 64
"""What a part weighs beside its text, unless it is joined to the one before."""
GROWTH = 1.25
GROWTH_LEAST = 2048
GROWTH_PAUSE = 1.0
CAP_PAUSE = 0.1
QUIET = 2.0
"""A checkpoint is due when the text grew by a quarter, at least 2 kB, at most once a second; and once when it has been
quiet for 2 s. When the log alone holds more than its cap, or one of several messages has ended: at once (but for
CAP_PAUSE, while the database is away)."""


class Kept(NamedTuple):
    """A batch that may be needed again: since when it is there, and its bytes."""

    at: float
    batch: Batch
    size: int


class Stream:
    """One attempt of one run. ``first``: what is kept begins after this seq (and so may the log)."""

    def __init__(
        self, run: str, thread: str, lease: int, first: int, held: Mapping[str, Answer], *, bound: int
    ) -> None:
        self.run = run
        self.thread = thread
        self.lease = lease
        self.first = first
        self.sent = first
        """The log has everything up to this seq, as far as we know."""
        self.seq = first
        """The last seq that was given out."""
        self.fold = Fold(first, {message: answer.copy() for message, answer in held.items()})
        self.unsent: deque[Batch] = deque()
        self.lost_log = True
        """The log is missing or behind: it has to be seeded (a new one has to be opened first)."""
        self.deadline = 0.0
        """Until then the lease is ours; nothing is written to the log after it."""
        self.last_part = self.last_append = 0.0
        self.stopping = asyncio.Event()
        """Somebody asked the run to stop."""
        self.lost = asyncio.Event()
        """The lease is lost: nothing may be written any more."""
        self._pending: list[Part] = []
        self._pending_size = 0
        self._kept: deque[Kept] = deque()
        self._size = 0
        self._bound = bound
        self._room = asyncio.Event()
        self._room.set()
        self._settled = asyncio.Event()
        self._settled.set()
        self._checkpoint_seq = first
        self._checkpoint_length = self.fold.length
        self._checkpoint_at = float("-inf")
        self._checkpoint_ended: set[str] = set()
        self._unchecked = 0
        """Bytes cut since the last checkpoint: what the log alone holds."""

    # the engine's side -----------------------------------------------------------------------------------------

    def put(self, part: Part, now: float) -> None:
        """Give the part its seq. Look at :attr:`full` afterwards."""
        self.seq += 1
        self.last_part = now
        self._pending.append(part)
        size = PART_BYTES + (len(part[2]) if part[0] in ("text", "reasoning") else 0)  # type: ignore[misc]
        self._pending_size += size
        self._settled.clear()
        if self.buffered > self._bound:
            self._room.clear()

    @property
    def full(self) -> bool:
        """More is kept than the bound: read no more from the model for now."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Returns when something may be put again."""
        await self._room.wait()

    async def settled(self) -> None:
        """Returns when the log has everything (or the lease is lost)."""
        await self._settled.wait()

    @property
    def buffered(self) -> int:
        """Bytes of what is kept here, about."""
        return self._pending_size + self._size

    # the writer's side -----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self._pending or self.unsent)

    def cut(self, now: float) -> Sequence[Batch]:
        """Turn the pending parts into batches, and return all that the log does not have yet."""
        while self._pending:
            count, weight, last = 0, 0, ("", "")
            for part in self._pending:
                here = part[:2]
                weight += 0 if here == last else PART_BYTES
                if part[0] in ("text", "reasoning"):
                    weight += len(part[2])  # type: ignore[misc]
                    last = here
                else:
                    weight += len(orjson.dumps(part))
                    last = ("", "")
                if count and weight > BATCH_CHARACTERS:
                    break
                count += 1
            parts, self._pending = join(self._pending[:count]), self._pending[count:]
            frm = self.fold.seq
            self.fold.add(parts, frm + count)
            batch = Batch(frm, frm + count, orjson.dumps(parts).decode())
            size = len(batch.parts.encode())
            self.unsent.append(batch)
            self._kept.append(Kept(now, batch, size))
            self._size += size
            self._unchecked += size
        self._pending_size = 0
        return self.unsent

    def appended(self, to: int, now: float) -> None:
        """The log has everything up to ``to``."""
        self.last_append = now
        self.lost_log = False
        self.sent = max(self.sent, to)
        while self.unsent and self.unsent[0].to <= self.sent:
            self.unsent.popleft()
        if not self.waiting:
            self._settled.set()

    def kept(self) -> Sequence[Batch]:
        """What the log is seeded with: all batches after :attr:`first`."""
        return [kept.batch for kept in self._kept]

    def give_up(self) -> None:
        """The lease is lost: whoever waits is let go."""
        self.lost.set()
        self._room.set()
        self._settled.set()

    # checkpoints -----------------------------------------------------------------------------------------------

    def checkpoint_due(self, now: float, cap: int) -> bool:
        """Whether the texts should be written to the database. ``cap``: bytes that the log may hold behind one."""
        # Not over the run's last part: a finalizer looks for it behind the checkpoint, and the final row is near.
        if self.fold.seq <= self._checkpoint_seq or self.fold.done:
            return False
        urgent = self._unchecked > cap or self._one_has_ended
        if urgent and now - self._checkpoint_at >= CAP_PAUSE:
            return True
        if now - self._checkpoint_at < GROWTH_PAUSE:
            return False
        grown = self.fold.length - self._checkpoint_length
        quiet = now - self.last_part >= QUIET
        return quiet or grown >= max(GROWTH_LEAST, self._checkpoint_length * (GROWTH - 1))

    @property
    def _one_has_ended(self) -> bool:
        """Of several messages: its row should say so while the others go on, and keep it whatever becomes of them."""
        ended = self.fold.ended
        return not ended <= self._checkpoint_ended and len(ended) < len(self.fold.answers)

    def checkpointed(self, fold: Fold, now: float) -> None:
        """The database has everything that is in ``fold``."""
        self._checkpoint_seq, self._checkpoint_length, self._checkpoint_at = fold.seq, fold.length, now
        self._checkpoint_ended, seq = fold.ended, fold.seq
        self._unchecked = sum(kept.size for kept in self._kept if kept.batch.to > seq)

    def checkpoint_failed(self, now: float) -> None:
        """Not written: try again after a pause."""
        self._checkpoint_at = now

    def trim(self, now: float, tail: float, cap: int) -> int:
        """Let go of what the database has, but for the last ``tail`` seconds, and of those too beyond ``cap`` bytes.
        Returns the seq up to which the log may be trimmed."""
        while self._kept:
            oldest = self._kept[0]
            if oldest.batch.to > min(self._checkpoint_seq, self.sent):
                break
            if now - oldest.at < tail and self._size <= min(cap, self._bound):
                break
            self._kept.popleft()
            self._size -= oldest.size
            self.first = oldest.batch.to
        if self.buffered <= self._bound:
            self._room.set()
        return self.first
