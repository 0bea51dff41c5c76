"""The websocket edge: frames in, frames out, one socket for any number of threads.

Acks are answered at once; commands are done one after the other, in the order they came. What goes out goes through one
outbox that never blocks anybody: the socket's flow control pauses its attachments instead.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from contextlib import ExitStack, suppress
from typing import Any
from uuid import UUID

from channels.consumer import AsyncConsumer
from django.utils import timezone

from chat import commands, conf, frames, identity
from chat.errors import BadFrame, BadRequest, ChatError, Internal, RateLimited, TooLarge
from chat.process import Process
from chat.protocol import (
    BAD_FRAMES,
    CLOSE_BAD_FRAMES,
    CLOSE_RESTARTING,
    CLOSE_SIGN_IN,
    CLOSE_TOO_FAST,
    CLOSE_TRY_LATER,
    CLOSE_UNANSWERED,
    MAX_WAITING,
    PROTOCOL,
    Cursor,
)
from chat.replication.attachment import Attachment, InboxAttachment, ThreadAttachment
from chat.replication.flow import Flow
from chat.replication.rows import moment

log = logging.getLogger(__name__)

INBOX = "inbox"
CLOSE_PLAINLY = 1000
"""The one standard code that daphne's library sends: it refuses 1012 and 1013. A client comes back after this, too."""
SEND_PATIENCE = 30.0
"""Seconds that one send may block before the socket is given up."""
UNFORESEEN = random.SystemRandom()
"""Steps heartbeats' numbers: no client works out the next one from those that it got."""
SESSION_CHECK = 60.0
"""Seconds between two looks at whether the session still stands."""


