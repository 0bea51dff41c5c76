"""A stop, by its full rule, on real deployments: what was seen is kept by everybody, whatever is away meanwhile."""

from __future__ import annotations

import asyncio
import html
import urllib.request
from typing import Any

import pytest

from chat.errors import Conflict
from tests.client import Client, until
from tests.processes.asking import Question, ask, check_answer, check_fresh, prompt_of, who_runs
from tests.processes.conftest import QUICK, Share
from tests.servers.stack import Stack

VARIANTS = ("postgres+redis+uvicorn", "sqlite+embedded+daphne")
on_each_variant = pytest.mark.parametrize("shared", VARIANTS, indirect=True)
on_the_first_variant = pytest.mark.parametrize("shared", VARIANTS[:1], indirect=True)
on_the_last_variant = pytest.mark.parametrize("shared", VARIANTS[-1:], indirect=True)

MIXED = "Zoe\u0308 e\u0301te\u0301 👩\u200d🚀 \U0001d4b3 🇯🇵 हिन्दी 👍🏽, and more that nobody saw."
INSIDE = {"an accent": "Zoe", "a family": "👩\u200d", "a flag": "🇯", "a letter": "\U0001d4b3", "a colour": "👍"}


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    return share(request.param, workers=2, settings=QUICK)


async def ask_endless(client: Client, thread: str = "", **script: Any) -> Question:
    """An answer of which all that the model says before it falls silent for ever has come."""
    question = await ask(client, thread, **{"chunks": 60, "gate": "never", "after": 40, **script})
    await client.text_of(question.thread, question.run, len(question.said))
    assert question.held_by(client) == question.said
    return question


def answer_of(client: Client, question: Question) -> str:
    [answer] = client.thread(question.thread).answers(question.run)
    return str(answer.row["id"])


def seen(client: Client, question: Question, characters: int) -> dict[str, int]:
    return {answer_of(client, question): characters}


def in_admin(stack: Stack, message: str, session: str) -> str:
    """A message's page in the admin."""
    request = urllib.request.Request(f"{stack.url}/admin/chat/message/{message}/change/")
    request.add_header("Cookie", f"sessionid={session}")
    with urllib.request.urlopen(request, timeout=30) as response:
        return html.unescape(response.read().decode())


@on_each_variant
async def test_a_cut_inside_emoji_and_accents_is_the_same_for_the_database_all_devices_the_admin_and_the_model(
    stack: Stack, client: Client, other: Client
) -> None:
    thread = await client.create()
    for device in (client, other):
        await device.follow(thread)
    texts = {}
    for inside in INSIDE.values():
        question = await ask_endless(client, thread, text=MIXED, size=1, after=len(MIXED) - 3)
        text = MIXED[: MIXED.index(inside) + len(inside)]
        await client.stop(thread, question.run, seen=seen(client, question, len(text)))
        for device in (client, other):
            await check_answer(device, question, "stopped", text=text)
        texts[answer_of(client, question)] = text
    last = await ask(other, thread, chunks=3, seed="last")
    for device in (client, other):
        await check_answer(device, last)
    assert prompt_of(stack, last)[1::2] == list(texts.values())
    rows = await asyncio.to_thread(stack.rows, thread)
    assert rows == client.transcript(thread) == other.transcript(thread)
    staff = await asyncio.to_thread(stack.sign_in, "staff", staff=True)
    for message, text in texts.items():
        assert rows[message] == (text, "", "cut", 0)
        assert f">{text}<" in await asyncio.to_thread(in_admin, stack, message, staff)
    await check_fresh(client, thread)


@on_each_variant
async def test_a_stop_closes_the_models_connection_and_records_what_was_used_by_then(
    stack: Stack, client: Client
) -> None:
    question = await ask_endless(client, usage="each", seed="used")
    await client.stop(question.thread, question.run)
    await asyncio.to_thread(stack.model.await_event, 0, "closed")
    await check_answer(client, question, "stopped", text=question.said)
    run = client.thread(question.thread).runs[question.run]
    assert (run["tokens_in"], run["tokens_out"]) == (7, 40)
    [request] = stack.model.requests()
    assert request["sent"] == 40, "nothing more was paid for"


