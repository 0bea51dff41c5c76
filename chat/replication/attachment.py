"""An attachment: one viewer's place at one thread or inbox, the same for every transport.

It drives the pure :class:`~chat.replication.subscription.Subscription`: hears the hub's hints, runs the catch-ups that
the subscription asks for, and hands frames to a sink, in order. The sink never blocks; when it has enough it pauses the
attachment, which then holds nothing and goes on by catching up from what was sent last.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from math import inf
from typing import Any
from uuid import UUID

from chat.database import Database
from chat.errors import NotFound
from chat.frames import encode
from chat.live import topics
from chat.live.hub import Hub
from chat.protocol import Cursor
from chat.replication import catchup
from chat.replication.catchup import Ahead, Window
from chat.replication.inbox import read_inbox
from chat.replication.subscription import DeltaHint, Page, Subscription
from chat.replication.together import Together
from chat.replication.truths import Truth, truths
from chat.runlog.base import RunLog
from chat.tasks import drop_failure, end

log = logging.getLogger(__name__)

Sink = Callable[[str], None]
JOIN_PATIENCE = 1.0
"""Seconds to wait for the hub to join a group before catching up all the same."""
RETRY_FIRST, RETRY_MOST = 0.1, 3.0
"""Seconds between attempts to catch up while the database is away."""


@dataclass(frozen=True)
class Sources:
    """What attachments of one process share."""

    database: Database
    log: RunLog
    hub: Hub
    rng: random.Random
    reads: dict[Any, asyncio.Future[Page]] = field(default_factory=dict)
    """Catch-ups that are about to begin, by what they read: viewers at the same cursor share one."""

    @functools.cached_property
    def truths(self) -> Together[str, Truth]:
        """Where topics are now. All who come back at once, as after a restart, share a few looks."""
        return Together(functools.partial(compare, self.database, self.log))

    async def read_once(self, key: Any, read: Callable[[], Awaitable[Page]]) -> Page:
        """The result of ``read``, which is called once for all who ask for the same before it has begun."""

        async def begin() -> Page:
            del self.reads[key]  # whoever asks from now on may have heard of something newer
            return await read()

        if key not in self.reads:
            self.reads[key] = asyncio.ensure_future(begin())
            drop_failure(self.reads[key])
        return await asyncio.shield(self.reads[key])


class Attachment:
    """Base of both kinds. ``sink`` is called with one frame at a time, and not at all while paused.

    The life of it is :meth:`start`, then frames until :meth:`close`, or until ``gone`` was sent.
    """

    topic: str

    def __init__(self, sources: Sources, user_id: Any, cursor: Cursor, sink: Sink) -> None:
        self.sources = sources
        self.user_id = user_id
        self.subscription = Subscription(cursor)
        self._sink = sink
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._catching: asyncio.Task[None] | None = None
        self._joined = False
        self._told = False
        """Whether the viewer was told that he has everything there was when he began."""
        self._unsure = True
        """Whether there may well be nothing to catch up with."""
        self.ended = False

    def start(self) -> None:
        """Begin to follow. Frames come to the sink from now on."""
        self._look()

    async def close(self) -> None:
        """Stop following. Nothing comes to the sink any more. Repeatable."""
        self.ended = True
        self._release()
        if self._catching is not None and self._catching is not asyncio.current_task():
            await end([self._catching])
        await self.sources.hub.leave(self)

    async def reached(self, version: int) -> None:
        """Returns when everything up to this version has been sent (or the attachment has ended)."""
        # Before the first catch-up the cursor is the client's word only, and may be ahead of the server.
        if self.ended or (self._told and self.subscription.cursor.version >= version):
            return
        self.subscription.changed(version)
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((version, future))
        self._look()
        await future

    def pause(self) -> None:
        """Send nothing until :meth:`resume`."""
        self.subscription.pause()

    def resume(self) -> None:
        """Go on from what was sent last."""
        self.subscription.resume()
        self._look()

    # the hub's side --------------------------------------------------------------------------------------------

    def hint(self, message: dict[str, Any]) -> None:
        """A message of the group: ``changed`` or ``delta``."""
        if self.ended:
            return
        if message["type"] == "delta":
            frame = self.subscription.delta(DeltaHint(message["run"], message["from"], message["to"], message["frame"]))
            if frame is not None:
                self._sink(frame)
        elif message["type"] == "changed":
            self.subscription.changed(message["version"])
        self._look()

    def missed(self) -> None:
        """Hints were lost: read again."""
        self._unsure = True
        self.subscription.behind = True
        self._look()

    def compare(self, truth: Truth | None) -> None:
        """The regular comparison. A topic without truth, or of another owner, is gone: the next read will say so."""
        if truth is None or truth.owner != self.user_id:
            self.subscription.behind = True
            self._look()
        else:
            self.subscription.compare(truth.cursor)
            self._look()

    def overdue(self) -> bool:
        late = self.subscription.overdue()
        self._look()
        return late

    # catching up -----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See to it that somebody catches up, if there is need. (An idle viewer costs no task.)"""
        subscription = self.subscription
        if subscription.behind and not subscription.paused and not self.ended and self._catching is None:
            self._catching = asyncio.create_task(self._catch())

    async def _catch(self) -> None:
        try:
            if not self._joined:
                self._joined = True
                await asyncio.wait({asyncio.ensure_future(self.sources.hub.join(self))}, timeout=JOIN_PATIENCE)
            await self._catch_until_level()
        finally:
            self._catching = None
        self._look()

    async def _catch_until_level(self) -> None:
        subscription, pause = self.subscription, 0.0
        while subscription.behind and not subscription.paused and not self.ended:
            cursor = subscription.begin()
            try:
                page = await self._level(cursor) or await self._catch_up(cursor)
            except NotFound:
                self._gone()
                return
            except Exception as error:  # the database is away, in whatever words: what is live goes on meanwhile
                log.warning("action=catch_up_failed topic=%s error=%s", self.topic, type(error).__name__)
                self._send(subscription.fail())
                pause = min(RETRY_MOST, max(RETRY_FIRST, pause * 2))
                await asyncio.sleep(pause * self.sources.rng.uniform(0.5, 1))
                continue
            if self.subscription.paused:  # since it was asked for: it is read again after the pause
                subscription.fail()
                return
            pause = 0.0
            self._send(subscription.apply(page))
            if not self._told and not page.more:
                self._told = True
                self._send([encode(self._caught_up())])
            self._release(subscription.cursor.version)

    async def _level(self, cursor: Cursor) -> Page | None:
        """For who comes back: the empty page, if nothing has happened meanwhile. None: read, as there is more to it."""
        unsure, self._unsure = self._unsure, False
        if not unsure or cursor.version == 0:
            return None
        truth = await self.sources.truths.get(self.topic)
        return Page([], cursor) if truth == Truth(cursor, self.user_id) else None

    def _send(self, frames: list[str]) -> None:
        for frame in frames:
            self._sink(frame)

    def _release(self, version: int | None = None) -> None:
        """Let those go who wait for a version up to this one (None: everybody)."""
        waiting, self._waiting = self._waiting, []
        for wanted, future in waiting:
            if version is not None and wanted > version:
                self._waiting.append((wanted, future))
            elif not future.done():
                future.set_result(None)

    def _gone(self) -> None:
        self.ended = True
        self._release()

    def _caught_up(self) -> dict[str, Any]:
        raise NotImplementedError

    async def _catch_up(self, cursor: Cursor) -> Page:
        raise NotImplementedError


