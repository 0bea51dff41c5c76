"""One thread as a client holds it: rows and live text, brought up to date by the events of docs/protocol.md.

A change's rows are applied by id; text in a row replaces, lengths cut. A delta is dropped if its end is at or below our
seq or its run has ended, applied if it begins at our seq, and otherwise a gap. An event that is a gap changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chat.client.replica import Effect, Replica
from chat.protocol import LEASE_SPAN

FINAL = frozenset({"completed", "stopped", "failed", "interrupted"})


@dataclass
class Message:
    """One message. ``row`` is the protocol's, without what is held beside it; ``ended``: its ``end`` has come live."""

    row: dict[str, Any]
    text: str = ""
    reasoning: str = ""
    reasoning_ms: int = 0
    ended: bool = False

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def parent(self) -> str | None:
        parent: str | None = self.row["parent"]
        return parent

    @property
    def role(self) -> str:
        return str(self.row["role"])

    @property
    def author(self) -> str:
        return str(self.row["author"])

    @property
    def status(self) -> str:
        return str(self.row["status"])

    @property
    def run(self) -> str | None:
        run: str | None = self.row["run"]
        return run


class Transcript(Replica):
    """One thread. ``row`` is its own, None until it came; ``runs`` are the protocol's rows; ``seqs``: up to where the
    text of each running run is held."""

    def __init__(self, thread: str) -> None:
        super().__init__()
        self.id = thread
        self._clear()

    def _clear(self) -> None:
        self.row: dict[str, Any] | None = None
        self.messages: dict[str, Message] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.seqs: dict[str, int] = {}
        self.version = 0

    # what it shows ---------------------------------------------------------------------------------------------

    @property
    def running(self) -> dict[str, Any] | None:
        """The run that is writing."""
        return next((run for run in self.runs.values() if run["state"] == "running"), None)

    @property
    def path(self) -> list[Message]:
        """The messages from the first one held to the end, what is being written included."""
        run = self.running
        path: list[Message] = []
        message = self.messages.get((self.row or {}).get("head") or "")
        if message is None and run is not None:
            message = self.messages.get(run["prompt"])
        while message is not None:
            path.append(message)
            message = self.messages.get(message.parent or "")
        path.reverse()
        for answer in self.answers(run["id"]) if run is not None else ():
            if answer.parent == (path[-1].id if path else None) and answer not in path:
                path.append(answer)
        return path

    @property
    def queued(self) -> list[Message]:
        """Messages that wait for their turn, in the order they will have."""
        places = {run["prompt"]: run["place"] for run in self.runs.values() if run["place"] is not None}
        waiting = [message for message in self.messages.values() if message.status == "queued"]
        return sorted(waiting, key=lambda message: (places.get(message.id, LEASE_SPAN), message.row["created_at"]))

    @property
    def has_earlier(self) -> bool:
        """Whether the path goes back further than what is held: see ``Client.history``."""
        path = self.path
        return bool(path) and path[0].parent is not None

    def answers(self, run: str) -> list[Message]:
        """What the run has written, in its order."""
        return [message for message in self.messages.values() if message.run == run and message.role == "assistant"]

    def text(self, run: str) -> str:
        """The text of the run's answers, joined."""
        return "".join(message.text for message in self.answers(run))

    def has_ended(self, run: str) -> bool:
        return run in self.runs and self.runs[run]["state"] in FINAL

    async def ended(self, run: str) -> dict[str, Any]:
        """The run's row, when it has ended. Raises as :meth:`until`."""
        await self.until(lambda: self.has_ended(run))
        return self.runs[run]

    def seen(self, run: str | None = None) -> dict[str, int] | None:
        """What is held of the run (without one: of the running run), as ``stop`` wants it. None: nothing is known of
        such a run."""
        run = run or (self.running or {}).get("id")
        return {answer.id: len(answer.text) for answer in self.answers(run)} if run in self.runs else None

    def add_earlier(self, messages: Iterable[dict[str, Any]], runs: Iterable[dict[str, Any]] = ()) -> None:
        """Rows that ``history`` brought. What is held already is newer."""
        for row in messages:
            if row["id"] not in self.messages:
                self._put(row)
        for run in runs:
            self.runs.setdefault(run["id"], run)
        self.changed()

    # events ----------------------------------------------------------------------------------------------------

    def lose(self, code: str) -> None:
        self._clear()
        self.cursor = None
        super().lose(code)

    def _take(self, event: dict[str, Any]) -> Effect:
        match event["type"]:
            case "change":
                return self._change(event)
            case "delta":
                return self._delta(event)
            case "caught_up":
                self.cursor = event["cursor"]
                self.caught_up, self.gone = True, None
            case "gone":
                self.lose(event["code"])
            case _:
                return "dropped"
        return "applied"

    def _change(self, event: dict[str, Any]) -> Effect:
        if event["from"] == 0:
            self._clear()
        elif event["to"] < self.version:
            return "dropped"
        if event["from"] > self.version or not all(map(self._reaches, event["messages"])):
            return "gap"
        self.row = event.get("row", self.row)
        for run in event["runs"]:
            self._put_run(run)
        for row in event["messages"]:
            self._put(row)
        self._set_seqs(event["messages"])
        self.version = event["to"]
        self.cursor = event["cursor"]
        return "applied"

    def _put_run(self, run: dict[str, Any]) -> None:
        pk = run["id"]
        self.runs[pk] = run
        if run["state"] != "running":
            self.seqs.pop(pk, None)
        # Within a lease our own seq is the truth: the row's is the checkpoint's.
        elif pk not in self.seqs or run["seq"] // LEASE_SPAN > self.seqs[pk] // LEASE_SPAN:
            self.seqs[pk] = run["seq"]

    def _reaches(self, row: dict[str, Any]) -> bool:
        """Whether we have the text that the row refers to."""
        if "text" in row or "text_length" not in row:
            return True
        held = self.messages.get(row["id"])
        text, reasoning = (held.text, held.reasoning) if held is not None else ("", "")
        return not (len(text) < row["text_length"] or len(reasoning) < row["reasoning_length"])

    def _put(self, row: dict[str, Any]) -> None:
        message = self.messages.setdefault(row["id"], Message(row))
        fields = dict(row)
        text, reasoning = fields.pop("text", None), fields.pop("reasoning", "")
        text_length, reasoning_length = fields.pop("text_length", None), fields.pop("reasoning_length", None)
        reasoning_ms = fields.pop("reasoning_ms", 0 if text is not None else message.reasoning_ms)
        message.row = fields
        message.reasoning_ms = reasoning_ms
        if text is not None:
            message.text, message.reasoning = text, reasoning
        elif text_length is not None:
            message.text, message.reasoning = message.text[:text_length], message.reasoning[:reasoning_length]

    def _set_seqs(self, rows: Iterable[dict[str, Any]]) -> None:
        """A row with text has its run's text up to its seq, also backwards."""
        told: dict[str, int] = {}
        for row in rows:
            if "text" in row and row["run"] is not None and row["role"] == "assistant":
                told[row["run"]] = max(row["seq"], told.get(row["run"], 0))
        self.seqs |= {run: seq for run, seq in told.items() if run in self.seqs}

    def _delta(self, event: dict[str, Any]) -> Effect:
        run, seq = event["run"], self.seqs.get(event["run"])
        if self.has_ended(run) or (seq is not None and event["to"] <= seq):
            return "dropped"
        if event["from"] != seq:
            return "gap"
        for kind, pk, *value in event["parts"]:
            if kind == "start":
                self._start(run, pk, value[0])
            elif kind == "text":
                self._begun(run, pk).text += value[0]
            elif kind == "reasoning":
                self._begun(run, pk).reasoning += value[0]
            elif kind == "reasoned":
                self._begun(run, pk).reasoning_ms += value[0]
            elif kind == "end" and pk in self.messages:
                self.messages[pk].ended = True
        self.seqs[run] = event["to"]
        self.cursor = event["cursor"]
        return "applied"

    def _begun(self, run: str, pk: str) -> Message:
        return self.messages.get(pk) or self._start(run, pk, {})

    def _start(self, run: str, pk: str, told: dict[str, Any]) -> Message:
        """A message begins whose row comes later. Begun again by a run that was started again, it begins empty."""
        held = self.messages[pk].row if pk in self.messages else {}
        path = self.path
        row = {
            "id": pk,
            "parent": told.get("parent") or held.get("parent") or (path[-1].id if path else None),
            "after": None,
            "siblings": [pk],
            "role": told.get("role", "assistant"),
            "author": told.get("author", ""),
            "status": "streaming",
            "error": None,
            "run": run,
            "seq": 0,
            "version": 0,
            "created_at": "",
            "updated_at": "",
        }
        message = self.messages[pk] = Message({**row, **held})
        return message