@on_each_variant
async def test_an_answer_that_is_stopped_in_full_flow_ends_there_and_so_does_the_models(
    stack: Stack, client: Client, other: Client
) -> None:
    question = await ask(client, chunks=30_000, pause=0.003, seed="flow")
    await other.follow(question.thread)
    await client.text_of(question.thread, question.run, 500)
    kept = await client.stop(question.thread, question.run)
    text = question.text[: kept[answer_of(client, question)]]
    for device in (client, other):
        await check_answer(device, question, "stopped", text=text)
    await asyncio.to_thread(stack.model.await_event, 0, "closed")
    next_one = await ask(client, question.thread, chunks=3, seed="next")
    await check_answer(client, next_one)
    assert prompt_of(stack, next_one)[1] == text
    await check_fresh(client, question.thread)


@on_each_variant
async def test_of_stops_by_two_devices_and_of_two_by_one_the_first_wins_and_all_are_answered(
    stack: Stack, client: Client, other: Client
) -> None:
    question = await ask_endless(client, seed="twice")
    await other.follow(question.thread)
    await other.text_of(question.thread, question.run, len(question.said))
    await asyncio.gather(
        client.stop(question.thread, question.run, seen=seen(client, question, 50)),
        client.stop(question.thread, question.run, seen=seen(client, question, 10)),
        other.stop(question.thread, question.run, seen=seen(client, question, 90)),
    )
    await client.ended(question.thread, question.run)
    kept = len(question.held_by(client))
    assert kept in (50, 90), "not the later one of the same device"
    await client.stop(question.thread, question.run, seen=seen(client, question, 5))
    for device in (client, other):
        await check_answer(device, question, "stopped", text=question.text[:kept])
    await check_fresh(client, question.thread)


@on_each_variant
async def test_a_device_that_has_not_opened_the_chat_may_stop_it_too_and_is_told_what_that_changed(
    stack: Stack, client: Client, other: Client
) -> None:
    question = await ask_endless(client, seed="elsewhere")
    await other.do("stop", thread=question.thread, run=question.run)
    await check_answer(client, question, "stopped", text=question.said)
    cut = await other.do("stop", thread=question.thread, run=question.run, seen={}, cursor="1")
    [run] = cut["change"]["runs"]
    assert (run["id"], run["state"]) == (question.run, "stopped")
    assert await asyncio.to_thread(stack.rows, question.thread) == client.transcript(question.thread)


@on_each_variant
async def test_a_stop_after_the_end_still_cuts_on_every_device_and_in_the_prompt(
    stack: Stack, client: Client, other: Client
) -> None:
    question = await ask(client, chunks=30, seed="late")
    await other.follow(question.thread)
    for device in (client, other):
        await check_answer(device, question)
    await other.stop(question.thread, question.run, seen=seen(client, question, 20))
    next_one = await ask(client, question.thread, chunks=3, seed="next")
    for device in (client, other):
        await check_answer(device, question, "stopped", text=question.text[:20])
        await check_answer(device, next_one)
    assert prompt_of(stack, next_one)[1] == question.text[:20]
    await check_fresh(client, question.thread)


# ---------------------------------------------------------------------------------------------------------- offline


@on_each_variant
async def test_a_stop_made_offline_is_done_on_coming_back_though_the_model_went_on_meanwhile(
    stack: Stack, client: Client, other: Client
) -> None:
    question = await ask(client, chunks=60, gate="meanwhile", after=30, seed="offline")
    await other.follow(question.thread)
    await client.text_of(question.thread, question.run, len(question.text[:100]))
    await client.disconnect()
    held = question.held_by(client)
    stopping = asyncio.create_task(client.stop(question.thread, question.run))
    stack.model.open_gate("meanwhile")
    await check_answer(other, question)
    await client.connect()
    await stopping
    for device in (client, other):
        await check_answer(device, question, "stopped", text=held)
    next_one = await ask(other, question.thread, chunks=3, seed="next")
    await check_answer(client, next_one)
    assert prompt_of(stack, next_one)[1] == held
    await check_fresh(client, question.thread)


