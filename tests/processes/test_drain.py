"""SIGTERM: workers drain, web servers send their clients away, and nobody loses anything.

Leases and sweeps are slower than the tests' patience: what ends or starts again here does so by the signal alone.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.client import Client, until
from tests.processes.asking import ask, check_answer, check_fresh, who_runs
from tests.processes.conftest import Share
from tests.servers.stack import Stack

SLOW = {"REJOIN_LEASE": "300", "REJOIN_SWEEP": "300"}
DRAIN = {"long": "60", "short": "0.5"}

drains_long = pytest.mark.parametrize("shared", ["long"], indirect=True)
drains_short = pytest.mark.parametrize("shared", ["short"], indirect=True)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    settings = {**SLOW, "REJOIN_DRAIN": DRAIN[request.param]}
    return share("postgres+redis+uvicorn", webs=2, workers=2, settings=settings)


@drains_long
async def test_a_worker_that_is_told_to_end_finishes_its_answers_and_begins_no_other(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=100, gate="drained", after=50, seed="drain")
    await client.text_of(question.thread, question.run, 100)
    worker = who_runs(stack, question.run)
    worker.terminate()
    await until(lambda: worker.has_said("action=worker_draining"), "the worker to drain")
    for number in range(3):
        await check_answer(client, await ask(client, chunks=10, seed=f"meanwhile {number}"))
    assert worker.running
    stack.model.open_gate("drained")
    await check_answer(client, question)
    assert await asyncio.to_thread(worker.wait) == 0
    assert sum(worker.log.read_text().count("action=run_claimed") for worker in stack.workers) == 4
    assert worker.log.read_text().count("action=run_claimed") == 1
    await check_fresh(client, question.thread)


@drains_short
async def test_a_worker_whose_time_is_up_leaves_its_answers_interrupted_with_all_that_was_said(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=100, gate="never", after=50, reasoning=10, seed="interrupted")
    await client.text_of(question.thread, question.run, len(question.said))
    worker = who_runs(stack, question.run)
    worker.terminate()
    await check_answer(client, question, "interrupted", text=question.said)
    assert await asyncio.to_thread(worker.wait) == 0
    await check_answer(client, await ask(client, question.thread, chunks=10, seed="next"))
    await check_fresh(client, question.thread)


@drains_short
async def test_a_run_without_a_word_goes_at_once_from_a_worker_that_ends_to_another(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=50, gate="handed on", after=0, seed="hand on")
    await asyncio.to_thread(stack.model.await_event, 0, "waiting")
    worker = who_runs(stack, question.run)
    worker.terminate()
    assert await asyncio.to_thread(worker.wait) == 0
    await asyncio.to_thread(stack.model.await_event, 1, "waiting")
    stack.model.open_gate("handed on")
    await check_answer(client, question)
    await check_fresh(client, question.thread)


@drains_short
async def test_a_web_server_that_is_told_to_end_sends_its_clients_to_another_and_the_answer_goes_on(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=300, pause=0.01, gate="moved", after=290, seed="web")
    await client.text_of(question.thread, question.run, 100)
    stack.web[0].terminate()
    await client.wait_until(lambda: client.closes, "the server's goodbye")
    assert client.closes[0] == 1012
    before = question.held_by(client)
    client.url = stack.web[1].url
    await client.caught_up(question.thread)
    assert question.held_by(client).startswith(before)
    stack.model.open_gate("moved")
    await check_answer(client, question)
    assert client.counts.full_texts == 0, "only what was missing came"
    await check_fresh(client, question.thread)
    await asyncio.to_thread(stack.web[0].wait)


@drains_short
async def test_a_killed_web_server_costs_its_clients_nothing_once_it_is_back(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=400, pause=0.01, gate="restarted", after=390, seed="killed web")
    await client.text_of(question.thread, question.run, 100)
    stack.web[0].kill()
    sending = asyncio.create_task(ask(client, question.thread, chunks=10, seed="sent to nobody"))
    await client.wait_until(lambda: client.closes, "the connection to break")
    await asyncio.to_thread(stack.web[0].start)
    await client.caught_up(question.thread)
    stack.model.open_gate("restarted")
    await check_answer(client, question)
    await check_answer(client, await sending)
    await check_fresh(client, question.thread)
