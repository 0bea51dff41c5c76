"""What a client follows, and what the server knows of that: attaches and detaches, and their answers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Set
from typing import Any

from chat.client.replica import Replica
from chat.errors import ChatError

INBOX = "inbox"
"""The topic of the inbox; any other is a thread's id."""
AGAIN = 2.0
"""Seconds after which an attach that failed for the server's own reasons is tried again, unless it says when."""


class Attachments:
    """``replica`` gives a topic's copy. ``send`` takes a frame and says whether a connection took it. ``ready`` says
    whether the server has the topic: a thread may be followed before its ``create`` is done. ``later(seconds, call)``
    calls later."""

    def __init__(
        self,
        replica: Callable[[str], Replica],
        send: Callable[[dict[str, Any]], bool],
        ready: Callable[[str], bool],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._replica = replica
        self._send = send
        self._ready = ready
        self._later = later
        self._followed: set[str] = set()
        self._attaching: dict[str, str] = {}
        """Attaches without an answer: topics by command id."""
        self._detaching: dict[str, str] = {}
        """Detaches without an answer: command ids by topic. What comes of the topic is of before."""

    @property
    def followed(self) -> Set[str]:
        """The topics that are kept up to date."""
        return self._followed

    @property
    def detaching(self) -> Set[str]:
        """The topics that were left, or attached anew, and the server may not know yet."""
        return self._detaching.keys()

    def hears(self, topic: str) -> bool:
        """Whether an event of this topic is to be applied."""
        return topic in self._followed and topic not in self._detaching

    def awaits(self, command: str) -> bool:
        """Whether this attach or detach has no answer."""
        return command in self._attaching or command in self._detaching.values()

    def follow(self, topic: str, *, all: bool) -> None:
        """Keep it up to date from now on: with ``all`` the whole of it."""
        replica = self._replica(topic)
        if all and not replica.whole:
            self.unfollow(topic)
            replica.whole, replica.cursor = True, None
        if topic not in self._followed:
            self._followed.add(topic)
            replica.gone = None
            replica.begin()
            self.attach(topic)

    def unfollow(self, topic: str) -> None:
        """Leave it as it is."""
        if topic in self._followed:
            self._followed.discard(topic)
            self._detach(topic)
            self._replica(topic).caught_up = False
            self._replica(topic).end()

    def gone(self, topic: str) -> None:
        """The server has ended the attachment."""
        self._followed.discard(topic)

    def connected(self) -> None:
        """There is a new connection: attach all that is followed, each from its cursor."""
        for topic in self._followed:
            self.attach(topic)

    def lost(self) -> None:
        """The connection is gone, and with it all attachments."""
        self._attaching.clear()
        self._detaching.clear()
        for topic in self._followed:
            self._replica(topic).caught_up = False

    def attach(self, topic: str) -> None:
        """Attach a followed topic from its cursor, if there is a connection."""
        if not self._ready(topic):
            return
        replica, pk = self._replica(topic), str(uuid.uuid4())
        frame: dict[str, Any] = {"type": "attach", "id": pk, **_named(topic)}
        if replica.whole:
            frame["all"] = True
        if replica.cursor is not None:
            frame["cursor"] = replica.cursor
        if self._send(frame):
            self._attaching[pk] = topic

    def repair(self, topic: str) -> None:
        """Something is missing: attach anew. Once from where we are; if that does not mend it, from nothing."""
        replica = self._replica(topic)
        if replica.gaps > 1:
            replica.cursor = None
        replica.caught_up = False
        self._detach(topic)
        self.attach(topic)

    def replied(self, command: str) -> None:
        """A command was done."""
        self._attaching.pop(command, None)
        self._detaching = {topic: pk for topic, pk in self._detaching.items() if pk != command}

    def refused(self, command: str | None, error: ChatError) -> None:
        """A command was refused."""
        for topic, pk in list(self._detaching.items()):
            if pk == command:
                del self._detaching[topic]  # if it is followed again, its attach has replaced the attachment
                if topic not in self._followed:
                    self._later(error.retry_after or AGAIN, lambda topic=topic: self._detach_again(topic))  # type: ignore[misc]
        topic = self._attaching.pop(command or "", "")
        if topic and (error.retryable or topic == INBOX):
            self._later(error.retry_after or AGAIN, lambda: self._attach_again(topic))
        elif topic:
            self._followed.discard(topic)
            self._replica(topic).lose(error.code)

    def _detach(self, topic: str) -> None:
        pk = str(uuid.uuid4())
        if self._send({"type": "detach", "id": pk, **_named(topic)}):
            self._detaching[topic] = pk

    def _attach_again(self, topic: str) -> None:
        if topic in self._followed and topic not in self._attaching.values():
            self.attach(topic)

    def _detach_again(self, topic: str) -> None:
        if topic not in self._followed:
            self._detach(topic)


def _named(topic: str) -> dict[str, Any]:
    return {"inbox": True} if topic == INBOX else {"thread": topic}
