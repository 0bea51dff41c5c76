"""The HTTP edge of who follows without a websocket: server-sent events, and long poll.

The same events, cursors and attachments as on a websocket; commands go over the JSON API. Both are ASGI applications
beside Django's handler (see :mod:`chat.routing`), and need nothing of its middleware. A response ends after
MAX_RESPONSE or MAX_STREAM, whatever the server does with a reader who is slow; who comes back goes on from its cursor,
and is looked at anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from io import BytesIO
from typing import Any
from uuid import UUID

from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.utils import timezone

from chat import access, frames, identity
from chat.errors import BadMethod, BadRequest, ChatError, Internal, Unauthenticated
from chat.http import check_host, failure, write
from chat.process import Process
from chat.protocol import HEARTBEAT_SILENCE, MAX_RESPONSE, MAX_STREAM, MAX_WAIT, Cursor
from chat.replication.attachment import Attachment, InboxAttachment, Sink, ThreadAttachment
from chat.replication.rows import moment
from chat.tasks import end

log = logging.getLogger(__name__)

SESSION_CHECK = 20.0
"""Seconds between two looks at whether the session or token still stands, while a stream is open."""
SEND_PATIENCE = 30.0
"""Seconds that one send may block before the response is given up."""
CATCH_UP_PATIENCE = 10.0
"""Seconds that a long poll waits for the database, if it waits no longer anyway."""
RETRY = 1.0
"""Seconds after which a client should come back when its connection broke; each is told a random share more."""
RETRY_AT_ONCE = 0.1
"""… when its response only ended for its size or age."""
RETRY_LATER = 5.0
"""… when the server can't serve it now."""

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


async def events(scope: Any, receive: Receive, send: Send) -> None:
    """ASGI: the thread of the URL, or the inbox, as server-sent events."""
    process: Process = scope["rejoin"]
    request = ASGIRequest(scope, BytesIO())
    try:
        viewer, attach = await _admit(process, request, scope["url_route"]["kwargs"].get("thread"))
        with process.limits.stream(viewer):
            await _while_there(receive, EventStream(process, request, send).run(attach))
    except ChatError as error:
        if error.retryable and "text/event-stream" in request.headers.get("Accept", ""):
            await _refuse_for_now(send, error)
        else:
            await write(send, _failure(error))


async def updates(scope: Any, receive: Receive, send: Send) -> None:
    """ASGI: what there is to say of the thread of the URL, or the inbox, after a cursor, now or within ``wait``."""
    process: Process = scope["rejoin"]
    request = ASGIRequest(scope, BytesIO())
    try:
        viewer, attach = await _admit(process, request, scope["url_route"]["kwargs"].get("thread"))
        poll = LongPoll(process, _wait(request.GET.get("wait", "")))
        with process.limits.stream(viewer):
            body = await _while_there(receive, poll.run(attach))
        if body is None:  # the client has left
            return
        response = HttpResponse(body, content_type="application/json", headers={"Cache-Control": "no-store"})
    except ChatError as error:
        response = _failure(error)
    await write(send, response)


# ------------------------------------------------------------------------------------------------------ who, and what

Attach = Callable[[Sink], Attachment]
"""Makes the attachment that a request asks for."""


async def _admit(process: Process, request: ASGIRequest, named: str | None) -> tuple[Any, Attach]:
    """Who asks (the key of their row), and what for: the thread of this id, or the inbox. Raises ChatErrors."""
    check_host(request)
    if request.method != "GET":
        raise BadMethod
    try:
        viewer = await identity.of_request(process.sources.database, request)
        process.limits.command(viewer.pk)
        cursor = Cursor.parse(request.headers.get("Last-Event-ID") or request.GET.get("cursor") or str(Cursor()))
        everything = _flag(request, "all")
        thread = _thread(named)
        if thread is not None:
            await process.sources.database(access.thread, viewer.pk, thread)
    except ChatError:
        raise
    except SuspiciousOperation as error:  # more in the query than Django takes
        raise BadRequest("The query is more than can be read.") from error
    except Exception as error:  # the database is away, in whatever words
        log.warning("action=connect_failed error=%s", type(error).__name__)
        raise Internal(retry_after=RETRY_LATER) from error

    def attach(sink: Sink) -> Attachment:
        if thread is None:
            return InboxAttachment(process.sources, viewer.pk, cursor, sink, everything=everything)
        # Half: the rest is for what a row weighs as JSON, and for what is being said.
        within = MAX_RESPONSE / 2
        return ThreadAttachment(process.sources, viewer.pk, thread, cursor, sink, everything=everything, within=within)

    return viewer.pk, attach


