"""The client: one connection, what is followed, and an outbox; the commands as calls."""

from __future__ import annotations

import asyncio
import random as chance
import uuid
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from chat import errors
from chat.client.attachments import INBOX, Attachments
from chat.client.connection import Connection, State, encode
from chat.client.inbox import Inbox
from chat.client.outbox import Outbox, Store
from chat.client.replica import Closed, Replica
from chat.client.transcript import Transcript
from chat.client.transport import Socket, WebSocket, places
from chat.protocol import CLOSE_BAD_FRAMES, CLOSE_FORBIDDEN, CLOSE_SIGN_IN, MAX_FRAME

__all__ = ["Client", "Closed", "Sent"]

KEPT = 20
"""Transcripts that are kept when nobody follows them, so that going back to one needs only what is new."""
SENT_AWAY: dict[int, type[errors.ChatError]] = {
    CLOSE_BAD_FRAMES: errors.BadFrame,
    CLOSE_SIGN_IN: errors.Unauthenticated,
    CLOSE_FORBIDDEN: errors.Forbidden,
}


class Sent(NamedTuple):
    """The ids of a message that was sent and of the run that answers it."""

    message: str
    run: str


class Client:
    """A user's client of the server at ``url``: ``https://host``, with the path before ``/ws/chat/`` if there is one.
    ``wss://host`` is the same; anything else is a ValueError. Signed in by an API ``token`` or by a browser's
    ``session``, the value of its cookie.

    A context manager: connected inside. Entering returns when the server has said welcome and waits for it as long as
    it takes; ``start`` and ``close`` do the same without waiting. If the server sends the client away (Unauthenticated,
    Forbidden), whatever waits for anything raises that.

    ``store``: where commands without a reply are kept over a restart of the program. ``open`` makes the connection
    (else a websocket), ``random`` (in [0, 1)) spreads reconnects; time is the event loop's.

    Commands may be given at any time: they are sent in the order of the calls, at the latest when the connection is
    back. A call returns with the reply, and raises the error of :mod:`chat.errors` if the command was refused. A
    call that is cancelled does not take its command back.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        session: str | None = None,
        store: Store | None = None,
        open: Callable[[], Awaitable[Socket]] | None = None,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.url = url
        self.token = token
        self.session = session
        self.outbox = Outbox(store)
        self.inbox = self.new_inbox()
        self.welcome: dict[str, Any] | None = None
        """The server's latest welcome: user, limits, models."""
        self.connection = Connection(open or self.open, random=random, on_frame=self.receive, on_state=self.became)
        self._transcripts: dict[str, Transcript] = {}
        self._attachments = Attachments(self._replica, self.connection.send, self._is_there, self._later)
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._welcomed = Replica()
        self._task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        """What ended it, if anything did."""

    async def __aenter__(self) -> Self:
        self.start()
        await self._welcomed.until(lambda: self.connection.live)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
        if self.error is not None and error is None:
            raise self.error
        self._end(Closed())

    # connection ------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The server's. May be set: the next connection is made there. Raises ValueError."""
        return self._url

    @url.setter
    def url(self, url: str) -> None:
        self._address, self._origin = places(url)
        self._url = url.rstrip("/")

    def start(self) -> None:
        """Be connected from now on, unless that is so already."""
        if self._task is None:
            self.error = None
            for replica in (self._welcomed, *map(self._replica, self._attachments.followed)):
                replica.begin()
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Be connected no longer. What is held is kept, and goes on after another ``start``."""
        task, self._task = self._task, None
        if task is not None:
            await self.connection.say_goodbye()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def wake(self) -> None:
        """The network has come back: reconnect at once."""
        self.connection.wake()

    async def open(self) -> Socket:
        """Make a connection. Raises Lost."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self.session:
            headers["Cookie"] = f"sessionid={self.session}"
        return await WebSocket.open(self._address, origin=self._origin if self.session else None, headers=headers)

    async def _run(self) -> None:
        try:
            code = await self.connection.run()
            self._end(SENT_AWAY[code]())
        except Exception as error:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """Whoever waits for anything gets the error."""
        if not isinstance(error, Closed):
            self.error = error
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(error)
                reply.exception()  # nobody has to ask
        self._replies.clear()
        for replica in (self._welcomed, self.inbox, *self._transcripts.values()):
            replica.end(None if isinstance(error, Closed) else error)

    def became(self, state: State) -> None:
        """The connection is in this state now. To be extended."""
        if state.name != "live":
            self._attachments.lost()
        self._welcomed.changed()

    # what is held ----------------------------------------------------------------------------------------------

    def new_transcript(self, thread: str) -> Transcript:
        """An empty transcript. To be extended."""
        return Transcript(thread)

    def new_inbox(self) -> Inbox:
        """An empty inbox. To be extended."""
        return Inbox()

    def thread(self, thread: str) -> Transcript:
        """What is held of the thread, followed or not."""
        held = self._transcripts.get(thread)
        if held is None:
            held = self._transcripts[thread] = self.new_transcript(thread)
            left = [pk for pk in self._transcripts if pk not in self._attachments.followed and pk != thread]
            for pk in left[:-KEPT]:
                del self._transcripts[pk]
        return held

    async def follow(self, thread: str, *, all: bool = False) -> Transcript:
        """Keep the thread's transcript up to date from now on. Returns when it is; raises NotFound.

        From nothing it begins with the path's last messages, with ``all`` true it has every message.
        """
        await self._follow(thread, all)
        return self.thread(thread)

    async def follow_inbox(self, *, all: bool = False) -> Inbox:
        """As :meth:`follow`, the inbox: its newest items, or with ``all`` every one."""
        await self._follow(INBOX, all)
        return self.inbox

    def unfollow(self, thread: str) -> None:
        """Leave the transcript as it is. Watching it ends."""
        self._attachments.unfollow(thread)

    def unfollow_inbox(self) -> None:
        """As :meth:`unfollow`, the inbox."""
        self._attachments.unfollow(INBOX)

    # commands --------------------------------------------------------------------------------------------------

    async def do(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Do any command of the protocol: its reply's ``result``. What is None is left out."""
        command = {
            "type": kind,
            "id": _new_id(),
            **{name: value for name, value in fields.items() if value is not None},
        }
        if self.error is not None:
            raise self.error
        if len(encode(command).encode()) > MAX_FRAME:
            raise errors.TooLarge(detail={"limit": MAX_FRAME})  # the server could not even tell whose it is
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[command["id"]] = reply
        self.outbox.add(command)
        self.connection.send(command)
        return await reply

    async def create(
        self, thread: str | None = None, *, title: str = "", model: str = "", system_prompt: str = ""
    ) -> str:
        """A new thread: its id."""
        thread = thread or _new_id()
        await self.do("create", thread=thread, title=title, model=model, system_prompt=system_prompt)
        return thread

    async def send(
        self,
        thread: str,
        text: str,
        *,
        parent: str | None = None,
        model: str | None = None,
        on_busy: Literal["queue", "interrupt", "reject"] | None = None,
        seen: Mapping[str, int] | None = None,
    ) -> Sent:
        """A message, and a run that answers it. ``on_busy`` "interrupt" stops what is being written at ``seen``."""
        if on_busy == "interrupt":
            seen = self._seen(thread, seen)
        sent = Sent(_new_id(), _new_id())
        await self.do(
            "send", thread=thread, **sent._asdict(), text=text, parent=parent, model=model, on_busy=on_busy, seen=seen
        )
        return sent

    async def edit(self, thread: str, of: str, text: str, *, seen: Mapping[str, int] | None = None) -> Sent:
        """Another version of the user's message ``of``, and a run that answers it."""
        sent = Sent(_new_id(), _new_id())
        await self.do("edit", thread=thread, of=of, **sent._asdict(), text=text, seen=self._seen(thread, seen))
        return sent

    async def regenerate(
        self, thread: str, of: str, *, model: str | None = None, seen: Mapping[str, int] | None = None
    ) -> str:
        """Another answer beside the answer ``of``: its run."""
        run = _new_id()
        await self.do("regenerate", thread=thread, of=of, run=run, model=model, seen=self._seen(thread, seen))
        return run

    async def continue_(self, thread: str, of: str) -> str:
        """Go on with the answer ``of``, which was cut: the run that does."""
        run = _new_id()
        await self.do("continue", thread=thread, of=of, run=run)
        return run

    async def select(self, thread: str, message: str) -> None:
        """The path leads through this message from now on."""
        await self.do("select", thread=thread, message=message)

    async def stop(self, thread: str, run: str, *, seen: Mapping[str, int] | None = None) -> Mapping[str, int] | None:
        """End the run where it was read: what was told as seen. A queued run is taken back."""
        seen = self._seen(thread, seen, run)
        await self.do("stop", thread=thread, run=run, seen=seen)
        return seen

    async def read(self, thread: str, message: str) -> None:
        """Everything up to this message was read."""
        await self.do("read", thread=thread, message=message)

    async def update(self, thread: str, **fields: Any) -> None:
        """Set title, model, system_prompt, archived or pinned."""
        await self.do("update", thread=thread, **fields)

    async def delete(self, thread: str) -> None:
        """Delete the thread with all its messages."""
        await self.do("delete", thread=thread)

    async def history(self, thread: str, *, limit: int | None = None) -> bool:
        """Add the messages before those of the path that are held; whether there are more."""
        transcript = self.thread(thread)
        if not transcript.has_earlier:
            return False
        found = await self.do("history", thread=thread, before=transcript.path[0].id, limit=limit)
        transcript.add_earlier(found["messages"], found["runs"])
        return bool(found["more"])

    async def search(self, query: str, *, before: str | None = None) -> dict[str, Any]:
        """A page of the threads with the query in title or texts: ``items`` and ``more``."""
        return await self.do("search", query=query, before=before)

    def _seen(self, thread: str, seen: Mapping[str, int] | None, run: str | None = None) -> Mapping[str, int] | None:
        """Unless it is told what was seen, that is what we hold."""
        return self.thread(thread).seen(run) if seen is None else seen

    # frames ----------------------------------------------------------------------------------------------------

    def receive(self, frame: dict[str, Any]) -> None:
        """Take one frame of the server. To be extended."""
        match frame["type"]:
            case "welcome":
                self._welcome(frame)
            case "reply":
                self._replied(frame["id"], frame["result"])
            case "error":
                self._refused(frame["id"], errors.from_dict(frame))
            case "change" | "delta" | "inbox" | "caught_up" | "gone":
                topic = frame.get("thread", INBOX)
                if self._attachments.hears(topic):
                    self.apply(topic, frame)

    def apply(self, topic: str, event: dict[str, Any]) -> None:
        """Take one event of what is followed: a thread, or INBOX. To be extended."""
        if self._replica(topic).apply(event) == "gap":
            self._attachments.repair(topic)
        if event["type"] == "gone":
            self._attachments.gone(topic)

    def _welcome(self, frame: dict[str, Any]) -> None:
        self.welcome = frame
        self._attachments.connected()
        for command in self.outbox.unanswered:
            self.connection.send(command)

    def _replied(self, command_id: str, result: dict[str, Any]) -> None:
        self._attachments.replied(command_id)
        command = self.outbox.settle(command_id)
        if command is not None and command["type"] == "create" and command["thread"] in self._attachments.followed:
            self._attachments.attach(command["thread"])  # only now is there something to attach to
        reply = self._replies.pop(command_id, None)
        if reply is not None and not reply.done():
            reply.set_result(result)

    def _refused(self, command_id: str | None, error: errors.ChatError) -> None:
        self._attachments.refused(command_id, error)
        self.outbox.settle(command_id)
        reply = self._replies.pop(command_id or "", None)
        if reply is not None and not reply.done():
            reply.set_exception(error)

    def _replica(self, topic: str) -> Replica:
        return self.inbox if topic == INBOX else self.thread(topic)

    def _is_there(self, topic: str) -> bool:
        return not self.outbox.awaits("create", topic)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, call)

    async def _follow(self, topic: str, all: bool) -> None:
        self._attachments.follow(topic, all=all)
        if self.error is not None:
            raise self.error
        replica = self._replica(topic)
        await replica.until(lambda: replica.caught_up)


def _new_id() -> str:
    return str(uuid.uuid4())
