"""The prompt: the active path as turns for a provider, within a budget. Built here and nowhere else.

The system prompt stays, the oldest turns are left out first, and how many is noted on the run. Where several authors
have answered, their names count too, as providers put them in (:mod:`chat.providers.authors`). Empty answers are left
out; a cut answer goes in as it was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from chat import conf
from chat.models import Message, Run, Thread
from chat.providers import authors
from chat.providers.base import Conversation, Turn


def build(thread: Thread, run: Run) -> tuple[Conversation, int]:
    """The conversation that a claimed run puts to its provider, and how many turns the budget left out.

    The last turn (the user's message, or the answer to go on with) is always in it.
    """
    last = run.continues_id or run.prompt_id
    system_prompt = thread.system_prompt or conf.SYSTEM_PROMPT
    budget = conf.PROMPT_BUDGET - len(system_prompt)
    sizes = [(pk, size) for pk, size in Message.objects.sizes(last) if size or pk == last]
    turns = _read(sizes, budget)
    others = Message.objects.filter(parent=run.prompt_id, role=Message.Role.ASSISTANT).exclude(run=run)
    if run.continues is not None:  # as many as there were when it began
        others = others.filter(placed__lt=run.continues.placed)
    note = len(authors.NOTE) if authors.several(turns) else 0
    kept = _within(turns, budget - note)
    conversation = Conversation(
        run=run.pk,
        model=run.model,
        turns=tuple(kept),
        system_prompt=system_prompt,
        parameters=run.parameters,
        continues=None if run.continues_id is None else str(run.continues_id),
        others=others.count(),
    )
    return conversation, len(sizes) - len(kept)


def _read(sizes: Sequence[tuple[UUID, int]], budget: int) -> list[Turn]:
    """The newest turns that may fit into ``budget`` characters. A thread may be far longer: what can't fit, even if
    each of its characters took the four bytes that one takes at most, is not read."""
    first = len(sizes) - 1
    left = budget - sizes[first][1] // 4
    while first > 0 and sizes[first - 1][1] // 4 <= left:
        first -= 1
        left -= sizes[first][1] // 4
    found = Message.objects.in_bulk([pk for pk, _ in sizes[first:]])
    messages = [found[pk] for pk, _ in sizes[first:]]
    return [Turn(message.role, message.text, message.author) for message in messages]


def _within(turns: Sequence[Turn], budget: int) -> Sequence[Turn]:
    """The newest turns that fit into ``budget`` characters, beginning with a user's."""
    sizes = authors.sizes(turns)
    first = len(turns) - 1
    left = budget - sizes[first]
    while first > 0 and sizes[first - 1] <= left:
        first -= 1
        left -= sizes[first]
    while first < len(turns) - 1 and turns[first].role != "user":
        first += 1
    return turns[first:]
