"""Chats of users, and the verbs on them as short calls; what tests of coroutines need to look at the database."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.db.models.functions import Now

from chat import actions, database, frames
from chat.actions import Outcome
from chat.fold import Fold
from chat.generation import ledger
from chat.generation.ledger import Claim
from chat.models import Message, Run, Thread
from chat.protocol import end, start, text

_names = itertools.count(1)
LATER = Now() + timedelta(seconds=60)
"""By the database's clock: all leases that are held now have run out."""


def make_user(**fields: Any) -> User:
    return User.objects.create(username=f"user{next(_names)}", **fields)


class Asked(NamedTuple):
    """What a send made."""

    message: UUID
    run: UUID


class Turn(NamedTuple):
    """A question, its run, and its answer."""

    message: UUID
    run: UUID
    answer: UUID


class Chat:
    """One thread of one user, and the verbs on it."""

    def __init__(self, owner: User | None = None) -> None:
        self.owner = owner or make_user()
        self.id = uuid4()
        self.do("create")

    def command(self, type: str, **fields: Any) -> Any:
        """A command on this thread, validated as if it came from a client."""
        plain = {name: _plain(value) for name, value in fields.items()}
        return frames.command({"id": str(uuid4()), "type": type, "thread": str(self.id), **plain})

    def do(self, type: str, **fields: Any) -> Outcome:
        return actions.perform(self.owner.pk, self.command(type, **fields))

    def send(self, text: str = "hello", **fields: Any) -> Asked:
        asked = Asked(uuid4(), uuid4())
        self.do("send", message=asked.message, run=asked.run, text=text, **fields)
        return asked

    def regenerate(self, of: UUID, **fields: Any) -> UUID:
        run = uuid4()
        self.do("regenerate", of=of, run=run, **fields)
        return run

    def edit(self, of: UUID, text: str = "edited", **fields: Any) -> Asked:
        asked = Asked(uuid4(), uuid4())
        self.do("edit", of=of, message=asked.message, run=asked.run, text=text, **fields)
        return asked

    def go_on(self, of: UUID) -> UUID:
        """Continue an answer: the run."""
        run = uuid4()
        self.do("continue", of=of, run=run)
        return run

    def select(self, message: UUID) -> Outcome:
        return self.do("select", message=message)

    def stop(self, run: UUID, **fields: Any) -> Outcome:
        return self.do("stop", run=run, **fields)

    def claim(self, run: UUID, owner: str = "worker") -> Claim:
        claim = ledger.claim(run, owner)
        assert claim is not None
        return claim

    def begin(self, claim: Claim, n: int = 0, *, parent: UUID | None = None) -> UUID:
        """The run's n-th answer begins: its row."""
        message = UUID(claim.conversation.answer_id(n))
        assert ledger.begin(claim.run, claim.lease, message, parent, "model") is not None
        return message

    def finish(self, claim: Claim, said: dict[UUID, str], state: str = Run.State.COMPLETED, **fields: Any) -> None:
        """The run ends, having said this."""
        fold = Fold(claim.first)
        fold.answers.update(claim.held)
        for message, words in said.items():
            fold.add([start(str(message)), text(str(message), words), end(str(message))], fold.seq + 3)
        assert ledger.finish(claim.run, claim.lease, fold, state, **fields) is not None

    def answered(self, run: UUID, words: str = "An answer.", state: str = Run.State.COMPLETED) -> UUID:
        """A queued run is claimed, says this in one message, and ends."""
        claim = self.claim(run)
        message = self.begin(claim)
        self.finish(claim, {message: words}, state)
        return message

    def turn(self, question: str = "hello", words: str = "An answer.", **fields: Any) -> Turn:
        """A question and its whole answer."""
        asked = self.send(question, **fields)
        return Turn(*asked, self.answered(asked.run, words))

    def cut_turn(self, question: str = "hello", words: str = "An ans") -> Turn:
        """A question and an answer that was stopped here."""
        asked = self.send(question)
        claim = self.claim(asked.run)
        answer = self.begin(claim)
        self.stop(asked.run, seen={answer: len(words)})
        self.finish(claim, {answer: f"{words} …"})
        return Turn(*asked, answer)

    def broken_off(self, claim: Claim, words: str, state: str = Run.State.INTERRUPTED) -> UUID:
        """A claimed run ends within an answer, having said this of it."""
        message = self.begin(claim) if claim.conversation.continues is None else UUID(claim.conversation.continues)
        fold = Fold(claim.first)
        fold.answers.update(claim.held)
        fold.add([text(str(message), words)], claim.first + 1)
        assert ledger.finish(claim.run, claim.lease, fold, state) is not None
        return message

    @property
    def thread(self) -> Thread:
        return Thread.objects.get(pk=self.id)

    def message(self, pk: UUID) -> Message:
        return Message.objects.get(pk=pk)

    def run(self, pk: UUID) -> Run:
        return Run.objects.get(pk=pk)

    def path(self) -> list[UUID]:
        """The ids of the path's messages."""
        return [message.pk for message in Message.objects.path(self.thread.head_id)]

    def texts(self) -> list[str]:
        return [message.text for message in Message.objects.path(self.thread.head_id)]


def claimed(chat: Chat) -> Claim:
    """A question is asked, and claimed."""
    return chat.claim(chat.send().run)


def folded(claim: Claim, *parts: Any) -> Fold:
    """What a claimed run has said, if it has said this."""
    fold = Fold(claim.first)
    fold.add(parts, claim.first + len(parts))
    return fold


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dict):
        return {_plain(key): item for key, item in value.items()}
    return value


async def in_database(function: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """A test's own look at the database from a coroutine."""
    return await database.in_database(lambda: function(*args, **fields))


async def until(condition: Callable[[], Any]) -> None:
    """Let the others go on until this holds. Bounded, so that a hang is a failure."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("This never came to hold.")


def answers(run: Run) -> Sequence[Message]:
    """The messages that a run wrote, oldest first."""
    return list(run.messages.filter(role=Message.Role.ASSISTANT).order_by("created_at", "id"))
