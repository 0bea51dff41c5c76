"""A flow: an answer in phases, each a message of its own that sees the ones before: draft, critique, final.

A phase's instruction follows what was said before it, as a turn of the user's; that of a first phase stands below the
question itself. What ends one phase, a stop or a failure, ends the flow, and the phases before it stay.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from chat.fold import Fold
from chat.protocol import Part, clean
from chat.providers.base import Choose, Conversation, Provider, Turn
from chat.providers.voice import EVERYBODY, Voice, check_names, chosen


class FlowProvider(Provider):
    """``phases``: {name: instruction}, in their order. ``model`` writes them, named as a user would, except for those
    in ``models``: {phase: model}. Asked for as ``all``, or by some of its phases as ``draft+final``."""

    name = "flow"

    def __init__(self, *, phases: Mapping[str, str], model: str = "", models: Mapping[str, str] | None = None) -> None:
        check_names("phases", phases)
        if unknown := set(models or ()) - set(phases):
            raise ValueError(f"There is no phase {min(unknown)!r}.")
        if missing := [name for name in list(phases)[1:] if not phases[name].strip()]:
            raise ValueError(f"The phase {missing[0]!r} needs an instruction.")
        self._phases = dict(phases)
        self._models = {name: (models or {}).get(name, model) for name in phases}
        self._voices: dict[str, Voice] = {}

    def introduce(self, choose: Choose) -> list[Provider]:
        self._voices = {name: Voice(name, *choose(model)) for name, model in self._models.items()}
        return [voice.provider for voice in self._voices.values()]

    async def models(self) -> list[str]:
        return [EVERYBODY]

    async def stream(self, conversation: Conversation) -> AsyncGenerator[Part]:
        names, turns = chosen(self._phases, conversation.model), list(conversation.turns)
        so_far: Turn | None = None
        if conversation.continues is not None:
            so_far = turns.pop()
            if so_far.author not in names:  # somebody else's, or the phases have changed: it is just gone on with
                async with aclosing(self._voices[names[-1]].speak(conversation)) as parts:
                    async for part in parts:
                        yield part
                return
            number = names.index(so_far.author)
            turns, names = self._again(turns, names[:number]), names[number:]
        for name in names:
            turns = _instructed(turns, self._phases[name])
            asked = conversation.for_author(list(self._phases).index(name), name, turns=turns, continues=None)
            fold = Fold(0)
            if so_far is not None and conversation.continues is not None:
                asked = replace(asked, turns=[*turns, so_far], continues=conversation.continues)
                fold.hold(conversation.continues, so_far.text, "")
                so_far = None
            async with aclosing(self._voices[name].speak(asked)) as parts:
                async for part in parts:
                    fold.add([part], 0)
                    yield part
            turns = _answered(turns, name, "\n\n".join(answer.text for answer in fold.answers.values()))

    def _again(self, turns: Sequence[Turn], before: Sequence[str]) -> list[Turn]:
        """The conversation as it was when the phases ``before`` had been gone through: with their instructions, which
        stand in no message."""
        question, answers = list(turns), dict[str, str]()
        while question and question[-1].role == "assistant":
            answer = question.pop()
            answers[answer.author] = answer.text
        for name in before:
            question = _answered(_instructed(question, self._phases[name]), name, answers.get(name, ""))
        return question


def _instructed(turns: list[Turn], instruction: str) -> list[Turn]:
    """With an instruction at the end: a turn of its own, unless the last one is the user's already."""
    if not instruction:
        return turns
    if turns and turns[-1].role == "user":
        return [*turns[:-1], replace(turns[-1], text=f"{turns[-1].text}\n\n{instruction}")]
    return [*turns, Turn("user", instruction)]


def _answered(turns: list[Turn], author: str, text: str) -> list[Turn]:
    return [*turns, Turn("assistant", clean(text), author)] if text else turns
