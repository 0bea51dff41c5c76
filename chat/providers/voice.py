"""A voice: a model that speaks under a name of its own, in a run of several. What panel and flow are made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import dataclass, replace

from chat.errors import Internal, ProviderRefused, RunError
from chat.protocol import Part, end, start
from chat.providers.base import Conversation, Provider

EVERYBODY = "all"


@dataclass(frozen=True)
class Voice:
    """``author`` is the name under which ``provider``'s ``model`` speaks."""

    author: str
    provider: Provider
    model: str

    async def speak(self, conversation: Conversation) -> AsyncGenerator[Part]:
        """What it says. Its message starts at once, so that everybody sees whom is waited for, and always ends; when
        it fails, with the error, which is then raised."""
        first = conversation.answer_id(0)
        open_messages = {first: None}
        known_as: dict[str, str] = {}  # the first message that it begins, whatever its id, is the one that has begun
        if conversation.continues is None:
            yield start(first, author=self.author)
        try:
            async with aclosing(self.provider.stream(replace(conversation, model=self.model))) as parts:
                async for part in parts:
                    kind, message, *value = part
                    if kind == "start":
                        if not known_as and conversation.continues is None:
                            known_as[message] = first
                            continue
                        open_messages[message] = None
                        parent = value[0]["parent"]
                        yield start(message, parent=known_as.get(parent, parent), author=self.author)
                        continue
                    message = known_as.get(message, message)
                    if kind == "end":
                        open_messages.pop(message, None)
                    yield (kind, message, *value)
        except Exception as error:
            for message in open_messages:
                yield end(message, error if isinstance(error, RunError) else Internal())
            raise
        for message in open_messages:
            yield end(message)


def check_names(kind: str, names: Collection[str]) -> None:
    """Raises ValueError for names that can't be chosen by."""
    if not names:
        raise ValueError(f"It needs {kind}.")
    for name in names:
        if not name or name == EVERYBODY or "+" in name:
            raise ValueError(
                f'{name!r} can\'t be the name of one of its {kind}: not empty, not "all", and without "+".'
            )


def chosen(names: Collection[str], model: str) -> list[str]:
    """Those whom a model's name asks for: everybody as "" or "all", else as "one+other"; in the order of ``names``.
    Raises ProviderRefused for a name that there is not."""
    wanted = set(names) if model in ("", EVERYBODY) else set(model.split("+"))
    if not wanted <= set(names):
        raise ProviderRefused()
    return [name for name in names if name in wanted]
