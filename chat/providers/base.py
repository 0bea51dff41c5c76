"""The provider's contract: a conversation in, parts out.

A provider turns the active path of a thread into an answer. It is called by the generation engine, once per attempt of
a run, and knows nothing of threads, runs, databases or clients. One's own provider is a subclass of Provider, named in
``REJOIN_PROVIDERS`` by its dotted path:

    class Echo(Provider):
        async def stream(self, conversation):
            answer = conversation.answer_id(0)
            yield start(answer, author="echo")
            yield text(answer, conversation.turns[-1].text)
            yield end(answer)

Promises it must keep (``tests/providers`` holds the shipped ones to them):

- Parts of a message come between its ``start`` and its ``end``; several messages may interleave. Ids come from
  ``conversation.answer_id(n)``, n = 0, 1, 2 …, so that a run which is started again writes the same messages; who asks
  others gives each of them what :meth:`Conversation.for_author` makes.
  When ``conversation.continues`` is set, the first message is that one and gets no ``start``. A part of a kind of
  one's own is JSON of at most 16 KiB. What breaks this fails the run as ``internal``, and no other run.
- Counts of ``usage`` add up. It may come as often as the model's server counts: a run that is stopped has cost what
  was counted by then.
  A message that ends as ``end(id, error)`` has failed by itself; the run goes on.
- A failure is a RunError of :mod:`chat.errors`; any other exception counts as ``internal``. Retries happen inside, and
  only before the first part. Text that was said stays.
- Cancelling the iteration (or ``aclose()``) closes the connection to the model at once.
- Text may hold NUL or half surrogate pairs; the engine cleans it.
"""

from __future__ import annotations

import abc
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from chat.protocol import Part


@dataclass(frozen=True)
class Turn:
    """One message of the prompt. ``role`` is "user" or "assistant"; ``author`` is the model or agent, or ""."""

    role: str
    text: str
    author: str = ""


@dataclass(frozen=True)
class Conversation:
    """What a provider is asked: the active path, oldest first, ending with the user's message."""

    run: uuid.UUID
    model: str
    turns: Sequence[Turn]
    system_prompt: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    continues: str | None = None
    """The id of a message to go on with; its text so far is then the last turn, with role "assistant"."""
    others: int = 0
    """How many other answers to the same message there are already: it was asked for a different one."""
    author: str = ""
    """The name under which the answer will stand, if it is one of several authors'."""
    within: str = ""
    """Where among several the answer has its place: its ids are apart from the others'."""

    def answer_id(self, n: int) -> str:
        """The id of the run's n-th answer: the same for every attempt of the run."""
        if self.continues is not None:
            if n == 0:
                return self.continues
            n -= 1
        return str(uuid.uuid5(self.run, f"{self.within}{n}"))

    def for_author(self, n: int, author: str, **changes: Any) -> Conversation:
        """What the n-th of several authors is asked: the same, except for ``changes``, with answer ids of its own."""
        return replace(self, author=author, within=f"{self.within}{n}.", **changes)


Choose = Callable[[str], tuple["Provider", str]]
"""Whom to ask for a model, as a user would name it, and what it is called there."""


class Provider(abc.ABC):
    """See the module's docstring. One instance serves all runs of a process; it is made with the ``options`` of its
    entry in ``REJOIN_PROVIDERS`` as keyword arguments."""

    name: ClassVar[str] = ""

    @abc.abstractmethod
    def stream(self, conversation: Conversation) -> AsyncGenerator[Part]:
        """The parts of the answer, as they come. An async generator."""

    async def models(self) -> list[str]:
        """The names of the models that can be asked for, best first. Raises RunError if they can't be had."""
        return []

    def introduce(self, choose: Choose) -> Collection[Provider]:
        """For a provider that asks others: called once, when all of the settings are made. Returns whom it will ask,
        so that a circle is found."""
        return ()

    async def close(self) -> None:  # noqa: B027  (most have nothing to give back)
        """Give back connections. Called once, at the end of the process."""
