"""The three kinds of viewers: on the websocket, on event streams, on long polls. The latter two say their commands to
the JSON API: in lists, or one by one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from chat.client import Lost, Socket
from chat.errors import ChatError, from_dict
from chat.tasks import end
from tests.client import Client, Line
from tests.schema import check
from tests.sse import Event, Parser
from tests.stateful.network import Exchange, Wire
from tests.stateful.viewer import Copy, Viewer, Violation
from tests.unit.caller import operations

BROKEN_OFF = 1.0
"""Seconds after which who speaks HTTP tries again."""


class Device(Client):
    """The product's client over a wire of the world."""

    def __init__(self, viewer: SocketViewer) -> None:
        self.viewer = viewer
        rng = viewer.world.rng
        super().__init__("http://testserver", random=lambda: float(rng.uniform(0.05, 0.2)))

    async def open(self) -> Socket:
        return Line(Wire(self.viewer.world, self.viewer), self)

    def new_transcript(self, thread: str) -> Copy:
        return self.viewer.new_copy()

    def receive(self, frame: dict[str, Any]) -> None:
        super().receive(frame)
        if frame["type"] == "caught_up":
            self.viewer.world.check_caught_up(self.viewer)


class SocketViewer(Viewer):
    """On the websocket, with the product's client."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.device = Device(self)
        self._following = False

    @property
    def copy(self) -> Copy:
        held: Any = self.device.thread(str(self.world.thread))
        return held  # type: ignore[no-any-return]

    @property
    def connected(self) -> bool:
        return self.device.live

    async def connect(self) -> None:
        self.device.start()
        if not self._following:
            self._following = True
            self.world.keep(self.device.follow(str(self.world.thread), all=self.whole))

    async def disconnect(self) -> None:
        await self.device.disconnect()

    def forget(self) -> None:
        self.device.forget()

    def look(self) -> None:
        if self.device.error is not None:
            raise self.device.error

    def read(self, *, slow: float, deaf: bool) -> None:
        super().read(slow=slow, deaf=deaf)
        self.device.answers = not deaf

    def _say(self, frame: dict[str, Any]) -> None:
        self.world.keep(self._until_answered(frame))

    async def _until_answered(self, frame: dict[str, Any]) -> None:
        kind, fields = frame["type"], {name: value for name, value in frame.items() if name != "type"}
        while frame["id"] in self.pending:
            try:
                self._done(frame["id"], await self.device.do(kind, **fields))
            except ChatError as error:
                await asyncio.sleep(self._refused(frame["id"], error))


class HttpViewer(Viewer):
    """Without a socket: asks for events, and beside that for commands, one request at a time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.path = f"/api/threads/{self.world.thread}"
        self._copy = self.new_copy()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._hears = False

    @property
    def copy(self) -> Copy:
        return self._copy

    @property
    def connected(self) -> bool:
        return self._hears

    async def connect(self) -> None:
        if not self._tasks:
            self._tasks = [self.world.keep(self._follow()), self.world.keep(self._command())]

    async def disconnect(self) -> None:
        tasks, self._tasks = self._tasks, []
        self._hears = False
        await end(tasks)

    def forget(self) -> None:
        self._copy = self.new_copy()

    def look(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    # events ----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                pause = await self._respond()
            except Lost:
                self._hears = False
                pause = BROKEN_OFF
            await asyncio.sleep(pause)

    async def _respond(self) -> float:
        """One response, to its end. Returns the seconds until the next request."""
        raise NotImplementedError

    def _query(self) -> dict[str, str]:
        return {"all": "1"} if self.whole else {}

    def _take(self, frame: dict[str, Any], size: int) -> None:
        check(frame, size)
        kind = frame["type"]
        if (kind == "error" and not frame["retryable"]) or kind == "gone":
            raise Violation(f"{self.name} was sent away: {frame}")
        if kind not in ("error", "heartbeat"):
            self._copy.apply(frame)
        if kind == "caught_up":
            self._caught_up()

    def _caught_up(self) -> None:
        self._copy.caught_up = True
        self.world.check_caught_up(self)

    async def _sent_away(self, exchange: Exchange) -> float:
        """A response that is an error's. Returns the seconds until the next request."""
        self._hears = False
        error = from_dict(json.loads(await exchange.read()))
        if not error.retryable or error.status != exchange.status:
            raise Violation(f"{self.name} was sent away: {exchange.status} {error!r}")
        return error.retry_after or BROKEN_OFF

    # commands --------------------------------------------------------------------------------------------------

    def _say(self, frame: dict[str, Any]) -> None:
        self._news.set()

    async def _command(self) -> None:
        while True:
            self._news.clear()
            while self.pending:
                try:
                    pause = await self._hand_in()
                except Lost:
                    pause = BROKEN_OFF
                await asyncio.sleep(pause)
            await self._news.wait()

    async def _hand_in(self) -> float:
        """One request. Returns the seconds until the next one."""
        return await self._hand_in_all()

    async def _hand_in_all(self) -> float:
        commands = list(self.pending.values())[:20]
        async with Exchange(self.world, "POST", f"{self.path}/commands", json.dumps(commands).encode()) as exchange:
            if exchange.status != 200:
                return await self._sent_away(exchange)
            answers = json.loads(await exchange.read())
        if [answer["id"] for answer in answers] != [command["id"] for command in commands]:
            raise Violation(f"{self.name} asked {commands}, and was answered {answers}")
        pause = 0.0
        for answer in answers:
            check(answer, 0)
            if answer["type"] == "reply":
                self._done(answer["id"], answer["result"])
            else:
                pause = max(pause, self._refused(answer["id"], from_dict(answer)))
        return pause


class StreamViewer(HttpViewer):
    """On event streams, as a browser's EventSource is; commands in lists."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._parser = Parser()

    def forget(self) -> None:
        super().forget()
        self._parser = Parser()

    async def _respond(self) -> float:
        last, self._hears = self._parser.last_id, False
        headers = {"last-event-id": last} if last else {}
        async with Exchange(self.world, "GET", f"{self.path}/events", headers=headers, **self._query()) as exchange:
            if exchange.status != 200:
                return await self._sent_away(exchange)
            self._parser.begin()
            self._hears = True
            try:
                async for data in exchange.chunks():
                    await asyncio.sleep(self.slow)
                    while self.deaf:
                        await asyncio.sleep(0.5)
                    for event in self._parser.feed(data):
                        self._event(event)
            finally:
                self._hears = False
        return (self._parser.retry or 0) / 1000

    def _event(self, event: Event) -> None:
        frame = json.loads(event.data)
        if event.type != frame["type"] or event.id != frame.get("cursor", event.id):
            raise Violation(f"{self.name}: {event.type} with the id {event.id} is {str(frame)[:500]}")
        self._take(frame, len(event.data.encode()))


class PollViewer(HttpViewer):
    """On long polls; commands one by one, or in a list."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursor = ""

    def forget(self) -> None:
        super().forget()
        self._cursor = ""

    async def _respond(self) -> float:
        rng = self.world.rng
        wait = rng.choice((0, 20, 20))
        query = {**self._query(), "wait": str(wait)}
        if self._cursor:
            query["cursor"] = self._cursor
        async with Exchange(self.world, "GET", f"{self.path}/updates", **query) as exchange:
            if exchange.status != 200:
                return await self._sent_away(exchange)
            body = json.loads(await exchange.read())
        self._hears = True
        for frame in body["events"]:
            self._take(frame, len(json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode()))
        if body["cursor"] != (self._copy.cursor or "0"):
            raise Violation(
                f"{self.name}: the answer's cursor is {body['cursor']}, the last event's {self._copy.cursor}"
            )
        self._cursor = body["cursor"]
        if body["more"]:
            return self.slow
        self._caught_up()
        return self.slow + float(rng.uniform(0.1, 0.6) if wait else rng.uniform(0.5, 2))

    async def _hand_in(self) -> float:
        command = next(iter(self.pending.values()))
        if command["type"] not in operations() or self.world.rng.random() < 0.3:
            return await self._hand_in_all()
        method, path, _ = operations()[command["type"]]
        given = {name for name in command if f"{{{name}}}" in path} | {"type"}
        body = {name: value for name, value in command.items() if name not in given}
        async with Exchange(self.world, method, path.format(**command), json.dumps(body).encode()) as exchange:
            answer = json.loads(await exchange.read())
        if exchange.status != 200:
            return self._refused(command["id"], from_dict(answer))
        if answer.pop("id") != command["id"]:
            raise Violation(f"{self.name}: {command} was answered for another: {answer}")
        check({"type": "reply", "id": command["id"], "result": answer}, 0)
        self._done(command["id"], answer)
        return 0.0