def _thread(named: str | None) -> UUID | None:
    try:
        return None if named is None else UUID(named)
    except ValueError:
        raise BadRequest(detail={"field": "thread"}) from None


def _flag(request: ASGIRequest, name: str) -> bool:
    value = request.GET.get(name, "").lower()
    if value not in ("", "0", "1", "false", "true"):
        raise BadRequest(detail={"field": name})
    return value in ("1", "true")


def _wait(value: str) -> float:
    try:
        seconds = float(value) if value else MAX_WAIT
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:  # nor is NaN
        raise BadRequest(f"wait is a number of seconds, from 0 to {MAX_WAIT:g}.", detail={"field": "wait"})
    return seconds


async def _while_there(receive: Receive, work: Coroutine[Any, Any, Any]) -> Any:
    """Do this as long as the client is there. Returns its result, or None if the client has left."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(left())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() and not working.cancelled() else None
    finally:
        await end([working, leaving])


# --------------------------------------------------------------------------------------------------------- responses


class Response:
    """One response that follows a thread or the inbox. What its attachment brings gathers here until it is written:
    MAX_RESPONSE and the rest of a change at most, for then the attachment pauses for good."""

    attachment: Attachment
    cursor: str
    """After what was written and what waits."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.size = 0
        """Bytes, of what was written and what waits."""
        self.waiting: list[bytes] = []
        self.news = asyncio.Event()
        """Something waits, or the end has come."""
        self.ended = False
        self._cut = False
        self.done = asyncio.Event()

    async def run(self, attach: Attach) -> Any:
        """Follow, and answer: the result of :meth:`answer`. Raises Internal while the server ends: who began now
        would not be told."""
        if self.process.ending:
            raise Internal("The server restarts.", retry_after=RETRY)
        self.attachment = attach(self._take)
        self.cursor = str(self.attachment.subscription.cursor)
        self.process.connections.add(self)
        try:
            self.attachment.start()
            return await self.answer()
        finally:
            self.done.set()
            self.process.connections.discard(self)
            await self.attachment.close()

    async def answer(self) -> Any:
        """Write, or return, what comes."""
        raise NotImplementedError

    def _take(self, frame: str) -> None:
        """A frame of the attachment. Those of one page come at once, so a response ends between two pages: one that
        ended in the middle of a change would bring the same half again and again. Of deltas each has a cursor."""
        kind, cursor = frames.mark(frame)
        self._cut = self._cut or (self.full and kind == "delta")
        if self._cut:
            return
        self.cursor = cursor or self.cursor
        self.put(kind, cursor, frame)
        if self.full:
            self.attachment.pause()
        self.news.set()

    def put(self, kind: str, cursor: str | None, frame: str) -> None:
        """Let a frame wait to be written."""
        raise NotImplementedError

    @property
    def full(self) -> bool:
        return self.size >= MAX_RESPONSE

    def end(self) -> None:
        """End the response, after what waits."""
        self.ended = True
        self.news.set()

    async def restart(self) -> None:
        """The server ends: so does the response, and the client comes back."""
        self.end()
        async with asyncio.timeout(1):
            await self.done.wait()

    def tick(self, now: float) -> None:
        """Called about once a second."""


