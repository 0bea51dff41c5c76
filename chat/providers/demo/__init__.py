"""The demo model: offline, deterministic, at the speed one likes. It explains Rejoin to whoever tries it.

It is also what the tests and benchmarks generate with, so it keeps time exactly: a token's time is counted from the
answer's beginning, and tokens that are late are given out together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import chain, islice

from chat.protocol import Part, end, reasoning, start, text, usage
from chat.providers.base import Conversation, Provider
from chat.providers.demo.essay import Essay, tokens

FAST = 10
"""How many times faster "demo-fast" is."""
BREATH = 64
"""Tokens given out without letting others run, when there is no rate."""


class DemoProvider(Provider):
    """``rate`` is in tokens/s (0: as fast as can be), ``delay`` the seconds before the first token, ``tokens`` the
    answer's length (0: what the question asks for, or a natural end). The conversation's parameters of these names go
    before the options. The same turns and ``seed`` give the same answer, asked again: another.
    """

    name = "demo"

    def __init__(self, *, rate: float = 40.0, delay: float = 0.4, tokens: int = 0, seed: int | str = 0) -> None:
        self._options = {"rate": rate, "delay": delay, "tokens": tokens, "seed": seed}

    async def models(self) -> list[str]:
        return ["demo", "demo-fast", "demo-thinker"]

    async def stream(self, conversation: Conversation) -> AsyncGenerator[Part]:
        options = {**self._options, **conversation.parameters}
        model = conversation.model or "demo"
        haste = FAST if model == "demo-fast" else 1
        answer = conversation.answer_id(0)
        turns = list(conversation.turns)
        so_far = turns.pop().text if turns[-1].role == "assistant" else ""
        essay = Essay(turns, f"{options['seed']}.{conversation.others}" if conversation.others else options["seed"])
        thoughts = tokens(essay.thoughts()) if model == "demo-thinker" and conversation.continues is None else []
        parts = chain(
            (reasoning(answer, token) for token in thoughts),
            (text(answer, token) for token in _answer(essay, so_far, int(options["tokens"]) or essay.wanted)),
        )

        loop = asyncio.get_running_loop()
        rate = float(options["rate"]) * haste
        begun = loop.time() + float(options["delay"]) / haste
        await asyncio.sleep(begun - loop.time())
        if conversation.continues is None:
            yield start(answer, author=model)
        said = 0
        for said, part in enumerate(parts, 1):
            if rate:
                if (wait := begun + (said - 1) / rate - loop.time()) > 0:
                    await asyncio.sleep(wait)
            elif said % BREATH == 0:
                await asyncio.sleep(0)
            yield part
        yield usage(answer, input=sum(len(tokens(turn.text)) for turn in conversation.turns), output=said)
        yield end(answer)


def _answer(essay: Essay, so_far: str, length: int) -> Iterator[str]:
    """The tokens after ``so_far``: ``length`` of them, else up to the next natural end."""
    rest = _after(essay.rounds(), so_far)
    if length:
        return islice((token for piece in rest for token in tokens(piece)), length)
    return iter(tokens(next(rest)))


def _after(rounds: Iterator[str], so_far: str) -> Iterator[str]:
    """What follows ``so_far`` in the text; after something that is not its beginning, the text's next piece."""
    for piece in rounds:
        if so_far.startswith(piece):
            so_far = so_far[len(piece) :]
            continue
        yield piece[len(so_far) :] if piece.startswith(so_far) else "\n\n" + piece
        break
    yield from rounds