class ChatConsumer(AsyncConsumer):
    """One websocket. It takes no channel of its own: the process's hub hears for all."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.base_send: Any = send
        self.process: Process = scope["rejoin"]
        self.user_id: Any = None
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        now = loop.time()
        self._flow = Flow(now, UNFORESEEN)
        self._place = ExitStack()
        """Among the sockets of its user."""
        self._bad = self._refused = 0
        self._going = asyncio.Event()
        """Set while the socket is not paused."""
        self._going.set()
        self._attachments: dict[UUID | str, Attachment] = {}
        self._out: deque[str] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._send_begun = now
        self._commands: deque[dict[str, Any]] = deque()
        self._working: asyncio.Task[None] | None = None
        self._closed = self._given_up = False
        self._checked = now
        self._task = asyncio.current_task()
        self._side: set[asyncio.Task[None]] = set()
        """What is done beside: a task that nobody refers to may vanish."""
        try:
            while not self._closed or self._sending is not None:
                message = await receive()
                kind = message["type"]
                if kind == "websocket.receive":
                    await self._receive(message)
                elif kind == "websocket.connect":
                    await self._connect()
                elif kind == "websocket.disconnect":
                    break
        except asyncio.CancelledError:
            if not self._given_up:
                raise
        finally:
            await self._end()

    async def _connect(self) -> None:
        offered = self.scope.get("subprotocols") or []
        await self.base_send({"type": "websocket.accept", "subprotocol": PROTOCOL if PROTOCOL in offered else None})
        try:
            viewer = await self.process.sources.database(identity.of_scope, self.scope)
        except Exception as error:  # the database is away, in whatever words
            log.warning("action=connect_failed error=%s", type(error).__name__)
            await self._close(CLOSE_TRY_LATER)
            return
        if self.process.ending:  # those that were there have been told, and this one was not among them
            await self._close(CLOSE_RESTARTING)
            return
        if viewer is None:
            await self._close(CLOSE_SIGN_IN)
            return
        if offered and PROTOCOL not in offered:
            await self._close(CLOSE_BAD_FRAMES)
            return
        try:
            self._place.enter_context(self.process.limits.socket(viewer.pk))
        except RateLimited:
            await self._close(CLOSE_TOO_FAST)
            return
        self.user_id = viewer.pk
        self.process.connections.add(self)
        self._put(frames.encode(await commands.welcome(self.process, viewer)))

    # frames in -------------------------------------------------------------------------------------------------

    async def _receive(self, message: dict[str, Any]) -> None:
        if self._closed or self.user_id is None:
            return
        frame: dict[str, Any] = {}
        try:
            if message.get("text") is None:
                raise BadFrame("Frames are text.")
            frame = frames.parse(message["text"])
            ack = frames.ack(frame) if frame["type"] == "ack" else None
            if ack is not None and self._ack(ack.n):
                return
            self.process.limits.command(self.user_id)
            if ack is not None:
                return
            if len(self._commands) >= MAX_WAITING:
                raise RateLimited("Too many commands are waiting for their turn.", retry_after=1)
        except ChatError as error:
            self._refuse(frame.get("id"), error)
            await self._punish(error)
            return
        self._refused = 0
        self._commands.append(frame)
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    async def _punish(self, error: ChatError) -> None:
        if isinstance(error, BadFrame | TooLarge):
            self._bad += 1
            if self._bad >= BAD_FRAMES:
                await self._close(CLOSE_BAD_FRAMES)
        elif isinstance(error, RateLimited):
            self._refused += 1
            if self._refused > 2 * conf.BURST:
                await self._close(CLOSE_TOO_FAST)

    def _ack(self, n: int) -> bool:
        """Whether it answers a heartbeat that was not answered yet (any other counts like a command)."""
        was_paused = self._flow.paused
        if not self._flow.ack(n):
            return False
        if was_paused and not self._flow.paused:
            self._going.set()
            for attachment in self._attachments.values():
                attachment.resume()
        return True

    async def _work(self) -> None:
        """Do the waiting commands, in order."""
        try:
            while self._commands and not self._closed:
                # Who reads nothing gets no replies either: the commands wait, and further ones are refused.
                await self._going.wait()
                frame = self._commands.popleft()
                try:
                    command = frames.command(frame)
                    self._reply(frame["id"], await self._do(command))
                except ChatError as error:
                    self._refuse(frame.get("id"), error)
                    if isinstance(error, BadFrame):  # a message that is too long is no malformed frame
                        await self._punish(error)
                except Exception:
                    log.exception("action=command_failed type=%s", frame.get("type"))
                    self._refuse(frame.get("id"), Internal())
        finally:
            self._working = None

    async def _do(self, command: Any) -> dict[str, Any]:
        if isinstance(command, frames.Attach):
            return await self._attach(command)
        if isinstance(command, frames.Detach):
            await self._detach(_key(command))
            return {}
        attachment = self._attachments.get(command.thread) if isinstance(command, frames.ThreadCommand) else None
        follows = attachment is not None and not attachment.ended
        return await commands.do(self.process, self.user_id, command, attachment if follows else None)

    async def _attach(self, command: frames.Attach) -> dict[str, Any]:
        key = _key(command)
        cursor = Cursor.parse(command.cursor) if command.cursor else Cursor()
        for other, attachment in list(self._attachments.items()):
            if attachment.ended:
                await self._detach(other)
        if key not in self._attachments and len(self._attachments) >= conf.MAX_ATTACHED:
            raise RateLimited("Too many chats are open on this connection. Detach one first.")
        await self._detach(key)
        sources, user_id = self.process.sources, self.user_id
        added: Attachment
        if isinstance(key, UUID):
            added = ThreadAttachment(sources, user_id, key, cursor, self._put, everything=command.all)
        else:
            added = InboxAttachment(sources, user_id, cursor, self._put, everything=command.all)
        self._attachments[key] = added
        if self._flow.paused:
            added.pause()
        added.start()
        return {}

    async def _detach(self, key: UUID | str) -> None:
        if (attachment := self._attachments.get(key)) is not None:
            await attachment.close()
            self._attachments.pop(key, None)  # not before: who is cancelled meanwhile leaves it to _end

    # frames out ------------------------------------------------------------------------------------------------

    def _reply(self, command_id: str, result: dict[str, Any]) -> None:
        self._put(frames.encode({"type": "reply", "id": command_id, "result": result}))

    def _refuse(self, command_id: Any, error: ChatError) -> None:
        known = command_id if isinstance(command_id, str) else None
        self._put(frames.encode({"type": "error", "id": known, **error.as_dict()}))

    def _put(self, frame: str) -> None:
        """Send a frame after all before it. Returns at once."""
        if self._closed:
            return
        now = self._clock()
        self._out.append(frame)
        if self._flow.sent(len(frame) if frame.isascii() else len(frame.encode()), now):
            self._beat()
        if self._sending is None:
            self._send_begun = now
            self._sending = asyncio.create_task(self._send_all())

    def _beat(self) -> None:
        number = self._flow.beat(self._clock())
        self._put(frames.encode({"type": "heartbeat", "n": number, "server_time": moment(timezone.now())}))
        if self._flow.paused:
            self._going.clear()
            for attachment in self._attachments.values():
                attachment.pause()

    async def _send_all(self) -> None:
        try:
            while self._out:
                self._send_begun = self._clock()
                await self.base_send({"type": "websocket.send", "text": self._out.popleft()})
        except Exception as error:  # the server's words for a connection that is gone: its disconnect follows
            log.debug("action=send_failed error=%s", type(error).__name__)
            self._out.clear()
        finally:
            self._sending = None

    # the process's side ----------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Once a second: heartbeats for silence, the end of a pause or a send that lasts, the session's check."""
        if self._sending is not None and now - self._send_begun >= SEND_PATIENCE:
            self._give_up()
        elif self._flow.given_up(now):
            self._spawn(self._close(CLOSE_UNANSWERED))
        elif self._flow.silent(now) and not self._flow.paused:
            self._beat()
        if now - self._checked >= SESSION_CHECK:
            self._checked = now
            self._spawn(self._check_session())

    async def _check_session(self) -> None:
        try:
            viewer = await self.process.sources.database(identity.of_scope, self.scope)
        except Exception as error:  # the database is away: ask again next time
            log.warning("action=session_check_failed error=%s", type(error).__name__)
            return
        if viewer is None:
            await self._close(CLOSE_SIGN_IN)

    async def restart(self) -> None:
        """The server ends: come back at once."""
        await self._close(CLOSE_RESTARTING)

    def _give_up(self) -> None:
        """Leave a socket that takes nothing any more: neither a close nor its disconnect would ever come through."""
        if self._task is not None and not self._given_up:
            self._given_up = True
            self._task.cancel()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    async def _close(self, code: int) -> None:
        """Close after what has been said so far. Repeatable."""
        if self._closed:
            return
        self._closed = True
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=1)
        for accepted in (code, CLOSE_PLAINLY):
            with suppress(Exception):
                async with asyncio.timeout(1):
                    await self.base_send({"type": "websocket.close", "code": accepted})
                return

    async def _end(self) -> None:
        self._closed = True
        self.process.connections.discard(self)
        self._place.close()
        for task in (self._working, self._sending):
            if task is not None:
                task.cancel()
        for key in list(self._attachments):
            await self._detach(key)


def _key(command: frames.Attach | frames.Detach) -> UUID | str:
    if command.inbox == (command.thread is not None):
        raise BadRequest("Name a thread, or inbox.", detail={"field": "thread"})
    return command.thread or INBOX
