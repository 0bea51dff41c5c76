"""A second question while an answer runs: the server keeps the queue, in order, over anything that restarts."""

from __future__ import annotations

import asyncio

import pytest

from tests.client import Client, until
from tests.processes.asking import Question, ask, check_answer, check_fresh, prompt_of
from tests.processes.conftest import QUICK, Share
from tests.servers.stack import Stack

VARIANTS = ("postgres+redis+uvicorn", "sqlite+embedded+daphne")


@pytest.fixture(scope="module", params=VARIANTS)
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    return share(request.param, workers=2, settings=QUICK)


async def ask_three(client: Client, other: Client, *, gate: str) -> list[Question]:
    """One answer runs and waits at the gate; two questions wait for it. Both devices follow."""
    first = await ask(client, chunks=60, gate=gate, after=30, seed="first")
    await other.follow(first.thread)
    await client.text_of(first.thread, first.run, len(first.text[:100]))
    waiting = [
        await ask(device, first.thread, chunks=10, seed=device_name)
        for device, device_name in (
            (client, "second"),
            (other, "third"),
        )
    ]
    return [first, *waiting]


def queue(client: Client, thread: str) -> list[str]:
    """The messages that wait, in their order."""
    runs = [run for run in client.thread(thread).runs.values() if run["state"] == "queued"]
    return [run["prompt"] for run in sorted(runs, key=lambda run: run["place"])]


async def test_what_waits_is_asked_in_its_order_each_with_the_finished_answers_before_it(
    stack: Stack, client: Client, other: Client
) -> None:
    first, second, third = await ask_three(client, other, gate="order")
    thread = first.thread
    for device in (client, other):
        await device.wait_until(lambda device=device: len(queue(device, thread)) == 2, "both to wait")
        assert queue(device, thread) == [second.message, third.message]
        assert device.transcript(thread)[second.message][2] == "queued"
    assert len(stack.model.requests()) == 1
    stack.model.open_gate("order")
    for question in (first, second, third):
        for device in (client, other):
            await check_answer(device, question)
    assert prompt_of(stack, second)[1] == first.text
    assert prompt_of(stack, third)[1::2] == [first.text, second.text]
    await check_fresh(client, thread)


async def test_a_stop_ends_what_runs_and_what_waits_is_asked_then(stack: Stack, client: Client, other: Client) -> None:
    first, second, third = await ask_three(client, other, gate="stopped")
    [answer] = client.thread(first.thread).answers(first.run)
    await client.stop(first.thread, first.run, seen={answer.row["id"]: 30})
    for device in (client, other):
        await check_answer(device, first, "stopped", text=first.text[:30])
        await check_answer(device, second)
        await check_answer(device, third)
    assert prompt_of(stack, third)[1::2] == [first.text[:30], second.text]
    await asyncio.to_thread(stack.model.await_event, 0, "closed")
    await check_fresh(client, first.thread)


async def test_a_question_that_is_taken_back_gives_its_text_back_on_all_devices_and_is_never_asked(
    stack: Stack, client: Client, other: Client
) -> None:
    first, second, third = await ask_three(client, other, gate="taken back")
    asked = client.transcript(first.thread)[second.message][0]
    await other.stop(first.thread, second.run, seen={})
    for device in (client, other):
        await device.ended(first.thread, second.run)
        assert device.transcript(first.thread)[second.message] == (asked, "", "unqueued", 0)
        assert device.thread(first.thread).runs[second.run]["state"] == "stopped"
        await device.wait_until(
            lambda device=device: queue(device, first.thread) == [third.message], "the third to wait"
        )
    stack.model.open_gate("taken back")
    for device in (client, other):
        await check_answer(device, first)
        await check_answer(device, third)
    assert prompt_of(stack, third)[1::2] == [first.text]
    assert len(stack.model.requests()) == 2
    await check_fresh(client, first.thread)


async def test_the_queue_survives_a_restart_of_everything(stack: Stack, client: Client, other: Client) -> None:
    first, second, third = await ask_three(client, other, gate="never")
    for device in (client, other):
        await device.text_of(first.thread, first.run, len(first.said))
    [answer] = client.thread(first.thread).answers(first.run)
    # So it is when the model has been silent for a moment; text that only worker and log have may die with both.
    await until(lambda: stack.rows(first.thread)[answer.row["id"]][0] == first.said, "the checkpoint")
    for process in (*stack.workers, *stack.web):
        process.kill()
    if stack.redis is not None:
        await asyncio.to_thread(stack.redis.restart_empty)
    for web in stack.web:
        await asyncio.to_thread(web.start)
    for device in (client, other):
        await device.caught_up(first.thread)
        if stack.workers:  # where the server is the worker, it went on at once
            assert queue(device, first.thread) == [second.message, third.message]
    for worker in stack.workers:
        await asyncio.to_thread(worker.start)
    for device in (client, other):
        await check_answer(device, first, "interrupted", text=first.said)
        await check_answer(device, second)
        await check_answer(device, third)
    assert prompt_of(stack, third)[1::2] == [first.said, second.text]
    await check_fresh(client, first.thread)
    await check_fresh(other, first.thread)
