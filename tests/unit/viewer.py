"""A viewer at a thread, without a transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chat.announcement import Announcement
from chat.database import in_database
from chat.protocol import Cursor
from chat.replication.announce import announce
from chat.replication.attachment import Sources, ThreadAttachment
from tests.unit.chats import Chat, until
from tests.unit.replica import Replica
from tests.unit.rig import Rig


class Viewer(Replica):
    """A replica that follows a thread by an attachment."""

    def __init__(self, sources: Sources, chat: Chat, cursor: Cursor | None = None, *, everything: bool = True) -> None:
        super().__init__()
        self.cursor = cursor or Cursor()
        self.frames: list[str] = []
        self.attachment = ThreadAttachment(
            sources, chat.owner.pk, chat.id, self.cursor, self._take, everything=everything
        )

    def _take(self, frame: str) -> None:
        self.frames.append(frame)
        self.apply(frame)

    async def attach(self) -> Viewer:
        self.attachment.start()
        await until(lambda: self.caught_up or self.gone)
        return self

    def text(self) -> str:
        return "".join(message["text"] for message in self.messages.values() if message["role"] == "assistant")


async def told(rig: Rig, announcement: Announcement | None) -> None:
    """The hints of a commit."""
    await announce(rig.layer, rig.log, announcement)


async def do(rig: Rig, function: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """A verb, with its hints."""
    outcome = await in_database(lambda: function(*args, **fields))
    await told(rig, outcome.announcement)
    return outcome
