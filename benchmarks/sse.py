"""A reader of server-sent events, by plain streams: what a viewer of the websocket is to that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from benchmarks.viewers import CaughtUp, RejoinViewer


class SseViewer(RejoinViewer):
    """Reads threads as server-sent events; its commands go by the websocket."""

    def __init__(self, session: str) -> None:
        super().__init__(session)
        self._streams: list[asyncio.Task[None]] = []

    async def open(self, address: str) -> None:
        self._address = address
        await super().open(address)

    async def attach(self, thread: str, cursor: str | None = None, *, everything: bool = False) -> CaughtUp:
        since, begun = len(self.frames), time.monotonic()
        caught_up = self._expect(f"caught_up {thread}")
        stream = asyncio.create_task(
            self._read_stream(f"/api/threads/{thread}/events?all={everything:d}", cursor or "")
        )
        self._streams.append(stream)
        await asyncio.wait({caught_up, stream}, return_when=asyncio.FIRST_COMPLETED)
        if stream.done():
            stream.result()
        return CaughtUp(time.monotonic() - begun, [frame for _, frame in self.frames[since:]])

    async def close(self) -> None:
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        await super().close()

    async def _read_stream(self, path: str, cursor: str) -> None:
        """One response after the other, each from where the one before ended."""
        host, _, port = self._address.partition(":")
        headers = {"Host": self._address, "Connection": "close", "Cookie": f"sessionid={self._session}"}
        while True:
            if cursor:
                headers["Last-Event-ID"] = cursor
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write("\r\n".join(lines).encode())
                status = await reader.readline()
                if b" 200 " not in status:
                    raise RuntimeError(status.decode())
                await reader.readuntil(b"\r\n\r\n")
                async for event in _events(reader):
                    fields = dict(line.split(b": ", 1) for line in event.splitlines() if b": " in line)
                    cursor = fields[b"id"].decode() if b"id" in fields else cursor
                    if b"data" in fields and fields[b"event"] != b"heartbeat":  # which wants no answer here
                        await self._take(fields[b"data"])
            finally:
                writer.close()


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The events of one response that comes in chunks."""
    rest = b""
    while size := int(await reader.readline(), 16):
        *events, rest = (rest + await reader.readexactly(size)).split(b"\n\n")
        await reader.readexactly(2)
        for event in events:
            yield event
