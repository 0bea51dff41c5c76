"""Redis is emptied, gone or silent while answers are being said."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.client import Client
from tests.processes.asking import VARIANTS, ask, check_answer, check_fresh
from tests.processes.conftest import Share
from tests.servers.redis import RedisServer
from tests.servers.stack import Stack

on_each_variant = pytest.mark.parametrize("shared", VARIANTS[:2], indirect=True)
on_the_first_variant = pytest.mark.parametrize("shared", VARIANTS[:1], indirect=True)

BUFFER = 100_000
SETTINGS = {
    "REJOIN_REDIS_TIMEOUT": "1",
    "REJOIN_RENEW": "0.5",
    "REJOIN_COMPARE": "1",
    "REJOIN_SWEEP": "1",
    "REJOIN_RUN_BUFFER": str(BUFFER),
    "REJOIN_CHECKPOINT_BYTES": str(BUFFER // 2),
}


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    return share(request.param, workers=2, settings=SETTINGS)


@pytest.fixture
def redis(stack: Stack) -> RedisServer:
    assert stack.redis is not None
    return stack.redis


@on_each_variant
async def test_viewers_see_every_token_when_redis_restarts_empty_in_mid_answer(
    stack: Stack, redis: RedisServer, client: Client
) -> None:
    question = await ask(client, chunks=800, pause=0.01, gate="emptied", after=790, reasoning=20, seed="empty")
    async with Client(stack.url, client.session) as other:
        await other.follow(question.thread)
        for _ in range(3):
            await client.text_of(question.thread, question.run, len(question.held_by(client)) + 500)
            await asyncio.to_thread(redis.restart_empty)
            await other.refresh()
            await other.caught_up(question.thread)
            question.held_by(other)
        stack.model.open_gate("emptied")
        for device in (client, other):
            await check_answer(device, question)
        assert client.counts.cuts == client.counts.resyncs == 0
        await check_fresh(client, question.thread)


@on_the_first_variant
async def test_the_log_of_a_run_that_is_silent_is_there_again_after_redis_was_emptied(
    stack: Stack, redis: RedisServer, client: Client
) -> None:
    question = await ask(client, chunks=100, gate="silent", after=50, seed="silent")
    said = question.text[: question.text.index("50:")]
    await client.text_of(question.thread, question.run, len(said))
    await asyncio.to_thread(redis.restart_empty)
    async with Client(stack.url, client.session) as other:
        await other.follow(question.thread)
        await other.text_of(question.thread, question.run, len(said))
        assert question.held_by(other) == question.held_by(client) == said
        stack.model.open_gate("silent")
        for device in (client, other):
            await check_answer(device, question)


@on_the_first_variant
async def test_ten_seconds_without_redis_cost_no_token(stack: Stack, redis: RedisServer, client: Client) -> None:
    question = await ask(client, chunks=1500, pause=0.01, gate="back", after=1490, seed="away")
    async with Client(stack.url, client.session) as other:
        await client.text_of(question.thread, question.run, 500)
        redis.kill()
        await other.follow(question.thread)
        until = time.monotonic() + 10
        grown = 0
        while time.monotonic() < until or grown < 2:
            await asyncio.sleep(0.5)
            before = question.held_by(other)
            await other.refresh()
            await other.caught_up(question.thread)
            assert question.held_by(other).startswith(before), "the database has it"
            grown += len(question.held_by(other)) > len(before)
        await asyncio.to_thread(redis.start)
        stack.model.open_gate("back")
        for device in (client, other):
            await check_answer(device, question)
        assert client.counts.cuts == client.counts.resyncs == 0
        await check_fresh(client, question.thread)


@on_the_first_variant
async def test_a_question_is_asked_and_answered_while_there_is_no_redis_at_all(
    stack: Stack, redis: RedisServer, client: Client
) -> None:
    redis.kill()
    question = await ask(client, chunks=100, pause=0.01, reasoning=10, seed="without")
    await check_answer(client, question)
    await check_fresh(client, question.thread)
    endless = await ask(client, question.thread, chunks=100, gate="never", after=50, seed="endless")
    await client.text_of(endless.thread, endless.run, len(endless.said))
    await client.stop(endless.thread, endless.run)
    await check_answer(client, endless, "stopped", text=endless.said)
    await check_fresh(client, question.thread)


@on_the_first_variant
async def test_a_redis_that_falls_silent_and_wakes_up_costs_no_token(
    stack: Stack, redis: RedisServer, client: Client
) -> None:
    question = await ask(client, chunks=800, pause=0.01, gate="awake", after=790, seed="asleep")
    async with Client(stack.url, client.session) as other:
        await client.text_of(question.thread, question.run, 500)
        redis.stop_process()
        await other.follow(question.thread)
        await asyncio.sleep(4)
        redis.continue_process()
        stack.model.open_gate("awake")
        for device in (client, other):
            await check_answer(device, question)
        await check_fresh(client, question.thread)


@on_the_first_variant
async def test_a_worker_cut_off_from_redis_alone_says_the_rest_when_it_is_back(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=600, pause=0.01, gate="line", after=590, seed="line")
    for fault in ("reset", "swallow", "away"):
        await client.text_of(question.thread, question.run, len(question.held_by(client)) + 300)
        for worker in stack.workers:
            if fault == "reset":
                worker.redis.reset()
            elif fault == "swallow":
                worker.redis.swallow(True)
                await asyncio.sleep(2)
                worker.redis.swallow(False)
            else:
                with worker.redis.away():
                    await asyncio.sleep(1)
    stack.model.open_gate("line")
    await check_answer(client, question)
    await check_fresh(client, question.thread)


@on_the_first_variant
async def test_a_worker_without_redis_keeps_so_much_of_an_answer_stops_reading_and_then_goes_on(
    stack: Stack, redis: RedisServer, client: Client
) -> None:
    question = await ask(client, chunks=20, huge=15 * BUFFER, size=1000, gate="flood", after=1, seed="flood")
    await client.text_of(question.thread, question.run)
    redis.kill()
    stack.model.open_gate("flood")
    await client.text_of(question.thread, question.run, BUFFER // 2)  # as checkpoints have it
    await asyncio.sleep(5)
    assert not client.thread(question.thread).has_ended(question.run)
    assert len(question.held_by(client)) < 2 * BUFFER
    await asyncio.to_thread(redis.start)
    await check_answer(client, question)
    await check_fresh(client, question.thread)
