"""What chat.providers.base promises, held by every provider that comes with Rejoin."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from chat.providers.base import Conversation, Provider, Turn
from chat.providers.demo import DemoProvider
from chat.providers.flow import FlowProvider
from chat.providers.panel import PanelProvider
from tests.providers.conftest import said

QUESTION = '{"chunks": 30, "reasoning": 5, "seed": "contract"}'


@dataclass(frozen=True)
class Case:
    """A provider, and whether its model thinks before it speaks."""

    provider: Provider
    model: str
    thinks: bool

    def first(self, conversation: Conversation) -> str:
        """The id of the first answer; that of several authors' first one, where they are asked."""
        return (conversation.for_author(0, "one") if self.model == "one" else conversation).answer_id(0)

    def conversation(self, *more: Turn, **fields: Any) -> Conversation:
        return Conversation(
            **{"run": uuid.uuid4(), "model": self.model} | fields, turns=[Turn("user", QUESTION), *more]
        )


@pytest.fixture(params=["demo", "demo-thinker", "demo-fast", "openai", "panel", "flow"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "openai":
        make: Callable[..., Provider] = request.getfixturevalue("openai_provider")
        return Case(make(), "scripted", thinks=True)
    demo = DemoProvider(rate=0, delay=0)
    if request.param in ("panel", "flow"):
        one: Provider = (
            PanelProvider(members={"one": "demo"}) if request.param == "panel" else FlowProvider(phases={"one": ""})
        )
        one.introduce(lambda model: (demo, model))
        return Case(one, "one", thinks=False)
    return Case(DemoProvider(rate=0, delay=0), request.param, thinks=request.param == "demo-thinker")


async def test_the_parts_of_a_message_come_between_its_start_and_its_end(case):
    parts = [part async for part in case.provider.stream(case.conversation())]
    kinds = [part[0] for part in parts]
    assert kinds[0] == "start" and kinds[-1] == "end"
    assert kinds.count("start") == kinds.count("end") == 1
    assert set(kinds) == {"start", "text", "usage", "end"} | ({"reasoning"} if case.thinks else set())
    assert said(parts)


async def test_what_is_thought_comes_before_what_is_said(case):
    parts = [part async for part in case.provider.stream(case.conversation())]
    kinds = [part[0] for part in parts if part[0] in ("reasoning", "text")]
    assert kinds == sorted(kinds)
    assert ("reasoning" in kinds) is case.thinks


async def test_the_message_has_the_id_of_the_runs_first_answer_and_its_author(case):
    conversation = case.conversation()
    parts = [part async for part in case.provider.stream(conversation)]
    assert {part[1] for part in parts} == {case.first(conversation)}
    assert parts[0][2] == {"parent": None, "author": case.model, "role": "assistant"}


async def test_a_run_that_is_started_again_says_the_same_in_the_same_message(case):
    conversation = case.conversation()
    first = [part async for part in case.provider.stream(conversation)]
    assert [part async for part in case.provider.stream(conversation)] == first


async def test_an_answer_that_is_gone_on_with_has_no_start_and_gets_what_was_missing(case):
    whole = said([part async for part in case.provider.stream(case.conversation())])
    for length in (1, len(whole) // 2, len(whole) - 1):
        so_far = Turn("assistant", whole[:length])
        parts = [part async for part in case.provider.stream(case.conversation(so_far, continues="its-id"))]
        assert so_far.text + said(parts) == whole
        assert {part[1] for part in parts} == {"its-id"}
        assert [part[0] for part in parts if part[0] != "text"] == ["usage", "end"]


async def test_an_answer_that_was_stopped_before_its_first_word_can_be_gone_on_with(case):
    whole = said([part async for part in case.provider.stream(case.conversation())])
    parts = [part async for part in case.provider.stream(case.conversation(Turn("assistant", ""), continues="its-id"))]
    assert said(parts) == whole


async def test_the_text_is_text(case):
    async for part in case.provider.stream(case.conversation()):
        if part[0] in ("text", "reasoning"):
            assert isinstance(part[2], str) and part[2]


async def test_the_tokens_are_counted(case):
    parts = [part async for part in case.provider.stream(case.conversation())]
    (usage,) = (part[2] for part in parts if part[0] == "usage")
    assert usage["input"] > 0
    assert usage["output"] == sum(part[0] in ("text", "reasoning") for part in parts)


async def test_a_stream_can_be_closed_at_any_part(case):
    conversation = case.conversation()
    total = len([part async for part in case.provider.stream(conversation)])
    for count in (1, 2, total // 2, total):
        stream = case.provider.stream(conversation)
        for _ in range(count):
            await anext(stream)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_reader_can_be_cancelled(case):
    read = asyncio.Event()

    async def reading() -> None:
        async for _ in case.provider.stream(case.conversation()):
            read.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(reading())
    await read.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_answers_at_once_do_not_mix(case):
    conversations = [case.conversation() for _ in range(10)]
    alone = said([part async for part in case.provider.stream(conversations[0])])

    async def answer(conversation: Conversation) -> None:
        parts = [part async for part in case.provider.stream(conversation)]
        assert said(parts) == alone
        assert {part[1] for part in parts} == {case.first(conversation)}

    await asyncio.gather(*(answer(conversation) for conversation in conversations))


async def test_it_names_its_models(case):
    assert await case.provider.models()
    assert case.model in await case.provider.models() or case.model == "one"  # the name of some member or phase


async def test_it_can_be_closed_unused_and_twice(case):
    await case.provider.close()
    await case.provider.close()
