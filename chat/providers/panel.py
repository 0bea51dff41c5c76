"""A panel: several models are asked the same at once, and each answers in a message of its own.

Their messages stand one below another, in the order of the members, so all of them are in the next prompt. Each ends on
its own; a member that fails ends its own message, and the run only when no member is left that answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from chat.errors import Internal, RunError
from chat.protocol import Part
from chat.providers.base import Choose, Conversation, Provider
from chat.providers.voice import EVERYBODY, Voice, check_names, chosen
from chat.tasks import end as end_tasks

log = logging.getLogger(__name__)

ROOM = 64
"""Parts that members may be ahead of the reader, together."""


@dataclass(frozen=True)
class Over:
    """A member has said everything, or failed."""

    member: int
    error: RunError | None = None


class PanelProvider(Provider):
    """``members``: {name: model}, each model named as a user would. Asked for as ``all``, or as ``one+other``."""

    name = "panel"

    def __init__(self, *, members: Mapping[str, str]) -> None:
        check_names("members", members)
        self._members = dict(members)
        self._voices: dict[str, Voice] = {}

    def introduce(self, choose: Choose) -> list[Provider]:
        self._voices = {name: Voice(name, *choose(model)) for name, model in self._members.items()}
        return [voice.provider for voice in self._voices.values()]

    async def models(self) -> list[str]:
        return [EVERYBODY]

    async def stream(self, conversation: Conversation) -> AsyncGenerator[Part]:
        voices = [self._voices[name] for name in chosen(self._voices, conversation.model)]
        if conversation.continues is None:
            parts = _together(voices, conversation)
        else:
            parts = self._go_on(voices[0], conversation)
        async with aclosing(parts):
            async for part in parts:
                yield part

    def _go_on(self, first: Voice, conversation: Conversation) -> AsyncGenerator[Part]:
        """Who wrote the answer goes on with it, and with no eye on what the others have answered to the same question.
        Somebody else's answer (the members have changed since) is the first one's to go on with."""
        *before, answer = conversation.turns
        voice = self._voices.get(answer.author)
        if voice is None:
            return first.speak(conversation)
        while before and before[-1].role == "assistant":
            before.pop()
        return voice.speak(replace(conversation, turns=[*before, answer], author=voice.author))


async def _together(voices: list[Voice], conversation: Conversation) -> AsyncGenerator[Part]:
    """What they say, as it comes. Raises the first one's error when all have failed."""
    spoken: asyncio.Queue[Part | Over] = asyncio.Queue(ROOM)
    members = [asyncio.create_task(_listen(number, voice, conversation, spoken)) for number, voice in enumerate(voices)]
    errors: dict[int, RunError | None] = {}
    try:
        while len(errors) < len(members):
            said = await spoken.get()
            if isinstance(said, Over):
                errors[said.member] = said.error
            else:
                yield said
    finally:
        await end_tasks(members)  # all at once: nobody's connection waits for another's
    if (error := errors[0]) is not None and None not in errors.values():
        raise error


async def _listen(number: int, voice: Voice, conversation: Conversation, spoken: asyncio.Queue[Part | Over]) -> None:
    # A different answer is wanted of each, as for a question that is asked again.
    asked = conversation.for_author(number, voice.author, others=conversation.others + number)
    error: RunError | None = None
    try:
        async with aclosing(voice.speak(asked)) as parts:
            async for part in parts:
                await spoken.put(part)
    except RunError as failure:
        log.info("action=member_failed run=%s member=%d code=%s", conversation.run, number, failure.code)
        error = failure
    except Exception:
        log.exception("action=member_failed run=%s member=%d code=internal", conversation.run, number)
        error = Internal()
    await spoken.put(Over(number, error))
