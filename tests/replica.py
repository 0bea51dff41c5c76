"""The product's transcript and inbox, made strict: whatever a server may not do raises :class:`Broken`.

The server repairs before it sends, so on a websocket nothing ever has to be repaired by a client: what a client would
mend is the server's fault. Tests see what was sent beyond the necessary in :class:`Counts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from chat.client import Inbox as ProductInbox
from chat.client import Transcript
from chat.protocol import Cursor


class Broken(AssertionError):
    """The server broke the protocol."""


@dataclass
class Counts:
    """Since the client was made, over all its connections."""

    connections: int = 0
    frames: int = 0
    bytes: int = 0
    deltas: int = 0
    changes: int = 0
    duplicates: int = 0
    """Deltas that held nothing new."""
    gaps: int = 0
    resyncs: int = 0
    """Threads and inboxes begun anew though something of them was held."""
    full_texts: int = 0
    """Rows that brought all of an answer's text again though something of it was held."""
    cuts: int = 0
    """Texts that were cut to their row's length."""
    heartbeats: int = 0


class Thread(Transcript):
    """One thread of a client that counts."""

    def __init__(self, thread: str, counts: Counts | None = None) -> None:
        super().__init__(thread)
        self.counts = counts or Counts()

    def apply(self, event: dict[str, Any]) -> str:
        """Take one event of this thread. Raises Broken."""
        check = getattr(self, f"_check_{event['type']}", None)
        if check is not None:
            check(event)
        effect = super().apply(event)
        if effect == "gap":
            self.counts.gaps += 1
            self._broken("a gap", event)
        if effect == "dropped" and event["type"] == "delta":
            self.counts.duplicates += 1
        self._check_cursor(event)
        return effect

    # what tests ask --------------------------------------------------------------------------------------------

    def transcript(self) -> dict[str, tuple[str, str, str, int]]:
        """{message: (text, reasoning, status, reasoning_ms)}."""
        return {
            pk: (message.text, message.reasoning, message.status, message.reasoning_ms)
            for pk, message in self.messages.items()
        }

    def state(self) -> dict[str, Any]:
        """All of it, to be compared with another client's when nothing runs."""
        return {
            "version": self.version,
            "row": self.row,
            "runs": self.runs,
            "messages": {
                pk: {
                    **message.row,
                    "text": message.text,
                    "reasoning": message.reasoning,
                    "reasoning_ms": message.reasoning_ms,
                }
                for pk, message in self.messages.items()
            },
        }

    # what a server promises ------------------------------------------------------------------------------------

    def _check_change(self, event: dict[str, Any]) -> None:
        frm, to = event["from"], event["to"]
        self.counts.changes += 1
        self.counts.resyncs += frm == 0 < self.version
        if 0 < frm < self.version:
            self._broken("a gap backwards", event)
        if to < frm:
            self._broken("a change goes backwards", event)
        for row in event["messages"]:
            # Rows of one version may take several frames: all but the last leave the cursor before it.
            if row["version"] > to + 1:
                self._broken("a row is of a later version than its change", event)
            if frm > 0:
                self._count(row)
            lengths = (row.get("text_length"), row.get("reasoning_length"))
            if "text" in row and lengths not in ((len(row["text"]), len(row["reasoning"])), (None, None)):
                self._broken("a row's lengths are not those of its text", event)

    def _count(self, row: dict[str, Any]) -> None:
        held = self.messages.get(row["id"])
        if held is None or not held.text:
            return
        if "text" in row:
            self.counts.full_texts += row["role"] == "assistant"
        elif "text_length" in row:
            self.counts.cuts += len(held.text) > row["text_length"]

    def _check_delta(self, event: dict[str, Any]) -> None:
        self.counts.deltas += 1
        if event["to"] <= event["from"]:
            self._broken("a delta goes backwards", event)
        begun = {pk for pk, message in self.messages.items() if message.run == event["run"]}
        for kind, pk, *_ in event["parts"] if event["from"] == self.seqs.get(event["run"]) else ():
            if kind == "start":
                begun.add(pk)
            elif kind in ("text", "reasoning", "reasoned", "end") and pk not in begun:
                self._broken("a part of a message that has not begun", event)

    def _check_caught_up(self, event: dict[str, Any]) -> None:
        if event["cursor"] != (self.cursor or "0"):
            self._broken("caught_up has another cursor than the event before it", event)

    def _check_cursor(self, event: dict[str, Any]) -> None:
        """The event's cursor says what we hold."""
        if self.cursor is None or event.get("cursor") != self.cursor:
            return
        cursor = Cursor.parse(self.cursor)
        if cursor.version != self.version:
            self._broken(f"the cursor is not of version {self.version}", event)
        if cursor.run in self.seqs and cursor.seq != self.seqs[cursor.run]:
            self._broken(f"the cursor is not of seq {self.seqs[cursor.run]}", event)

    def _broken(self, why: str, event: dict[str, Any]) -> NoReturn:
        held = {"version": self.version, "seqs": self.seqs, "cursor": self.cursor}
        raise Broken(f"{why}: {str(event)[:2000]}\nheld: {held}")


class Inbox(ProductInbox):
    """The inbox of a client that counts."""

    def __init__(self, counts: Counts | None = None) -> None:
        super().__init__()
        self.counts = counts or Counts()

    def apply(self, event: dict[str, Any]) -> str:
        """Take one event of the inbox. Raises Broken."""
        version = self.version
        self.counts.resyncs += event.get("from") == 0 < version
        effect = super().apply(event)
        if effect != "applied" or event.get("from", version) not in (0, version):
            self.counts.gaps += 1
            raise Broken(f"a gap in the inbox after version {version}: {str(event)[:2000]}")
        return effect
