"""What a person does at one device, and what it shows: the same on every transport (see tests.stateful.devices)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from chat.errors import ChatError
from tests.replica import Thread
from tests.schema import check_command


class Violation(AssertionError):
    """A client saw what must never be."""


class Copy(Thread):
    """The product's transcript, made strict, and held to what the world knows to have been said."""

    def __init__(self, world: Any, name: str, *, whole: bool) -> None:
        super().__init__(str(world.thread))
        self.whole = whole
        self._world, self._name = world, name

    def _put(self, row: dict[str, Any]) -> None:
        held = self.messages.get(row["id"])
        before = held.text if held is not None else ""
        super()._put(row)
        if len(self.messages[row["id"]].text) < len(before) and not self._world.may_shorten(row["id"]):
            raise Violation(f"{self._name}: {row['id']} became shorter, and nobody stopped it")
        self._look_at([row["id"]])

    def _delta(self, event: dict[str, Any]) -> Any:
        effect = super()._delta(event)
        if effect == "dropped":
            raise Violation(f"{self._name}: parts again, or of a run that has ended: {str(event)[:500]}")
        self._look_at({part[1] for part in event["parts"] if part[1] in self.messages})
        return effect

    def _look_at(self, messages: Iterable[str]) -> None:
        for pk in messages:
            message = self.messages[pk]
            if message.role != "user" and not self._world.said(pk, message.text):
                raise Violation(f"{self._name}: {message.text[-40:]!r} was never said so in {pk}")


class Viewer:
    """``whole``: it has asked for all of the thread, otherwise for what is seen first."""

    def __init__(self, name: str, world: Any, *, whole: bool = True) -> None:
        self.name, self.world, self.whole = name, world, whole
        self.pending: dict[str, dict[str, Any]] = {}
        """Commands without an answer, by id, in the order they were given."""
        self.results: dict[str, dict[str, Any]] = {}
        """Of the commands that were done, by id."""
        self.slow = 0.0
        """Seconds that each frame takes to read."""
        self.deaf = False
        """Takes things in only as far as the network does it by itself."""

    def __repr__(self) -> str:
        return self.name

    @property
    def copy(self) -> Copy:
        raise NotImplementedError

    @property
    def connected(self) -> bool:
        """Whether it hears of what happens, as far as it knows."""
        raise NotImplementedError

    async def connect(self) -> None:
        """Follow the thread from now on, from where it is. Repeatable."""
        raise NotImplementedError

    async def disconnect(self) -> None:
        """The network is gone. Repeatable."""
        raise NotImplementedError

    def forget(self) -> None:
        """A refresh, while disconnected: everything is gone but the commands without an answer."""
        raise NotImplementedError

    def look(self) -> None:
        """Raises what it has broken at."""
        raise NotImplementedError

    def read(self, *, slow: float, deaf: bool) -> None:
        self.slow, self.deaf = slow, deaf

    def new_copy(self) -> Copy:
        return Copy(self.world, self.name, whole=self.whole)

    # commands --------------------------------------------------------------------------------------------------

    def command(self, kind: str, **fields: Any) -> str:
        """Say it now, and again, under the same id, until it is answered for good."""
        frame = {"type": kind, "id": str(uuid4()), "thread": str(self.world.thread), **fields}
        check_command(frame)
        self.pending[frame["id"]] = frame
        self._say(frame)
        return str(frame["id"])

    def _say(self, frame: dict[str, Any]) -> None:
        raise NotImplementedError

    def _done(self, command: str, result: dict[str, Any]) -> None:
        self.pending.pop(command, None)
        self.results[command] = result

    def _refused(self, command: str, error: ChatError) -> float:
        """Seconds after which to say it again. Not at all, if the refusal is for good: then 0. (Who was told that
        somebody else is being answered decides anew.)"""
        if error.retryable and error.code != "busy":
            return error.retry_after or 1.0
        self.pending.pop(command, None)
        return 0.0

    async def load_path(self) -> None:
        """Bring what the path has before what is held."""
        while self.copy.has_earlier:
            asked = self.command("history", before=self.copy.path[0].id, limit=4)
            while asked in self.pending:
                await asyncio.sleep(0.1)
            found = self.results[asked]
            self.copy.add_earlier(found["messages"], found["runs"])

    # what it shows ---------------------------------------------------------------------------------------------

    def ids(self, role: str, *statuses: str) -> list[str]:
        """The messages of these statuses that it shows."""
        return [pk for pk, shown in self.copy.messages.items() if shown.role == role and shown.status in statuses]

    def placed(self) -> list[str]:
        """The messages that have their place in the tree."""
        return [pk for pk, shown in self.copy.messages.items() if shown.status not in ("queued", "unqueued")]

    def runs(self, *states: str) -> list[str]:
        return [pk for pk, run in self.copy.runs.items() if run["state"] in states]

    def seen(self, less: int = 0) -> dict[str, int]:
        """What is on screen of the answers, ``less`` characters behind what has arrived."""
        answers = [shown for shown in self.copy.messages.values() if shown.role == "assistant"]
        return {shown.id: max(0, len(shown.text) - less) for shown in answers}