class EventStream(Response):
    """Server-sent events: each frame as an event of its type, with the cursor after it as its id."""

    def __init__(self, process: Process, request: ASGIRequest, send: Send) -> None:
        super().__init__(process)
        self._request = request
        self._send = send
        now = asyncio.get_running_loop().time()
        # Those who came together after a restart do not come back together for ever.
        self._until = now + process.rng.uniform(0.75, 1) * MAX_STREAM
        self._checked = self._last = now
        self._beats = 0
        self._last_words = _retry(RETRY_AT_ONCE)
        self._blocked_since: float | None = None
        self._writing: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None

    async def answer(self) -> None:
        self._writing = asyncio.current_task()
        try:
            await self._send(START)
            await self._write(_retry(RETRY * self.process.rng.uniform(1, 2)), more=True)
            more = True
            while more:
                await self.news.wait()
                self.news.clear()
                waiting, self.waiting = self.waiting, []
                more = not (self.ended or self.full or self.attachment.ended)
                await self._write(b"".join([*waiting, b"" if more else self._last_words]), more=more)
        finally:
            if self._checking is not None:
                await end([self._checking])

    async def _write(self, data: bytes, *, more: bool) -> None:
        clock = asyncio.get_running_loop().time
        self._blocked_since = clock()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._blocked_since, self._last = None, clock()

    def tick(self, now: float) -> None:
        """Once a second: a heartbeat for silence, a look at the session, the end of a response that is old or stuck."""
        if self._blocked_since is not None:
            if now - self._blocked_since >= SEND_PATIENCE and self._writing is not None:
                self._writing.cancel()
            return
        if now >= self._until:
            self.end()
        elif now - self._last >= HEARTBEAT_SILENCE:
            self._beats += 1
            beat = {"type": "heartbeat", "n": self._beats, "server_time": moment(timezone.now())}
            self._take(frames.encode(beat))
        if now - self._checked >= SESSION_CHECK and self._checking is None:
            self._checked = now
            self._checking = asyncio.create_task(self._check())

    async def restart(self) -> None:
        self._last_words = _retry(RETRY * self.process.rng.random())
        await super().restart()

    async def _check(self) -> None:
        try:
            await identity.of_request(self.process.sources.database, self._request)
        except Unauthenticated as error:
            self._last_words = _error(error)
            self.end()
        except Exception as error:  # the database is away: ask again next time
            log.warning("action=session_check_failed error=%s", type(error).__name__)
        finally:
            self._checking = None

    def put(self, kind: str, cursor: str | None, frame: str) -> None:
        self.waiting.append(_event(kind, cursor, frame))
        self.size += len(self.waiting[-1])


class LongPoll(Response):
    """One answer: everything after the cursor, or what comes first within ``wait`` seconds."""

    def __init__(self, process: Process, wait: float) -> None:
        super().__init__(process)
        self._wait = wait
        self._level = False
        """Whether all is there that existed when the client asked."""

    async def answer(self) -> bytes:
        now = asyncio.get_running_loop().time()
        while not (self.ended or self.full or self.attachment.ended or (self._level and self.waiting)):
            patience = self._wait if self._level else max(self._wait, CATCH_UP_PATIENCE)
            try:
                async with asyncio.timeout_at(now + patience):
                    await self.news.wait()
            except TimeoutError:
                break
            self.news.clear()
        if not (self._level or self.waiting or self.ended):
            raise Internal(retry_after=RETRY_LATER)
        more = b"false" if self._level or self.attachment.ended else b"true"
        return b'{"events":[%b],"cursor":"%b","more":%b}' % (b",".join(self.waiting), self.cursor.encode(), more)

    def put(self, kind: str, cursor: str | None, frame: str) -> None:
        if kind == "caught_up":  # which is what ``more`` says
            self._level = True
            return
        self.waiting.append(frame.encode())
        self.size += len(self.waiting[-1])


# -------------------------------------------------------------------------------------------------------- on the wire

START: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"x-content-type-options", b"nosniff"),
    ],
}


def _event(kind: str, cursor: str | None, frame: str) -> bytes:
    mark = "" if cursor is None else f"id: {cursor}\n"
    return f"event: {kind}\n{mark}data: {frame}\n\n".encode()


def _retry(seconds: float) -> bytes:
    return b"retry: %d\n\n" % (seconds * 1000)


def _error(error: ChatError) -> bytes:
    return _event("error", None, frames.encode({"type": "error", "id": None, **error.as_dict()}))


def _failure(error: ChatError) -> HttpResponse:
    response = failure(error)
    if isinstance(error, BadMethod):
        response["Allow"] = "GET"
    return response


async def _refuse_for_now(send: Send, error: ChatError) -> None:
    """An EventSource takes any status but 200 for the end, so what may pass is told in a stream."""
    await send(START)
    body = _retry(error.retry_after or RETRY_LATER) + _error(error)
    await send({"type": "http.response.body", "body": body})
