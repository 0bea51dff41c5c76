"""A client's copy of one thread, kept by the rules of docs/protocol.md and nothing else."""

from __future__ import annotations

import json
from typing import Any

from chat.protocol import Cursor
from tests.schema import check


class Replica:
    """Applies the events of one attachment. What breaks a rule is an AssertionError."""

    def __init__(self) -> None:
        self.row: dict[str, Any] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.seqs: dict[str, int] = {}
        self.cursor = Cursor()
        self.caught_up = self.gone = False
        self.kinds: list[str] = []
        self.received = 0
        """Characters of text that came, in rows or parts."""

    def apply(self, frame: str) -> dict[str, Any]:
        """One event."""
        event: dict[str, Any] = json.loads(frame)
        check(event, len(frame.encode()))
        self.kinds.append(event["type"])
        getattr(self, f"_{event['type']}")(event)
        if "cursor" in event:
            self.cursor = Cursor.parse(event["cursor"])
        return event

    def _change(self, event: dict[str, Any]) -> None:
        assert event["from"] in (0, self.cursor.version), "a change that does not follow"
        assert event["to"] >= event["from"]
        if event["from"] == 0:
            self.row, self.messages, self.runs, self.seqs = {}, {}, {}, {}
        self.row = event.get("row", self.row)
        for run in event["runs"]:
            self.runs[run["id"]] = run
        for message in event["messages"]:
            self._message(message)
        cursor = Cursor.parse(event["cursor"])
        if cursor.run is not None:
            assert self.seqs.setdefault(cursor.run, cursor.seq) == cursor.seq, "the cursor is not where the rows are"

    def _message(self, message: dict[str, Any]) -> None:
        held = self.messages.get(message["id"], {"text": "", "reasoning": "", "reasoning_ms": 0})
        if "text" in message:
            self.received += len(message["text"]) + len(message["reasoning"])
            assert len(message["text"]) == message["text_length"]
            assert len(message["reasoning"]) == message["reasoning_length"]
            if message["role"] == "assistant" and message["run"] is not None:
                self.seqs[message["run"]] = message["seq"]
        else:
            for name in ("text", "reasoning"):
                message[name] = held[name][: message.get(f"{name}_length", len(held[name]))]
                assert len(message[name]) == message.get(f"{name}_length", len(message[name])), "text is missing"
            message.setdefault("reasoning_ms", held["reasoning_ms"])
        self.messages[message["id"]] = message

    def _delta(self, event: dict[str, Any]) -> None:
        run = event["run"]
        assert self.runs[run]["state"] == "running", "a delta of a run that is not running"
        assert self.seqs.get(run) == event["from"], "a delta that does not follow"
        self.seqs[run] = event["to"]
        for kind, message, *value in event["parts"]:
            if kind == "start":
                self.messages.setdefault(
                    message, {"id": message, "text": "", "reasoning": "", "reasoning_ms": 0, **value[0]}
                )
            elif kind in ("text", "reasoning"):
                self.messages[message][kind] += value[0]
                self.received += len(value[0])
            elif kind == "reasoned":
                self.messages[message]["reasoning_ms"] += value[0]

    def _caught_up(self, event: dict[str, Any]) -> None:
        self.caught_up = True

    def _gone(self, event: dict[str, Any]) -> None:
        self.gone = True

    def view(self) -> dict[str, Any]:
        """Everything that a person could see of it."""
        lengths = ("text_length", "reasoning_length", "seq", "updated_at")
        return {
            "row": {name: value for name, value in self.row.items() if name not in ("version", "updated_at")},
            "messages": {
                pk: {name: value for name, value in message.items() if name not in lengths}
                for pk, message in self.messages.items()
            },
            "runs": {
                pk: {name: value for name, value in run.items() if name != "seq" or run["state"] != "running"}
                for pk, run in self.runs.items()
            },
            "cursor": self.cursor,
        }
