"""The flow: an answer in phases, each a message that sees the ones before."""

from __future__ import annotations

from typing import Any

import pytest

from chat.errors import ProviderRefused, ProviderTimeout
from chat.protocol import Part
from chat.providers.base import Conversation, Provider, Turn
from chat.providers.flow import FlowProvider
from tests.providers.conftest import ask, conversation
from tests.providers.several import Member, introduced
from tests.providers.test_panel import errors, parts_and_error, texts

PHASES = {"draft": "Be short.", "critique": "What is wrong?", "final": "Write it anew."}


def flow(draft: Member, critique: Member, final: Member, **phases: str) -> Provider:
    models = {"draft": "draft/d", "critique": "critique/c", "final": "final/f"}
    return introduced(FlowProvider(phases=PHASES | phases, models=models), draft=draft, critique=critique, final=final)


def three() -> tuple[Member, Member, Member]:
    return Member("a ", "draft"), Member("too ", "short"), Member("longer")


def turns(asked: Conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in asked.turns]


async def test_there_is_a_message_for_each_phase_one_after_the_other() -> None:
    parts = await ask(flow(*three()), "why?")
    assert [part[2]["author"] for part in parts if part[0] == "start"] == ["draft", "critique", "final"]
    assert texts(parts) == ["a draft", "too short", "longer"]
    assert errors(parts) == [None] * 3
    order = [part[1] for part in parts]
    assert order == sorted(order, key=order.index)  # no message is spoken in again once another has begun
    assert len(set(order)) == 3


async def test_later_phases_see_the_earlier_ones_and_each_its_own_instruction() -> None:
    draft, critique, final = three()
    await ask(flow(draft, critique, final), "before", "said before", "why?", system_prompt="Be kind.")
    history = [("user", "before"), ("assistant", "said before")]
    first = [("user", "why?\n\nBe short."), ("assistant", "a draft")]
    second = [("user", "What is wrong?"), ("assistant", "too short")]
    assert turns(draft.asked[0]) == [*history, first[0]]
    assert turns(critique.asked[0]) == [*history, *first, second[0]]
    assert turns(final.asked[0]) == [*history, *first, *second, ("user", "Write it anew.")]
    assert {member.asked[0].system_prompt for member in (draft, critique, final)} == {"Be kind."}
    assert [turn.author for turn in final.asked[0].turns] == ["", "", "", "draft", "", "critique", ""]
    assert [member.asked[0].author for member in (draft, critique, final)] == ["draft", "critique", "final"]


async def test_what_can_not_be_stored_reaches_no_later_phase_either() -> None:
    _, critique, final = three()
    await ask(flow(Member("a\0b\ud83d", "\ude00\ud83d"), critique, final), "why?")
    assert turns(critique.asked[0])[1] == ("assistant", "a\ufffdb😀\ufffd")


async def test_a_phase_that_says_nothing_leaves_no_empty_turn_to_the_next() -> None:
    _, critique, final = three()
    await ask(flow(Member(), critique, final), "why?")
    assert turns(critique.asked[0]) == [("user", "why?\n\nBe short.\n\nWhat is wrong?")]


async def test_one_model_may_write_all_phases_and_its_tokens_are_counted_for_each() -> None:
    one = Member("said")
    parts = await ask(introduced(FlowProvider(phases=PHASES, model="one/m"), one=one), "why?")
    assert [asked.model for asked in one.asked] == ["m"] * 3
    assert [part[2] for part in parts if part[0] == "usage"] == [{"input": 10, "output": 1}] * 3


async def test_a_thread_may_ask_for_some_of_the_phases() -> None:
    assert await flow(*three()).models() == ["all"]
    assert texts(await ask(flow(*three()), "why?", model="final+draft")) == ["a draft", "longer"]
    with pytest.raises(ProviderRefused):
        await ask(flow(*three()), "why?", model="proof")


async def test_a_run_that_is_started_again_writes_the_same_messages() -> None:
    one, asked = flow(*three()), conversation("why?")
    ids = [{part[1] async for part in one.stream(asked)} for _ in range(2)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("words", [(), ("half ",)])
async def test_a_failure_in_one_phase_keeps_those_before_and_ends_the_flow(words: tuple[str, ...]) -> None:
    draft, critique, final = Member("a draft"), Member(*words, fails=ProviderTimeout()), Member("never")
    parts, error = await parts_and_error(flow(draft, critique, final))
    assert isinstance(error, ProviderTimeout)
    assert texts(parts) == ["a draft", "".join(words)]
    assert errors(parts) == [None, "provider_timeout"]
    assert final.asked == []


async def test_whoever_stops_listening_closes_the_phases_connection() -> None:
    draft, critique, final = Member("a draft"), Member("half", stays=True), Member("never")
    stream = flow(draft, critique, final).stream(conversation("why?"))
    while (await anext(stream))[2:] != ("half",):
        pass
    assert (critique.connected, critique.closed) == (1, 0)
    await stream.aclose()
    assert [(member.connected, member.closed) for member in (draft, critique, final)] == [(1, 1), (1, 1), (0, 0)]


# ------------------------------------------------------------------------------------------------------------- going on


async def going_on(provider: Provider, *answers: Turn) -> list[Part]:
    asked = conversation(continues="its-id")
    object.__setattr__(asked, "turns", [Turn("user", "why?"), *answers])
    return [part async for part in provider.stream(asked)]


async def test_a_phase_that_was_stopped_goes_on_in_its_message_and_the_later_ones_follow() -> None:
    draft, critique, final = Member("never"), Member(" short"), Member("longer")
    before = [Turn("assistant", "a draft", "draft"), Turn("assistant", "too", "critique")]
    parts = await going_on(flow(draft, critique, final), *before)
    assert draft.asked == []
    assert turns(critique.asked[0]) == [
        ("user", "why?\n\nBe short."),
        ("assistant", "a draft"),
        ("user", "What is wrong?"),
        ("assistant", "too"),
    ]
    assert critique.asked[0].continues == "its-id"
    assert turns(final.asked[0])[-2:] == [("assistant", "too short"), ("user", "Write it anew.")]
    assert final.asked[0].continues is None
    begun = [part[1] for part in parts if part[0] == "start"]
    assert len(begun) == 1
    assert [part[1] for part in parts if part[0] == "text"] == ["its-id", begun[0]]
    assert [part[1] for part in parts if part[0] == "end"] == ["its-id", begun[0]]


async def test_an_answer_that_no_phase_wrote_is_just_gone_on_with() -> None:
    draft, critique, final = three()
    parts = await going_on(flow(draft, critique, final), Turn("assistant", "so far", "somebody"))
    assert {part[1] for part in parts} == {"its-id"}
    assert turns(final.asked[0]) == [("user", "why?"), ("assistant", "so far")]
    assert draft.asked == critique.asked == []


# ------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "options",
    [
        {"phases": {}},
        {"phases": {"all": "x"}},
        {"phases": {"a+b": "x"}},
        {"phases": {"a": "", "b": " "}},
        {"phases": {"a": "x"}, "models": {"b": "demo"}},
    ],
)
def test_a_mistake_in_the_options_shows_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        FlowProvider(**options)
