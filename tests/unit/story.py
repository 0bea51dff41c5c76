"""A chat, its run log, and a worker's hand on both: a story told step by step, and read at any point."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

from chat.database import in_database
from chat.generation import ledger
from chat.generation.ledger import Claim
from chat.generation.stream import Stream
from chat.models import Run
from chat.protocol import Cursor, Part, end, start, text
from chat.replication import catchup
from chat.runlog.base import Append, Status
from chat.runlog.memory import MemoryRunLog
from tests.unit.chats import LATER, Chat
from tests.unit.replica import Replica

NOTHING = Cursor()


class Story:
    """A chat, its run log, and a worker's hand on both."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.log = MemoryRunLog()
        self.claim: Claim | None = None
        self.stream: Stream | None = None
        self.answers: list[UUID] = []

    async def do(self, function: Callable[..., Any], *args: Any, **fields: Any) -> Any:
        return await in_database(lambda: function(*args, **fields))

    async def take(self, run: UUID) -> None:
        """A worker claims the run and opens its log."""
        self.claim = await self.do(self.chat.claim, run)
        assert self.claim is not None
        self.stream = Stream(
            str(run), str(self.chat.id), self.claim.lease, self.claim.first, self.claim.held, bound=10**9
        )
        await self.log.open(str(run), self.claim.lease, self.claim.first)
        self.answers = [UUID(held) for held in self.claim.held]

    async def begin(self) -> UUID:
        assert self.claim is not None
        answer: UUID = await self.do(self.chat.begin, self.claim, len(self.answers))
        self.answers.append(answer)
        await self.put(start(str(answer), author="model"))
        return answer

    async def put(self, *parts: Part) -> None:
        """The parts reach the log, as one batch or more."""
        assert self.stream is not None
        for part in parts:
            self.stream.put(part, 0.0)
        batches = list(self.stream.cut(0.0))
        [answer] = await self.log.append([Append(self.stream.run, self.stream.lease, batches)])
        assert answer.status is Status.OK
        self.stream.appended(batches[-1].to, 0.0)

    async def say(self, words: str, n: int = 0) -> None:
        await self.put(text(str(self.answers[n]), words))

    async def checkpoint(self) -> None:
        assert self.claim is not None
        assert self.stream is not None
        assert await self.do(ledger.checkpoint, self.claim.run, self.claim.lease, self.stream.fold.copy())
        self.stream.checkpointed(self.stream.fold, 0.0)

    async def trim(self) -> None:
        """The log forgets what the checkpoint has."""
        assert self.stream is not None
        self.stream.trim(1e9, 0.0, 0)
        await self.log.seed(self.stream.run, self.stream.lease, self.stream.first, self.stream.kept())

    async def finish(self, state: str = Run.State.COMPLETED, **fields: Any) -> None:
        assert self.claim is not None
        assert self.stream is not None
        assert await self.do(ledger.finish, self.claim.run, self.claim.lease, self.stream.fold, state, **fields)

    async def catch_up(self, replica: Replica | None = None, *, everything: bool = True) -> Replica:
        """What a viewer is sent who has this copy (or nothing)."""
        replica = replica or Replica()
        view = None
        if replica.cursor.version == 0 and not everything:
            view = await in_database(catchup.window, self.chat.owner.pk, self.chat.id)
        more = True
        while more:
            page = await catchup.catch_up(in_database, self.log, self.chat.owner.pk, self.chat.id, replica.cursor, view)
            for frame in page.frames:
                replica.apply(frame)
            assert replica.cursor == page.cursor or not page.frames
            replica.cursor, more = page.cursor, page.more
        return replica


async def saying(story: Story, *words: str) -> str:
    """A run that has said these words, each a batch of its own: the run's id."""
    asked = await story.do(story.chat.send)
    await story.take(asked.run)
    await story.begin()
    for word in words:
        await story.say(word)
    return str(asked.run)


def kinds(replica: Replica) -> list[str]:
    kinds, replica.kinds = replica.kinds, []
    return kinds


