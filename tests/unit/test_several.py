"""Runs of several messages: panels and flows, from their engine to whoever looks on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from chat.errors import ProviderRateLimited, ProviderTimeout
from chat.generation.engine import Engine
from chat.generation.sweep import Finalizer
from chat.models import Message, Run
from chat.providers.base import Provider
from chat.providers.flow import FlowProvider
from chat.providers.panel import PanelProvider
from tests.providers.several import Member, introduced
from tests.unit.chats import Chat, answers, in_database, until
from tests.unit.rig import Rig, saying
from tests.unit.viewer import Viewer, do, told

LATER = Now() + timedelta(seconds=60)


@pytest.fixture
async def chat(rig: Rig) -> Chat:
    return await in_database(Chat)


def panel(**members: Member) -> Provider:
    return introduced(PanelProvider(members={name: f"{name}/" for name in members}), **members)


def flow(**phases: Member) -> Provider:
    models = {name: f"{name}/" for name in phases}
    return introduced(FlowProvider(phases=dict.fromkeys(phases, "Go on."), models=models), **phases)


def shown(messages: list[Message]) -> list[tuple[str, str, str, str]]:
    return [(message.author, message.text, message.status, message.error_code) for message in messages]


class Going:
    """A run of such a provider, under way."""

    def __init__(self, rig: Rig, chat: Chat, engine: Engine, task: asyncio.Task[bool]) -> None:
        self.rig, self.chat, self.engine, self.task = rig, chat, engine, task

    def id(self, n: int) -> str:
        """The id of the n-th author's message."""
        return self.engine.claim.conversation.for_author(n, "").answer_id(0)

    async def spoken(self, *words: str) -> None:
        """Returns when these are in the log."""
        await until(lambda: [answer.text for answer in self.engine.stream.fold.answers.values()] == list(words))
        await until(lambda: self.engine.stream.sent == self.engine.stream.seq)

    async def checkpoint(self) -> None:
        """What the worker does four times a second."""
        self.engine.look(asyncio.get_running_loop().time())
        assert self.engine._checkpointing is not None, "none is due"
        await self.engine._checkpointing

    async def stop(self, **seen: int) -> list[tuple[str, str, str, str]]:
        """A stop at what was seen of the messages of these authors: all of them, as they ended."""
        authors = {message.author: message.pk for message in await self.messages()}
        at = {authors[name]: length for name, length in seen.items()}
        await in_database(self.chat.stop, self.engine.claim.run, seen=at)
        self.engine.stream.stopping.set()
        assert await self.task
        return shown(await self.messages())

    async def run(self) -> Run:
        return await in_database(self.chat.run, self.engine.claim.run)

    async def messages(self) -> list[Message]:
        return list(await in_database(answers, await self.run()))


