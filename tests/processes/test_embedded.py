"""The embedded default: worker and run log live and die with the one web process."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import httpx2
import pytest

from chat.tasks import end
from tests.client import Client, guest
from tests.processes.asking import ask, check_answer, check_fresh
from tests.processes.conftest import Share
from tests.servers.process import NotReady
from tests.servers.stack import Stack, Web


@pytest.fixture(scope="module")
def shared(share: Share) -> Stack:
    return share("sqlite+embedded+daphne", settings={"REJOIN_SWEEP": "1"})


async def test_a_server_that_is_told_to_end_keeps_all_that_was_said(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=100, gate="never", after=60, reasoning=10, seed="ends")
    await client.text_of(question.thread, question.run, len(question.said))
    stack.web[0].terminate()
    await client.wait_until(lambda: client.closes, "the server's goodbye")
    assert client.closes[0] == 1000, "daphne can't say 1012"
    await asyncio.to_thread(stack.web[0].wait)
    await asyncio.to_thread(stack.web[0].start)
    await check_answer(client, question, "interrupted", text=question.said)
    await check_answer(client, await ask(client, question.thread, chunks=10, seed="next"))
    await check_fresh(client, question.thread)


async def test_a_server_that_is_told_to_end_does_so_in_the_middle_of_requests(stack: Stack) -> None:
    web = stack.web[0]

    async def ask_again_and_again(http: httpx2.AsyncClient) -> None:
        while True:
            with suppress(httpx2.TransportError):
                await http.get(f"{stack.url}/healthz")
            await asyncio.sleep(0)

    async with httpx2.AsyncClient(trust_env=False) as http:
        asking = [asyncio.create_task(ask_again_and_again(http)) for _ in range(16)]
        for _ in range(3):
            web.terminate()
            assert await asyncio.to_thread(web.wait) == 0
            await asyncio.to_thread(web.start)
        await end(asking)


async def test_a_server_in_the_background_does_not_hear_what_ends_the_foreground(stack: Stack) -> None:
    web = stack.web[0]
    web.kill()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it runs with "&"
    try:
        web.launch()
    finally:
        signal.signal(signal.SIGINT, before)
    await asyncio.to_thread(web.await_ready)
    async with Client(stack.url, await guest(stack.url)) as client:
        question = await ask(client, chunks=60, gate="on", after=30, seed="background")
        await client.text_of(question.thread, question.run, 100)
        web.signal(signal.SIGINT)
        stack.model.open_gate("on")
        await check_answer(client, question)
        await check_answer(client, await ask(client, question.thread, chunks=10, seed="next"))
        assert client.closes == []


async def test_a_question_without_a_word_of_answer_is_asked_again_after_a_restart(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=50, gate="again", after=0, seed="again")
    await asyncio.to_thread(stack.model.await_event, 0, "waiting")
    stack.web[0].terminate()
    await asyncio.to_thread(stack.web[0].wait)
    await asyncio.to_thread(stack.web[0].start)
    await asyncio.to_thread(stack.model.await_event, 1, "waiting")
    stack.model.open_gate("again")
    await check_answer(client, question)
    await check_fresh(client, question.thread)


async def test_a_killed_server_loses_no_more_than_what_came_after_the_last_checkpoint(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=3000, pause=0.002, seed="killed")
    await client.text_of(question.thread, question.run, 10_000)
    stack.web[0].kill()
    await asyncio.to_thread(stack.web[0].start)
    await client.caught_up(question.thread)
    await client.ended(question.thread, question.run)
    text = question.held_by(client)
    assert len(text) >= 2048, "a checkpoint is due at 2 kB"
    await check_answer(client, question, "interrupted", text=text)
    await check_fresh(client, question.thread)
    await check_answer(client, await ask(client, question.thread, chunks=10, seed="next"))


async def test_a_second_server_refuses_to_start(stack: Stack, client: Client) -> None:
    second = Web(stack, "second", "daphne")
    try:
        with pytest.raises(NotReady, match="Rejoin is running here already"):
            await asyncio.to_thread(second.start)
    finally:
        second.end()
    await check_answer(client, await ask(client, chunks=10, seed="the first is well"))
