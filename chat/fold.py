"""Folding: what a run's parts add up to. Pure.

The writer folds what it has cut into batches (for checkpoints and the final row), the finalizer what a dead worker left
in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass
class Answer:
    """One message of a run: pieces of text and reasoning, in order, how long the thoughts took, and whether its ``end``
    has come (``error``: the code of why it failed)."""

    pieces: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    reasoning_ms: int = 0
    length: int = 0
    """Characters of text and reasoning together."""
    ended: bool = False
    error: str = ""

    @classmethod
    def of(cls, text: str, reasoning: str, reasoning_ms: int = 0, *, ended: bool = False, error: str = "") -> Answer:
        """A message that has this already."""
        length = len(text) + len(reasoning)
        return cls([text] if text else [], [reasoning] if reasoning else [], reasoning_ms, length, ended, error)

    def copy(self) -> Answer:
        """The answer as it is now."""
        return Answer.of(self.text, self.reasoning, self.reasoning_ms, ended=self.ended, error=self.error)

    @property
    def text(self) -> str:
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    @property
    def reasoning(self) -> str:
        if len(self.thoughts) > 1:
            self.thoughts[:] = ["".join(self.thoughts)]
        return self.thoughts[0] if self.thoughts else ""


@dataclass
class Fold:
    """All messages of a run as of ``seq``. ``said``: whether any text or reasoning came beyond what it began with."""

    seq: int
    answers: dict[str, Answer] = field(default_factory=dict)
    tokens_in: int | None = None
    tokens_out: int | None = None
    said: bool = False
    done: bool = False

    def hold(self, message: str, text: str, reasoning: str, reasoning_ms: int = 0) -> None:
        """Begin with what a message has already."""
        self.answers[message] = Answer.of(text, reasoning, reasoning_ms)

    def add(self, parts: Iterable[Sequence[Any]], seq: int) -> None:
        """Add these parts; the fold is then as of ``seq``. Kinds it does not know move the seq, no more."""
        for part in parts:
            kind, message = part[0], part[1]
            if kind == "text":
                answer = self._answer(message)
                answer.pieces.append(part[2])
                answer.length += len(part[2])
                self.said = True
            elif kind == "reasoning":
                answer = self._answer(message)
                answer.thoughts.append(part[2])
                answer.length += len(part[2])
                self.said = True
            elif kind == "reasoned":
                self._answer(message).reasoning_ms += part[2]
            elif kind == "start":
                self._answer(message)
            elif kind == "end":
                answer = self._answer(message)
                answer.ended = True
                if len(part) > 2:
                    answer.error = part[2]["error"]["code"]
            elif kind == "usage":
                self.tokens_in = (self.tokens_in or 0) + part[2]["input"]
                self.tokens_out = (self.tokens_out or 0) + part[2]["output"]
            elif kind == "done":
                self.done = True
        self.seq = seq

    def copy(self) -> Fold:
        """The fold as it is now: what is added later does not show in it."""
        return replace(self, answers={message: answer.copy() for message, answer in self.answers.items()})

    @property
    def length(self) -> int:
        """Characters of all messages."""
        return sum(answer.length for answer in self.answers.values())

    @property
    def ended(self) -> set[str]:
        """The messages whose end has come."""
        return {message for message, answer in self.answers.items() if answer.ended}

    def _answer(self, message: str) -> Answer:
        answer = self.answers.get(message)
        if answer is None:
            answer = self.answers[message] = Answer()
        return answer
