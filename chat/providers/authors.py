"""Who said what: how a prompt names the authors of its answers. Pure.

Model servers know one assistant, whose turns alternate with the user's: many refuse two in a row, or read the last one
only. So neighbouring answers become one turn, and where answers are of several authors, each begins with its author's
name. A chat with one author goes out as it is. Providers write their requests by this, and :mod:`chat.prompt` counts by
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chat.providers.base import Conversation, Turn

NOTE = (
    "Several authors have answered in this conversation. Each answer begins with its author's name in brackets; "
    "begin yours without a name."
)


def several(turns: Sequence[Turn]) -> bool:
    """Whether the answers are of more than one author."""
    return len({turn.author for turn in turns if turn.role == "assistant" and turn.text}) > 1


def label(turn: Turn) -> str:
    """What an answer begins with when authors are named."""
    return f"[{turn.author or 'assistant'}]\n" if turn.role == "assistant" else ""


def sizes(turns: Sequence[Turn]) -> list[int]:
    """The characters that each turn takes in a request, its author's name included."""
    named = several(turns)
    return [len(turn.text) + (len(label(turn)) if named else 0) for turn in turns]


def named(conversation: Conversation) -> tuple[str, list[Turn]]:
    """The system prompt and the turns as a model server should get them: none empty, no two answers in a row.

    An answer that is gone on with stays without a name, so that the model does go on with it.
    """
    turns = [turn for turn in conversation.turns if turn.text]
    system_prompt, naming = conversation.system_prompt, several(turns)
    if naming:
        you = f" You are {conversation.author}." if conversation.author else ""
        system_prompt = f"{system_prompt}\n\n{NOTE}{you}".lstrip()
    made: list[Turn] = []
    for number, turn in enumerate(turns, 1):
        follows = bool(made) and turn.role == made[-1].role == "assistant"
        goes_on = conversation.continues is not None and number == len(turns) and not follows
        text = label(turn) + turn.text if naming and not goes_on else turn.text
        if follows:
            made[-1] = replace(made[-1], text=f"{made[-1].text}\n\n{text}")
        else:
            made.append(replace(turn, text=text))
    return system_prompt, made
