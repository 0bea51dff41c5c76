"""Thread, Message and Run: what is settled. Their states, their legal moves, and the selections made on them.

    run:      queued ──claim──▶ running ──▶ completed | stopped | failed | interrupted
                │  ▲               │
                │  └──nothing said─┘         completed, failed, interrupted ──late cut──▶ stopped
                └──unqueue──▶ stopped

    message:  user:       queued ──▶ complete        queued ──▶ unqueued
              assistant:  streaming ──▶ complete | cut | failed     cut, failed ──continue──▶ streaming

``version`` of a thread rises by one for every durable change; the rows that changed carry it. The same holds for a
user's inbox and the threads in it. A change of several rows is a verb of chat.actions.

people.py has what belongs to a user, threads.py threads and messages, runs.py runs and workers.
"""

from chat.models.people import ApiToken, ApiTokenQuerySet, Command, Guest, Inbox, User
from chat.models.runs import Run, Worker
from chat.models.threads import Message, Thread, ThreadQuerySet

__all__ = [
    "ApiToken",
    "ApiTokenQuerySet",
    "Command",
    "Guest",
    "Inbox",
    "Message",
    "Run",
    "Thread",
    "ThreadQuerySet",
    "User",
    "Worker",
]
