"""The database is away, at the worst moment: what was said is kept meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from tests.client import Client, until
from tests.processes.asking import ask, check_answer, check_fresh, who_runs
from tests.processes.conftest import Share
from tests.servers.stack import Stack

LEASE = 3


SERVERS = ("postgres+redis+uvicorn", "postgres+redis+daphne")
on_each_server = pytest.mark.parametrize("shared", SERVERS, indirect=True)
on_the_first_server = pytest.mark.parametrize("shared", SERVERS[:1], indirect=True)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    settings = {"LEASE": str(LEASE), "RENEW": "0.5", "SWEEP": "0.5", "COMPARE": "1", "REDIS_TIMEOUT": "1"}
    settings = {f"REJOIN_{name}": value for name, value in settings.items()}
    return share(request.param, workers=2, settings=settings)


@on_the_first_server
@pytest.mark.parametrize("seconds", [0, LEASE + 2], ids=["for a moment", "longer than a lease"])
async def test_an_answer_is_read_to_its_end_and_completed_though_the_database_is_away_at_the_final_commit(
    stack: Stack, client: Client, seconds: float
) -> None:
    question = await ask(client, chunks=100, gate="last", after=90, reasoning=10, seed="final")
    await client.text_of(question.thread, question.run, 500)
    worker = who_runs(stack, question.run)
    with stack.no_database():
        stack.model.open_gate("last")
        await client.text_of(question.thread, question.run, len(question.text))
        await until(lambda: worker.has_said("action=database_away"), "the final commit to fail")
        assert not client.thread(question.thread).has_ended(question.run)
        await asyncio.sleep(seconds)
    await check_answer(client, question)
    await check_answer(client, await ask(client, question.thread, chunks=10, seed="next"))
    await check_fresh(client, question.thread)


@on_the_first_server
async def test_an_answer_goes_on_while_the_database_is_away_for_a_moment(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=400, pause=0.005, gate="moment", after=390, seed="moment")
    await client.text_of(question.thread, question.run, 300)
    with stack.no_database():
        await client.text_of(question.thread, question.run, len(question.held_by(client)) + 300)
    stack.model.open_gate("moment")
    await check_answer(client, question)
    await check_fresh(client, question.thread)


@on_each_server
async def test_who_comes_while_the_database_is_away_is_let_in_when_it_is_back(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=50, seed="known")
    await check_answer(client, question)
    with stack.no_database():
        refreshing = asyncio.create_task(client.refresh())
        # What it is asked: to try later (daphne can't say so).
        await client.wait_until(lambda: {1013, 1000} & set(client.closes), "to be sent away")
    await refreshing
    await client.caught_up(question.thread)
    await check_answer(client, question)
    await check_answer(client, await ask(client, question.thread, chunks=10, seed="next"))


@on_the_first_server
async def test_a_database_that_is_killed_in_mid_answer_and_recovers_costs_no_token(
    stack: Stack, client: Client
) -> None:
    assert stack.postgres is not None
    question = await ask(client, chunks=600, pause=0.005, gate="recovered", after=590, seed="crash")
    await client.text_of(question.thread, question.run, 500)
    await asyncio.to_thread(stack.postgres.kill)
    await asyncio.to_thread(stack.postgres.start)
    stack.model.open_gate("recovered")
    await check_answer(client, question)
    await check_fresh(client, question.thread)