@on_each_variant
async def test_a_stop_made_offline_is_a_conflict_once_the_chat_has_gone_on_and_the_whole_text_is_shown(
    stack: Stack, client: Client, other: Client
) -> None:
    question = await ask(client, chunks=60, gate="went on", after=30, seed="conflict")
    await other.follow(question.thread)
    await client.text_of(question.thread, question.run, len(question.text[:100]))
    await client.disconnect()
    stopping = asyncio.create_task(client.stop(question.thread, question.run))
    stack.model.open_gate("went on")
    await check_answer(other, question)
    next_one = await ask(other, question.thread, chunks=3, seed="next")
    await check_answer(other, next_one)
    await client.connect()
    with pytest.raises(Conflict):
        await stopping
    for device in (client, other):
        await check_answer(device, question)
    assert prompt_of(stack, next_one)[1] == question.text
    await check_fresh(client, question.thread)


# ------------------------------------------------------------------------------------------------ with something away


@on_the_first_variant
async def test_a_stop_while_its_worker_is_dead_cuts_what_that_worker_left(
    stack: Stack, client: Client, other: Client
) -> None:
    question = await ask_endless(client, seed="dead")
    await other.follow(question.thread)
    for worker in stack.workers:
        worker.kill()
    text = question.said[:70]
    await client.stop(question.thread, question.run, seen=seen(client, question, len(text)))
    for device in (client, other):
        await check_answer(device, question, "stopped", text=text)
    next_one = await ask(client, question.thread, chunks=3, seed="next")
    await asyncio.to_thread(stack.workers[0].start)
    await check_answer(client, next_one)
    assert prompt_of(stack, next_one)[1] == text
    await check_fresh(client, question.thread)


@on_the_last_variant
async def test_a_stop_said_to_a_server_that_was_killed_is_done_when_it_is_back(stack: Stack, client: Client) -> None:
    question = await ask_endless(client, seed="killed")
    pk = answer_of(client, question)
    # So it is once the model has been silent for a moment: then it survives worker and log dying together.
    await until(lambda: stack.rows(question.thread)[pk][0] == question.said, "the checkpoint")
    stack.web[0].kill()
    stopping = asyncio.create_task(client.stop(question.thread, question.run, seen={pk: 70}))
    await asyncio.to_thread(stack.web[0].start)
    await stopping
    await check_answer(client, question, "stopped", text=question.said[:70])
    next_one = await ask(client, question.thread, chunks=3, seed="next")
    await check_answer(client, next_one)
    assert prompt_of(stack, next_one)[1] == question.said[:70]
    await check_fresh(client, question.thread)


@on_the_first_variant
@pytest.mark.parametrize("how", ["dead", "silent"])
async def test_a_stop_while_redis_is_away_ends_the_answer_and_the_models_at_once(
    stack: Stack, client: Client, other: Client, how: str
) -> None:
    assert stack.redis is not None
    question = await ask_endless(client, seed=f"redis {how}")
    await other.follow(question.thread)
    if how == "dead":
        stack.redis.kill()
    else:
        stack.redis.stop_process()
    text = question.said[:70]
    await client.stop(question.thread, question.run, seen=seen(client, question, len(text)))
    await asyncio.to_thread(stack.model.await_event, 0, "closed")
    for device in (client, other):
        await check_answer(device, question, "stopped", text=text)
    if how == "dead":
        await asyncio.to_thread(stack.redis.start)
    else:
        stack.redis.continue_process()
    next_one = await ask(other, question.thread, chunks=3, seed="next")
    await check_answer(client, next_one)
    assert prompt_of(stack, next_one)[1] == text
    await check_fresh(client, question.thread)


@on_the_first_variant
async def test_a_stop_that_was_recorded_before_everything_crashed_is_what_holds_afterwards(
    stack: Stack, client: Client
) -> None:
    assert stack.redis is not None
    question = await ask_endless(client, seed="crash")
    worker = who_runs(stack, question.run)
    worker.stop_process()  # so that nobody can act on it before the crash
    await client.stop(question.thread, question.run, seen=seen(client, question, 70))
    for process in (*stack.workers, *stack.web):
        process.kill()
    for process in (*stack.workers, *stack.web):
        process.launch()
    for process in (*stack.workers, *stack.web):
        await asyncio.to_thread(process.await_ready)
    await check_answer(client, question, "stopped", text=question.said[:70])
    assert (await asyncio.to_thread(stack.rows, question.thread)) == client.transcript(question.thread)
