"""Whoever reads may refresh, switch, come from a second device, lose the network, or stop reading."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import pytest

from chat.protocol import HEARTBEAT_BYTES, MAX_FRAME
from tests.client import Client, guest, until
from tests.processes.asking import VARIANTS, Question, ask, check_answer, check_fresh
from tests.processes.conftest import Share
from tests.servers.stack import Stack

on_each_variant = pytest.mark.parametrize("shared", VARIANTS, indirect=True)
on_the_first_variant = pytest.mark.parametrize("shared", VARIANTS[:1], indirect=True)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    webs = 1 if "embedded" in request.param else 2
    return share(request.param, webs=webs, workers=2)


@on_the_first_variant
async def test_more_strangers_than_there_are_database_connections_open_the_page_at_once(stack: Stack) -> None:
    many = 60
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(many))
    assert len(set(await asyncio.gather(*(guest(stack.url) for _ in range(many))))) == many


# ------------------------------------------------------------------------------------------------------- refreshes


async def refresh_often(device: Client, question: Question, times: int, rng: random.Random) -> None:
    """Refresh at random moments; every other time it is only the connection that is lost."""
    await device.follow(question.thread)
    for number in range(times):
        await asyncio.sleep(rng.uniform(0, 0.5))
        before = question.held_by(device)
        await (device.reconnect() if number % 2 else device.refresh())
        await device.caught_up(question.thread)
        after = question.held_by(device)
        assert after.startswith(before), "what was on the screen is there at once"


@on_each_variant
async def test_a_hundred_refreshes_at_random_moments_lose_and_double_nothing(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=500, pause=0.01, reasoning=20, gate="refreshed", after=500, seed="refreshes")
    async with AsyncExitStack() as open_devices:
        devices = [
            await open_devices.enter_async_context(Client(stack.web[number % len(stack.web)].url, client.session))
            for number in range(10)
        ]
        refreshing = [refresh_often(device, question, 10, random.Random(n)) for n, device in enumerate(devices)]
        await asyncio.gather(*refreshing)
        assert not client.thread(question.thread).has_ended(question.run)
        stack.model.open_gate("refreshed")
        for device in (client, *devices):
            await check_answer(device, question)
        assert [device.counts.connections for device in devices] == [11] * 10


@on_each_variant
async def test_switching_among_three_chats_finds_each_where_it_is_and_goes_on(stack: Stack, client: Client) -> None:
    questions = [
        await ask(client, chunks=300, pause=0.01, gate="switched", after=290, seed=f"switch {n}") for n in range(3)
    ]
    for question in questions[1:]:
        client.unfollow(question.thread)
    rng, here = random.Random(1), questions[0]
    for _ in range(40):
        client.unfollow(here.thread)
        here = rng.choice([question for question in questions if question is not here])
        before = here.held_by(client)
        await client.follow(here.thread)
        assert here.held_by(client).startswith(before)
        await asyncio.sleep(rng.uniform(0, 0.1))
    stack.model.open_gate("switched")
    for question in questions:
        if question is not here:
            await client.follow(question.thread)
        await check_answer(client, question)


@on_the_first_variant
async def test_a_chat_that_was_left_before_its_answer_began_has_all_of_it(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=100, gate="left", after=0)
    client.unfollow(question.thread)
    await client.follow_inbox()
    stack.model.open_gate("left")
    item = client.inbox.items
    await client.wait_until(lambda: item[question.thread]["status"] == "idle", "the sidebar's mark to go")
    await client.follow(question.thread)
    await check_answer(client, question)


# --------------------------------------------------------------------------------------------------------- devices


@on_each_variant
async def test_what_one_device_stops_ends_on_both_where_it_was_seen_and_so_for_the_model(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=100, gate="never", after=60, seed="stop")
    thread = question.thread
    async with Client(stack.web[-1].url, client.session) as other:
        await other.follow(thread)
        for device in (client, other):
            await device.text_of(thread, question.run, len(question.said))
            assert question.held_by(device) == question.said
        [answer] = client.thread(thread).answers(question.run)
        seen = question.said[: len(question.said) // 2]
        await client.stop(thread, question.run, seen={answer.row["id"]: len(seen)})
        for device in (client, other):
            await check_answer(device, question, "stopped", text=seen)
        await check_answer(other, await ask(other, thread, chunks=5, seed="next"))
        prompt = stack.model.requests()[-1]["messages"]
        assert [turn["content"] for turn in prompt if turn["role"] == "assistant"] == [seen]
        await check_fresh(client, thread)


@on_the_first_variant
async def test_two_devices_that_both_ask_see_one_chat_in_one_order(stack: Stack, client: Client) -> None:
    first = await ask(client, chunks=50, gate="both", after=25)
    async with Client(stack.web[-1].url, client.session) as other:
        await other.follow(first.thread)
        asked = await asyncio.gather(
            *(ask(device, first.thread, chunks=20, seed=f"{n}") for device in (client, other) for n in range(3))
        )
        stack.model.open_gate("both")
        for question in (first, *asked):
            for device in (client, other):
                await check_answer(device, question)
        await check_fresh(client, first.thread)
        await check_fresh(other, first.thread)
    prompts = [len(request["messages"]) for request in stack.model.requests()]
    assert prompts == [1, 3, 5, 7, 9, 11, 13], "each was asked with all before it, once"


# --------------------------------------------------------------------------------------------------------- network


@on_each_variant
async def test_a_network_that_resets_connections_loses_and_doubles_neither_questions_nor_answers(
    stack: Stack, client: Client
) -> None:
    line = stack.web[0].clients
    thread = await client.create()
    await client.follow(thread)
    done = asyncio.Event()

    async def cut() -> None:
        rng = random.Random(2)
        while not done.is_set():
            await asyncio.sleep(rng.uniform(0.1, 0.6))
            line.reset()

    cutting = asyncio.create_task(cut())
    questions = [await ask(client, thread, chunks=100, pause=0.01, seed=f"reset {n}") for n in range(4)]
    for question in questions:
        await client.ended(thread, question.run)
    done.set()
    await cutting
    for question in questions:
        await check_answer(client, question)
    await check_fresh(client, thread)
    assert client.counts.connections > 4
    asked = [message for message in client.thread(thread).messages.values() if message.row["role"] == "user"]
    assert len(asked) == len(questions) == len(stack.model.requests())


@on_the_first_variant
async def test_a_network_that_swallows_everything_has_lost_nothing_once_it_is_back(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=300, pause=0.01, gate="swallowed", after=250)
    line = stack.web[0].clients
    for _ in range(3):
        held = len(question.held_by(client))
        await client.text_of(question.thread, question.run, held + 1)
        line.swallow(True)
        asking = asyncio.create_task(client.do("update", thread=question.thread, title=f"After {held}"))
        await until(lambda: line.swallowed, "something to be lost")
        await asyncio.sleep(0.3)
        line.swallow(False)
        await asking
        line.swallowed = 0
    stack.model.open_gate("swallowed")
    await check_answer(client, question)
    assert client.counts.connections > 3


@on_the_first_variant
async def test_a_device_whose_connection_leads_nowhere_goes_on_at_another_server(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=300, pause=0.01, gate="elsewhere", after=250)
    await client.text_of(question.thread, question.run, 100)
    stack.web[0].clients.swallow(True)
    await until(lambda: stack.web[0].clients.swallowed, "something to be lost")
    client.url = stack.web[1].url
    before = question.held_by(client)
    await client.reconnect()
    await client.caught_up(question.thread)
    assert question.held_by(client).startswith(before)
    stack.model.open_gate("elsewhere")
    await check_answer(client, question)
    assert client.counts.full_texts == 0, "only what was missing came"


@on_the_first_variant
async def test_a_slow_network_delays_and_changes_nothing(stack: Stack, client: Client) -> None:
    stack.web[0].clients.delay = 0.05
    await check_answer(client, await ask(client, chunks=200, pause=0.002, reasoning=10, seed="slow"))


# ---------------------------------------------------------------------------------------------------- slow readers

LONG = {"chunks": 400, "huge": 1_500_000, "size": 10_000, "pause": 0.005}
"""An answer of 1.5 million characters."""


@on_each_variant
async def test_a_client_that_stops_reading_holds_up_nobody_and_then_gets_the_rest(stack: Stack, client: Client) -> None:
    question = await ask(client, **LONG, gate="slow", after=10)
    async with Client(stack.url, client.session) as slow:
        await slow.follow(question.thread)
        await slow.text_of(question.thread, question.run)
        before = slow.counts.bytes
        slow.stop_reading()
        stack.model.open_gate("slow")
        await check_answer(client, question)
        assert slow.counts.bytes - before < 500_000, "it did not read, but for what was there already"
        assert slow.counts.connections == 1
        slow.go_on_reading()
        await check_answer(slow, question)
        await check_fresh(slow, question.thread)
        assert slow.counts.connections == 1


@on_each_variant
async def test_a_client_that_answers_no_heartbeat_is_sent_little_and_asks_for_the_rest_later(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, **LONG, gate="silent", after=10)
    async with Client(stack.url, client.session, answers=False) as silent:
        await silent.follow(question.thread)
        await silent.text_of(question.thread, question.run)
        stack.model.open_gate("silent")
        await check_answer(client, question)
        assert silent.counts.heartbeats == 4
        assert silent.counts.bytes < 4 * (HEARTBEAT_BYTES + MAX_FRAME), "each heartbeat is due within a frame"
        assert not silent.thread(question.thread).has_ended(question.run)
        held = question.held_by(silent)
        silent.answers = True
        await silent.reconnect()
        await silent.caught_up(question.thread)
        assert question.held_by(silent).startswith(held)
        await check_answer(silent, question)


# ----------------------------------------------------------------------------------------------------------- model

ODD = [
    {"chunks": 60, "nul": True, "reasoning": 10, "crlf": True, "pieces": 3},
    {"chunks": 60, "surrogates": True, "ascii": True, "comments": True},
    {"chunks": 60, "size": 1, "tight": True, "extras": True, "reasoning": 10, "reasoning_field": "reasoning"},
]
FAULTS = [
    {"chunks": 60, "after": 30, "cut": "rst"},
    {"chunks": 60, "after": 30, "cut": "fin", "reasoning": 5},
    {"chunks": 60, "after": 30, "error": {"message": "Overloaded", "code": 503}},
]


@on_the_first_variant
async def test_whatever_the_models_stream_looks_like_its_text_arrives_over_refreshes(
    stack: Stack, client: Client
) -> None:
    for script in ODD:
        question = await ask(client, **script, pause=0.01, seed="odd")
        for _ in range(4):
            before = question.held_by(client)
            await client.refresh()
            await client.caught_up(question.thread)
            assert question.held_by(client).startswith(before)
        await check_answer(client, question)


@on_the_first_variant
async def test_an_answer_that_the_model_breaks_off_is_kept_as_far_as_it_was_said(stack: Stack, client: Client) -> None:
    for script in FAULTS:
        question = await ask(client, **script, seed="fault")
        await check_answer(client, question, "failed", text=question.said)
