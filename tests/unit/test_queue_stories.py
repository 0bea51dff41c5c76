"""Random stories of one thread: whatever is asked, answered, failed or taken back, who speaks last is seen last."""

from __future__ import annotations

import random
from contextlib import suppress
from uuid import UUID

import pytest

from chat.errors import ChatError
from chat.generation.ledger import Claim
from chat.models import Message, Run
from tests.unit.chats import Chat

STORIES = 40
VERBS = ("send", "send", "edit", "regenerate", "claim", "claim", "begin", "begin", "finish", "finish")


class Teller:
    """Somebody who does things at random, with a worker who answers when it likes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.chat = Chat()
        self.claimed: Claim | None = None
        self.begun: list[UUID] = []
        self.last: tuple[UUID | None, UUID] | None = None
        """What was asked for last: its message (None: another answer) and its run."""

    def tell(self, verbs: tuple[str, ...]) -> None:
        for _ in range(self.rng.randint(3, 14)):
            with suppress(ChatError):
                getattr(self, self.rng.choice(verbs))()
        while self.claimed or self.waiting():
            if not self.claimed:
                self.claim()
            if not self.begun:
                self.begin()
            self.finish()

    def waiting(self) -> list[Run]:
        return list(self.chat.thread.runs.filter(state=Run.State.QUEUED).order_by("place"))

    def _message(self, role: str, status: str) -> UUID:
        """One of the path, or one that waits."""
        there = self.chat.thread.messages.filter(role=role)
        waiting = list(there.filter(status=status).values_list("pk", flat=True))
        return self.rng.choice([*there.filter(pk__in=self.chat.path()).values_list("pk", flat=True), *waiting])

    def send(self, on_busy: str = "queue") -> None:
        asked = self.chat.send(on_busy=on_busy)
        self.last = asked.message, asked.run

    def interrupt(self) -> None:
        self.send("interrupt")

    def edit(self) -> None:
        if self.chat.path() or self.waiting():
            asked = self.chat.edit(self._message(Message.Role.USER, Message.Status.QUEUED))
            self.last = asked.message, asked.run

    def regenerate(self) -> None:
        if len(self.chat.path()) > 1:
            self.last = None, self.chat.regenerate(self._message(Message.Role.ASSISTANT, Message.Status.QUEUED))

    def go_on(self) -> None:
        if self.chat.path():
            self.chat.go_on(self.chat.path()[-1])
            self.last = None

    def take_back(self) -> None:
        if runs := self.waiting():
            run = self.rng.choice(runs)
            self.chat.stop(run.pk)
            if self.last is not None and self.last[1] == run.pk:
                self.last = None

    def claim(self) -> None:
        if self.claimed is None and (runs := self.waiting()):
            self.claimed, self.begun = self.chat.claim(runs[0].pk), []
            if self.claimed.conversation.continues is not None:
                self.begun.append(UUID(self.claimed.conversation.continues))

    def begin(self) -> None:
        if self.claimed is not None and len(self.begun) < 2:
            self.begun.append(self.chat.begin(self.claimed, len(self.begun)))

    def finish(self, state: str = Run.State.COMPLETED) -> None:
        if self.claimed is not None:
            self.chat.finish(self.claimed, dict.fromkeys(self.begun, "words"), state)
            self.claimed, self.begun = None, []

    def fail(self) -> None:
        self.finish(Run.State.FAILED)


@pytest.mark.parametrize(
    "more",
    [(), ("fail",), ("take_back", "go_on"), ("interrupt",) * 4],
    ids=["plain", "failures", "take-backs", "interrupts"],
)
def test_what_was_asked_last_is_on_the_path_that_is_shown(db: None, more: tuple[str, ...], settings: object) -> None:
    for seed in range(STORIES):
        teller = Teller(seed)
        teller.tell(VERBS + more)
        if teller.last is None:
            continue
        message, run = teller.last
        answers = set(teller.chat.run(run).messages.filter(role=Message.Role.ASSISTANT).values_list("pk", flat=True))
        sought = {message} if message is not None else answers
        given_up = message is None and teller.chat.run(run).started_at is None
        assert sought & set(teller.chat.path()) or given_up, f"hidden in story {seed}"
