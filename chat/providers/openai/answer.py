"""One streamed chat completion: the values of its ``data`` lines in, parts out. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from chat.errors import ContentFiltered, ContextTooLong, ProviderProtocol, ProviderUnavailable
from chat.protocol import Part, end, reasoning, start, text, usage
from chat.providers.openai.failures import refusal


class Answer:
    """The answer ``message`` as it grows. ``started`` is True when it is gone on with instead of begun.

    The part ``start`` comes with the first word, so that whoever reads may try again until then. Other choices than
    the first, tool calls, and whatever else servers put in are skipped.
    """

    def __init__(self, message: str, author: str, *, started: bool = False) -> None:
        self.message = message
        self.said = False
        """Something of the answer was given out."""
        self.finished = False
        """The model has said all; only its usage may follow."""
        self.closed = False
        """The last part was given out."""
        self._author = author
        self._started = started
        self._usage: Any = None
        self._counted = (0, 0)
        """Tokens in and out that were given out by now."""

    def read(self, data: bytes) -> Iterator[Part]:
        """The parts of one value. Raises RunError when it is a failure, after what was said before it."""
        if self.closed:
            return
        if data == b"[DONE]":
            self.finished = True
            yield from self.close()
            return
        chunk = _object(data)
        if chunk.get("error") or chunk.get("object") == "error":
            raise refusal(None, chunk.get("error") or chunk)
        thought, said, reason = _first_choice(chunk)
        if thought or said:
            self.said = True
            yield from self._start()
            if thought:
                yield reasoning(self.message, thought)
            if said:
                yield text(self.message, said)
        self._usage = chunk.get("usage") or self._usage
        yield from self._count()
        if reason:
            self._finish(reason)

    def close(self) -> Iterator[Part]:
        """The last parts, given out once: nothing more comes. Raises ProviderProtocol if the model had not finished."""
        if not self.finished:
            raise ProviderProtocol()
        if self.closed:
            return
        self.closed = True
        yield from self._start()
        yield from self._count()
        yield end(self.message)

    def _start(self) -> Iterator[Part]:
        if not self._started:
            self._started = True
            yield start(self.message, author=self._author)

    def _count(self) -> Iterator[Part]:
        """What the answer has cost since it was counted last. Servers count over all of it: at its end, or with every
        chunk, so that one that is stopped has a count too."""
        if not self._started or not isinstance(self._usage, dict):
            return
        read, written = self._usage.get("prompt_tokens"), self._usage.get("completion_tokens")
        if isinstance(read, int) and isinstance(written, int) and (read, written) != self._counted:
            yield usage(self.message, input=read - self._counted[0], output=written - self._counted[1])
            self._counted = (read, written)

    def _finish(self, reason: str) -> None:
        if reason == "content_filter":
            raise ContentFiltered()
        if reason == "length" and not self.said:  # the prompt took all the room there was
            raise ContextTooLong()
        if reason == "error":
            raise ProviderUnavailable()
        self.finished = True


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except ValueError:
        # orjson is right to refuse half surrogate pairs, broken UTF-8 and bare control characters, but models say them.
        try:
            found = json.loads(data.decode(errors="replace"), strict=False)
        except (ValueError, RecursionError):
            raise ProviderProtocol() from None
    if not isinstance(found, dict):
        raise ProviderProtocol()
    return found


def _first_choice(chunk: dict[str, Any]) -> tuple[str, str, str]:
    """What it thought, what it said, and why it ended; "" for each that the chunk does not have."""
    try:
        for choice in chunk.get("choices") or ():
            if choice.get("index") in (0, None):
                delta = choice.get("delta") or choice.get("message") or {}
                # The two names of the reasoning mean the same; some servers send both.
                found = (
                    delta.get("reasoning_content") or delta.get("reasoning") or "",
                    delta.get("content") or delta.get("refusal") or "",
                    choice.get("finish_reason") or "",
                )
                if all(isinstance(value, str) for value in found):
                    return found
                raise ProviderProtocol()
    except (AttributeError, TypeError):
        raise ProviderProtocol() from None
    return "", "", ""
