"""Workers die, stall and end; answers go on, start again, or are kept as far as they were said."""

from __future__ import annotations

import asyncio

import pytest

from tests.client import Client, until
from tests.processes.asking import VARIANTS, ask, check_answer, check_fresh, find, who_runs
from tests.processes.conftest import QUICK, Share
from tests.servers.stack import Stack

on_each_variant = pytest.mark.parametrize("shared", VARIANTS[:2], indirect=True)
on_the_first_variant = pytest.mark.parametrize("shared", VARIANTS[:1], indirect=True)


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    return share(request.param, workers=2, settings=QUICK)


@on_each_variant
async def test_a_run_whose_worker_is_killed_before_its_first_part_is_answered_by_another(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=50, gate="first", after=0, seed="before")
    await asyncio.to_thread(stack.model.await_event, 0, "waiting")
    who_runs(stack, question.run).kill()
    await asyncio.to_thread(stack.model.await_event, 1, "waiting")
    stack.model.open_gate("first")
    await check_answer(client, question)
    await check_fresh(client, question.thread)
    assert [request["state"] for request in stack.model.requests()] == ["closed", "done"]


@on_each_variant
async def test_a_run_whose_worker_is_killed_after_its_first_part_ends_there_and_the_chat_goes_on(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=100, gate="never", after=60, reasoning=10, seed="after")
    await client.text_of(question.thread, question.run, len(question.said))
    who_runs(stack, question.run).kill()
    next_one = await ask(client, question.thread, chunks=20, seed="next")
    await check_answer(client, question, "interrupted", text=question.said)
    assert client.thread(question.thread).runs[question.run]["error"]["code"] == "worker_lost"
    await check_answer(client, next_one)
    await check_fresh(client, question.thread)
    prompt = stack.model.requests()[1]["messages"]
    assert [turn["content"] for turn in prompt if turn["role"] == "assistant"] == [question.said]


@on_the_first_variant
async def test_a_run_whose_worker_is_killed_in_the_middle_of_a_stream_keeps_what_everybody_saw(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=3000, pause=0.002, seed="middle")
    async with Client(stack.url, client.session) as other:
        await other.follow(question.thread)
        await client.text_of(question.thread, question.run, 3000)
        who_runs(stack, question.run).kill()
        await client.ended(question.thread, question.run)
        text = question.held_by(client)
        assert len(text) >= 3000
        for device in (client, other):
            await check_answer(device, question, "interrupted", text=text)
            assert device.counts.cuts == 0, "nothing that was on a screen went away"
        await check_fresh(client, question.thread)


@on_the_first_variant
async def test_an_answer_that_was_said_to_its_end_is_completed_though_its_worker_died_before_the_final_commit(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=60, gate="last", after=50, seed="last")
    await client.text_of(question.thread, question.run, 100)
    worker = who_runs(stack, question.run)
    with worker.database.away():
        stack.model.open_gate("last")
        await client.text_of(question.thread, question.run, len(question.text))
        await until(lambda: worker.has_said("action=database_away"), "the final commit to fail")
        worker.kill()
    await check_answer(client, question)
    await check_fresh(client, question.thread)


@on_the_first_variant
async def test_a_worker_that_stalls_past_its_lease_writes_nothing_more_when_it_is_back(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=100, gate="stalled", after=50, seed="stalled")
    await client.text_of(question.thread, question.run, len(question.said[:100]))
    worker = who_runs(stack, question.run)
    worker.stop_process()
    stack.model.open_gate("stalled")
    await asyncio.to_thread(stack.model.await_event, 0, "done")  # the rest lies in the worker's socket
    await client.ended(question.thread, question.run)
    text = question.held_by(client)
    await check_answer(client, await ask(client, question.thread, chunks=20, seed="by the other"))
    next(other for other in stack.workers if other is not worker).kill()
    worker.continue_process()
    await check_answer(client, await ask(client, question.thread, chunks=20, seed="by the one that is back"))
    await check_answer(client, question, "interrupted", text=text)
    await check_fresh(client, question.thread)


@on_the_first_variant
async def test_a_question_without_any_worker_waits_says_so_and_is_answered_by_the_next_worker(
    stack: Stack, client: Client
) -> None:
    for worker in stack.workers:
        worker.kill()
    question = await ask(client, chunks=20, seed="alone")
    runs = client.thread(question.thread).runs
    await client.wait_until(lambda: runs[question.run]["error"], "the mark that there is no worker")
    assert (runs[question.run]["state"], runs[question.run]["error"]["code"]) == ("queued", "no_worker")
    await asyncio.to_thread(stack.workers[0].start)
    await check_answer(client, question)
    assert client.thread(question.thread).runs[question.run]["error"] is None


@on_the_first_variant
async def test_a_run_that_loses_each_of_its_workers_before_a_word_ends_after_three(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=20, gate="never", seed="unlucky")
    for attempt in range(3):
        await asyncio.to_thread(stack.model.await_event, attempt, "waiting")
        worker = find(stack, f"action=run_claimed run={question.run} thread={question.thread} lease={2 * attempt + 1}")
        await asyncio.to_thread(worker.restart)
    run = await client.ended(question.thread, question.run)
    assert (run["state"], run["error"]["code"]) == ("interrupted", "worker_lost")
    assert len(stack.model.requests()) == 3
    await check_answer(client, await ask(client, question.thread, chunks=5, seed="better"))