@asynccontextmanager
async def going(rig: Rig, chat: Chat, provider: Provider, run: Any = None) -> AsyncIterator[Going]:
    if rig._writing is None:
        rig.write()
    run = run or (await in_database(chat.send)).run
    engine = rig.engine(await in_database(chat.claim, run), provider)

    async def tell(announcement: Any) -> None:
        await told(rig, announcement)

    engine._announce = tell
    task = asyncio.create_task(engine.run())
    try:
        yield Going(rig, chat, engine, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ---------------------------------------------------------------------------------------------------------------- panel


async def test_the_answers_of_a_panel_stand_one_below_another_and_cost_what_they_cost_together(
    rig: Rig, chat: Chat
) -> None:
    run = await rig.generate(chat, panel(ada=Member("A", "da"), bob=Member("Bob", pauses=[3])))
    messages = await in_database(answers, run)
    assert shown(messages) == [("ada", "Ada", "complete", ""), ("bob", "Bob", "complete", "")]
    assert await in_database(chat.path) == [run.prompt_id, *(message.pk for message in messages)]
    assert (run.state, run.tokens_in, run.tokens_out) == ("completed", 20, 3)


async def test_one_member_that_fails_is_shown_as_failed_and_the_run_completes(rig: Rig, chat: Chat) -> None:
    run = await rig.generate(chat, panel(ada=Member("as far as ", fails=ProviderTimeout()), bob=Member("Bob")))
    assert shown(await in_database(answers, run)) == [
        ("ada", "as far as ", "failed", "provider_timeout"),
        ("bob", "Bob", "complete", ""),
    ]
    assert (run.state, run.error_code) == ("completed", "")


async def test_when_all_members_fail_the_run_has_failed_and_each_says_why(rig: Rig, chat: Chat) -> None:
    failing = panel(
        ada=Member(fails=ProviderRateLimited(retry_after=7), pauses=[5]), bob=Member(fails=ProviderTimeout())
    )
    run = await rig.generate(chat, failing)
    assert (run.state, run.error_code, run.retry_after) == ("failed", "provider_rate_limited", 7)
    assert shown(await in_database(answers, run)) == [
        ("ada", "", "failed", "provider_rate_limited"),
        ("bob", "", "failed", "provider_timeout"),
    ]


async def test_a_stop_cuts_each_message_at_what_was_seen_and_leaves_all_models(rig: Rig, chat: Chat) -> None:
    members = {name: Member(f"{name} goes on", stays=True) for name in ("ada", "bob", "cyd")}
    async with going(rig, chat, panel(**members)) as run:
        await run.spoken("ada goes on", "bob goes on", "cyd goes on")
        assert await run.stop(ada=3, cyd=99) == [
            ("ada", "ada", "cut", ""),
            ("bob", "", "cut", ""),
            ("cyd", "cyd goes on", "cut", ""),
        ]
    assert [(member.connected, member.closed) for member in members.values()] == [(1, 1)] * 3


async def test_a_message_that_has_ended_says_so_while_the_others_go_on(rig: Rig, chat: Chat) -> None:
    members = {"ada": Member("Ada"), "bob": Member("half", fails=ProviderTimeout()), "cyd": Member("on", stays=True)}
    async with going(rig, chat, panel(**members)) as run:
        viewer = await Viewer(rig.sources(), chat).attach()
        await run.spoken("Ada", "half", "on")
        await until(lambda: len(run.engine.stream.fold.ended) == 2)
        await run.checkpoint()
        assert shown(await run.messages()) == [
            ("ada", "Ada", "complete", ""),
            ("bob", "half", "failed", "provider_timeout"),
            ("cyd", "on", "streaming", ""),
        ]
        await until(lambda: viewer.messages[run.id(1)].get("status") == "failed")
        assert viewer.messages[run.id(1)]["error"] == ProviderTimeout().as_dict()
        assert (viewer.messages[run.id(0)]["status"], viewer.messages[run.id(2)]["status"]) == ("complete", "streaming")
        await viewer.attachment.close()


async def test_who_comes_in_the_middle_sees_what_somebody_sees_who_was_there_all_along(rig: Rig, chat: Chat) -> None:
    cyd = Member("o", "n", stays=True)
    async with going(rig, chat, panel(ada=Member("Ada"), bob=Member(fails=ProviderTimeout()), cyd=cyd)) as run:
        sources = rig.sources()
        first = await Viewer(sources, chat).attach()
        await run.spoken("Ada", "", "on")
        await run.checkpoint()
        version = (await in_database(lambda: chat.thread)).version
        await until(lambda: first.cursor.version == version and first.cursor.seq == run.engine.stream.seq)
        late = await Viewer(sources, chat).attach()
        assert late.view() == first.view()
        assert [late.messages[run.id(n)]["text"] for n in range(3)] == ["Ada", "", "on"]
        await do(rig, chat.stop, run.engine.claim.run, seen={run.id(0): 3, run.id(2): 1})
        run.engine.stream.stopping.set()
        assert await run.task
        for viewer in (first, late):
            await until(lambda viewer=viewer: viewer.runs[str(run.engine.claim.run)]["state"] == "stopped")
            assert [viewer.messages[run.id(n)]["text"] for n in range(3)] == ["Ada", "", "o"]
            await viewer.attachment.close()


async def test_of_a_panel_whose_worker_dies_each_message_stays_as_it_was(rig: Rig, chat: Chat) -> None:
    members = {"ada": Member("Ada"), "bob": Member("half", fails=ProviderTimeout()), "cyd": Member("on", stays=True)}
    async with going(rig, chat, panel(**members)) as run:
        await run.spoken("Ada", "half", "on")
        await until(lambda: len(run.engine.stream.fold.ended) == 2)
        await run.checkpoint()
        # The log loses what the checkpoint has, and the worker is not heard of any more.
        stream = run.engine.stream
        await rig.log.seed(stream.run, stream.lease, stream.trim(1e9, 0.0, 0), stream.kept())
        assert await Finalizer(rig.log, in_database, rig.announce, LATER).finalize(run.engine.claim.run, "sweeper")
        ended = await run.run()
        assert (ended.state, ended.error_code) == ("interrupted", "worker_lost")
        assert shown(await run.messages()) == [
            ("ada", "Ada", "complete", ""),
            ("bob", "half", "failed", "provider_timeout"),
            ("cyd", "on", "cut", ""),
        ]


async def test_a_panel_that_had_said_nothing_starts_again_with_the_same_messages(rig: Rig, chat: Chat) -> None:
    async with going(rig, chat, panel(ada=Member(stays=True), bob=Member(fails=ProviderTimeout()))) as run:
        await until(lambda: run.engine.stream.fold.ended)
        await run.checkpoint()
        before = {message.pk for message in await run.messages()}
        run.engine.draining.set()
        assert not await run.task
        assert (await run.run()).state == "queued"
        async with going(rig, chat, panel(ada=Member("A"), bob=Member("B")), run.engine.claim.run) as again:
            assert await again.task
            assert shown(await again.messages()) == [("ada", "A", "complete", ""), ("bob", "B", "complete", "")]
            assert {message.pk for message in await again.messages()} == before


async def test_the_next_prompt_has_all_answers_each_with_its_author(rig: Rig, chat: Chat) -> None:
    await rig.generate(
        chat, panel(ada=Member("Ada"), bob=Member("never seen", fails=ProviderTimeout()), cyd=Member("C"))
    )
    claim = await in_database(lambda: chat.claim(chat.send("and?").run))
    assert [(turn.author, turn.text) for turn in claim.conversation.turns] == [
        ("", "hello"),
        ("ada", "Ada"),
        ("bob", "never seen"),
        ("cyd", "C"),
        ("", "and?"),
    ]


async def test_asked_again_all_members_answer_beside_their_first_answers(rig: Rig, chat: Chat) -> None:
    run = await rig.generate(chat, panel(ada=Member("one"), bob=Member("two")))
    first = await in_database(answers, run)
    again = await in_database(chat.regenerate, first[1].pk)
    async with going(rig, chat, panel(ada=Member("three"), bob=Member("four")), again) as other:
        assert await other.task
        assert [message.text for message in await other.messages()] == ["three", "four"]
    assert (await in_database(chat.texts)) == ["hello", "three", "four"]
    assert [(await in_database(chat.message, message.pk)).text for message in first] == ["one", "two"]


# ----------------------------------------------------------------------------------------------------------------- flow


async def test_a_flow_has_a_message_for_each_phase(rig: Rig, chat: Chat) -> None:
    run = await rig.generate(chat, flow(draft=Member("a draft"), critique=Member("too short"), final=Member("longer")))
    assert [(author, text) for author, text, _, _ in shown(await in_database(answers, run))] == [
        ("draft", "a draft"),
        ("critique", "too short"),
        ("final", "longer"),
    ]
    assert (await in_database(chat.texts)) == ["hello", "a draft", "too short", "longer"]
    assert (run.tokens_in, run.tokens_out) == (30, 3)


async def test_a_stop_in_the_second_phase_keeps_the_first_and_cuts_the_second_at_what_was_seen(
    rig: Rig, chat: Chat
) -> None:
    draft, critique, final = Member("a draft"), Member("too short", stays=True), Member("never")
    async with going(rig, chat, flow(draft=draft, critique=critique, final=final)) as run:
        await run.spoken("a draft", "too short")
        assert await run.stop(draft=7, critique=3) == [
            ("draft", "a draft", "complete", ""),
            ("critique", "too", "cut", ""),
        ]
    assert (critique.closed, final.connected) == (1, 0)


async def test_a_failure_in_the_second_phase_keeps_the_first(rig: Rig, chat: Chat) -> None:
    failing = flow(draft=Member("a draft"), critique=Member("too", fails=ProviderTimeout()), final=Member("never"))
    run = await rig.generate(chat, failing)
    assert (run.state, run.error_code) == ("failed", "provider_timeout")
    assert shown(await in_database(answers, run)) == [
        ("draft", "a draft", "complete", ""),
        ("critique", "too", "failed", "provider_timeout"),
    ]


async def test_a_worker_that_dies_in_the_second_phase_leaves_the_first_complete(rig: Rig, chat: Chat) -> None:
    async with going(rig, chat, flow(draft=Member("a draft"), final=Member("half", stays=True))) as run:
        await run.spoken("a draft", "half")
        await run.checkpoint()
        # Log and worker die together.
        rig.log._runs.clear()
        assert await Finalizer(rig.log, in_database, rig.announce, LATER).finalize(run.engine.claim.run, "sweeper")
        assert shown(await run.messages()) == [("draft", "a draft", "complete", ""), ("final", "half", "cut", "")]


async def test_a_flow_that_was_stopped_goes_on_in_the_same_message_and_to_its_end(rig: Rig, chat: Chat) -> None:
    async with going(rig, chat, flow(draft=Member("a draft"), final=Member("one two", stays=True))) as run:
        await run.spoken("a draft", "one two")
        await run.stop(draft=7, final=3)
        cut = (await run.messages())[1].pk
        going_on = await in_database(chat.go_on, cut)
        final, last = Member(" more"), Member("the last word")
        async with going(rig, chat, flow(draft=Member("never"), final=final, last=last), going_on) as again:
            assert await again.task
            assert shown(await again.messages()) == [
                ("final", "one more", "complete", ""),
                ("last", "the last word", "complete", ""),
            ]
    assert (await in_database(chat.texts)) == ["hello", "a draft", "one more", "the last word"]
    assert (await in_database(chat.path))[2] == cut


async def test_a_plain_answer_ends_without_a_version_of_its_own(rig: Rig, chat: Chat) -> None:
    """One message in a run: its end comes with the run's, as one change."""
    async with going(rig, chat, saying("said")) as run:
        assert await run.task
        assert run.engine._checkpointing is None