class ThreadAttachment(Attachment):
    """Follows one thread. Without a cursor it begins with the window of the path's last messages (or everything), and
    with an old one where the window is less than what has changed. ``within``: a window of more bytes than that is no
    choice. For who reads in parts of that size it would be begun anew with each part."""

    def __init__(
        self,
        sources: Sources,
        user_id: Any,
        thread: UUID,
        cursor: Cursor,
        sink: Sink,
        *,
        everything: bool = False,
        within: float = inf,
    ) -> None:
        super().__init__(sources, user_id, cursor, sink)
        self.thread = thread
        self.topic = topics.thread(thread)
        self._everything = everything
        self._within = within
        self._view: Window | None = None
        self._paging = False

    async def _catch_up(self, cursor: Cursor) -> Page:
        database = self.sources.database
        try:
            if cursor.version == 0:
                return await self._begin()
            if self._view is not None and cursor.version >= self._view.version:
                self._view = None
            page = await self._read(cursor)
            if page.more and not self._paging and not self._everything:
                # A long way to go: decided once, at its first page.
                view = await database(catchup.window_if_less, self.user_id, self.thread, cursor, self._within)
                if view is not None:
                    return await self._begin(view)
            self._paging = page.more
            return page
        except Ahead:
            return await self._begin()

    async def _begin(self, view: Window | None = None) -> Page:
        """The first page for who has nothing, or is to drop what he has: he is told anew when he has everything."""
        self._told = False
        if view is None and not self._everything:
            view = await self.sources.database(catchup.window, self.user_id, self.thread)
        self._view = view
        page = await self._read(Cursor())
        self._paging = page.more
        return page

    async def _read(self, cursor: Cursor) -> Page:
        sources, view = self.sources, self._view
        read = functools.partial(
            catchup.catch_up, sources.database, sources.log, self.user_id, self.thread, cursor, view
        )
        return await sources.read_once((self.user_id, self.thread, cursor, view), read)

    def _caught_up(self) -> dict[str, Any]:
        return {"type": "caught_up", "thread": str(self.thread), "cursor": str(self.subscription.cursor)}

    def _gone(self) -> None:
        super()._gone()
        self._send([encode({"type": "gone", "thread": str(self.thread), "code": NotFound.code})])


class InboxAttachment(Attachment):
    """Follows a user's own inbox."""

    def __init__(self, sources: Sources, user_id: Any, cursor: Cursor, sink: Sink, *, everything: bool = False) -> None:
        super().__init__(sources, user_id, cursor, sink)
        self.topic = topics.inbox(user_id)
        self._everything = everything

    async def _catch_up(self, cursor: Cursor) -> Page:
        return await self.sources.database(read_inbox, self.user_id, cursor, self._everything)

    def _caught_up(self) -> dict[str, Any]:
        return {"type": "caught_up", "inbox": True, "cursor": str(self.subscription.cursor)}


async def compare(database: Database, log: RunLog, heard: Collection[str]) -> dict[str, Truth]:
    """The truth of each topic that is still there: what the hub compares its listeners with."""
    threads = [thread for topic in heard if (thread := topics.of_thread(topic)) is not None]
    inboxes = [user for topic in heard if (user := topics.of_inbox(topic)) is not None]
    of_threads, of_inboxes = await truths(database, log, threads, inboxes)
    return {topics.thread(thread): truth for thread, truth in of_threads.items()} | {
        topics.inbox(user): truth for user, truth in of_inboxes.items()
    }