def said(replica: Replica) -> str:
    [answer] = [message for message in replica.messages.values() if message["role"] == "assistant"]
    return str(answer["text"])


async def everything_that_happens(story: Story) -> AsyncIterator[str]:
    """One long story, told step by step."""
    chat, do = story.chat, story.do
    yield "an empty thread"
    first = await do(chat.send, "one")
    second, third, fourth = [await do(chat.send, word) for word in ("two", "three", "four")]
    yield "four questions wait"
    await do(ledger.unserved, LATER)
    yield "nobody works"
    await do(ledger.renew, "worker", [])
    await do(ledger.unserved)
    yield "somebody works"
    await story.take(first.run)
    yield "the first is claimed"
    answer = await story.begin()
    yield "its answer begins"
    await story.say("Hello ")
    yield "it says something"
    await do(chat.do, "update", title="A title", pinned=True)
    yield "the title changes meanwhile"
    await story.say("world")
    await story.checkpoint()
    yield "a checkpoint"
    await story.say(", and more")
    await story.trim()
    yield "the log is trimmed"
    await do(chat.stop, third.run)
    yield "the third question is taken back"
    await story.begin()
    await story.say("a second message", 1)
    yield "a second message"
    await story.put(end(str(answer)), end(str(story.answers[1])))
    await story.finish()
    yield "the run is complete"
    await do(chat.stop, first.run, seen={answer: 5, story.answers[1]: 99})
    yield "a late stop"
    await do(chat.do, "read", message=answer)
    yield "it was read"
    await story.take(second.run)
    await story.begin()
    yield "the second run begins"
    taken = await do(ledger.take_over, second.run, "sweeper", LATER)
    await do(ledger.requeue, second.run, taken.lease)
    yield "its worker died, and it waits again"
    await story.take(second.run)
    yield "it is claimed again"
    again = await story.begin()
    await story.say("the second time")
    yield "and says something"
    await do(chat.stop, second.run, seen={again: 3})
    yield "it is stopped"
    await story.finish(Run.State.STOPPED)
    yield "and ends"
    await story.take(fourth.run)
    failed = await story.begin()
    await story.say("half of")
    await story.finish(Run.State.FAILED, error_code="provider_unavailable")
    yield "the fourth fails in the middle"
    regenerated = await do(chat.regenerate, failed)
    yield "it is asked again"
    await story.take(regenerated)
    yield "the old answer is left"
    await story.begin()
    await story.say("a better one")
    yield "the new answer"
    branch = await do(chat.send, "instead", parent=again)
    behind = await do(chat.send, "and then")
    yield "a branch waits, and something after it"
    await story.finish()
    yield "the new answer is there"
    await do(chat.stop, branch.run)
    yield "the branch is taken back, and what came after it begins it"
    await story.take(behind.run)
    await story.finish(Run.State.INTERRUPTED, error_code="worker_lost")
    yield "a run that was interrupted before it said anything"
    edited = await do(chat.edit, first.message, "one, edited")
    yield "the first question is edited, and all below it is left"
    await story.take(edited.run)
    yield "the new version is shown"
    cut = await story.begin()
    await story.say("half of an ans")
    await do(chat.send, "wait", on_busy="interrupt", seen={cut: 7})
    yield "somebody interrupts"
    await story.finish()
    yield "what was interrupted is cut"
    [interrupting] = await do(ledger.claimable, 10)
    await do(chat.stop, interrupting)
    yield "and what interrupted is taken back"
    again = await do(chat.go_on, cut)
    yield "the answer is to go on"
    await story.take(again)
    yield "it goes on"
    await story.say(" the rest")
    await story.checkpoint()
    await story.say(" of it")
    yield "and says something"
    await do(chat.select, answer)
    yield "meanwhile somebody looks at the first version again"
    await story.put(end(str(cut)))
    await story.finish()
    yield "the answer is complete, on a path that is not shown"
    await do(chat.select, cut)
    yield "and now it is"
