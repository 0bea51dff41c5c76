"""A client of the protocol for programs: bots, bridges, tests, benchmarks. It needs neither Django nor settings.

    async with Client("https://chat.example", token="rejoin_…") as client:
        thread = await client.create(title="Weather")
        transcript = await client.follow(thread)
        asked = await client.send(thread, "Will it rain?")
        async for _ in transcript:
            show(transcript.path)
            if transcript.has_ended(asked.run):
                break

It stays connected for ever: what is followed goes on where it was after any loss of the connection, and a command
without a reply is given again, which changes nothing if the first one had arrived. A refused command raises the error
of :mod:`chat.errors` that has its code, as ``Conflict`` or ``RateLimited``.

The pure parts can be used alone: :class:`Transcript` and :class:`Inbox` hold what the events of any transport say,
:class:`Outbox` the commands without a reply.
"""

from chat.client.client import Client, Closed, Sent
from chat.client.connection import Connection, State
from chat.client.inbox import Inbox
from chat.client.outbox import FileStore, Outbox, Store
from chat.client.replica import Replica
from chat.client.transcript import Message, Transcript
from chat.client.transport import Lost, Socket, WebSocket

__all__ = [
    "Client",
    "Closed",
    "Connection",
    "FileStore",
    "Inbox",
    "Lost",
    "Message",
    "Outbox",
    "Replica",
    "Sent",
    "Socket",
    "State",
    "Store",
    "Transcript",
    "WebSocket",
]
