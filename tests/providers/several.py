"""Members and phases made for the test: models that say what they are told to, when they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from chat.protocol import Part, end, start, text, usage
from chat.providers.base import Conversation, Provider


class Member(Provider):
    """Says its words one by one. Raises ``fails`` behind the last one, or waits there for ever if ``stays``.

    ``pauses``: how often it lets others go first before each word.
    """

    def __init__(
        self,
        *words: str,
        fails: Exception | None = None,
        stays: bool = False,
        pauses: Sequence[int] = (),
        quiet: bool = False,
    ) -> None:
        self.words, self.fails, self.stays, self.pauses, self.quiet = words, fails, stays, pauses, quiet
        self.asked: list[Conversation] = []
        self.connected = self.closed = 0

    async def stream(self, conversation: Conversation) -> AsyncGenerator[Part]:
        self.asked.append(conversation)
        self.connected += 1
        answer = conversation.answer_id(0)
        try:
            if conversation.continues is None and not self.quiet:
                yield start(answer, author="a model's own name")
            for number, word in enumerate(self.words):
                for _ in range(self.pauses[number % len(self.pauses)] if self.pauses else 0):
                    await asyncio.sleep(0)
                yield text(answer, word)
            if self.stays:
                await asyncio.Event().wait()
            if self.fails is not None:
                raise self.fails
            yield usage(answer, input=10, output=len(self.words))
            if not self.quiet:
                yield end(answer)
        finally:
            self.closed += 1


def introduced(provider: Provider, **members: Provider) -> Provider:
    """The provider, with these to ask: each by its name."""
    provider.introduce(lambda model: (members[model.partition("/")[0]], model.partition("/")[2]))
    return provider
