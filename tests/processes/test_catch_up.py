"""However long a device was away, and wherever it was cut off, it ends where the others are."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from chat.protocol import WINDOW, Cursor
from tests.client import Client
from tests.processes.asking import ask, check_answer, check_fresh, prompt_of
from tests.processes.conftest import Share
from tests.servers.stack import Stack

VARIANTS = ("postgres+redis+uvicorn", "sqlite+embedded+daphne")


@pytest.fixture(scope="module", params=VARIANTS)
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    return share(request.param, webs=1 if "embedded" in request.param else 2)


# ----------------------------------------------------------------------------------------------------- an idle device


async def test_an_idle_device_sees_a_turn_begin_stream_and_end_without_doing_anything(
    stack: Stack, client: Client, other: Client
) -> None:
    thread = await client.create()
    await client.follow(thread)
    await other.follow_inbox()
    await other.follow(thread)
    question = await ask(client, thread, chunks=60, gate="begin", after=0, seed="idle")
    runs, items = other.thread(thread).runs, other.inbox.items
    await other.wait_until(lambda: question.run in runs and runs[question.run]["state"] == "running", "the begin")
    assert other.transcript(thread)[question.message][2] == "complete"
    await other.wait_until(lambda: items[thread]["status"] == "running", "the sidebar's mark")
    deltas = other.counts.deltas
    stack.model.open_gate("begin")
    await check_answer(other, question)
    assert other.counts.deltas > deltas, "it was seen as it was said"
    await other.wait_until(lambda: items[thread]["status"] == "idle", "the mark to go")
    await check_fresh(other, thread)


async def test_a_chat_that_was_deleted_elsewhere_leaves_every_inbox_also_that_of_who_was_away(
    stack: Stack, client: Client, other: Client
) -> None:
    thread, kept = await client.create(), await client.create()
    await other.follow(thread)
    async with Client(stack.url, client.session) as away:
        for device in (client, other, away):
            await device.follow_inbox()
            assert {thread, kept} <= set(device.inbox.items)
        await away.disconnect()
        await client.do("delete", thread=thread)
        for device in (client, other):
            await device.wait_until(lambda device=device: thread not in device.inbox.items, "the chat to go")
        await other.wait_until(lambda: other.thread(thread).gone, "the chat to be gone")
        await away.connect()
        await away.caught_up_inbox()
        assert set(away.inbox.items) == {kept}
        assert away.counts.resyncs == 0


async def test_all_devices_agree_on_what_is_unread(stack: Stack, client: Client, other: Client) -> None:
    async with Client(stack.url, client.session) as away:
        devices = (client, other, away)
        for device in devices:
            await device.follow_inbox()
        question = await ask(client, chunks=10, seed="unread")
        await check_answer(client, question)

        async def agree(unread: bool, *devices: Client) -> None:
            for device in devices:
                await device.wait_until(
                    lambda device=device: device.inbox.items[question.thread]["unread"] is unread, f"unread {unread}"
                )

        await agree(True, *devices)
        await away.disconnect()
        [answer] = client.thread(question.thread).answers(question.run)
        await client.do("read", thread=question.thread, message=answer.row["id"])
        await agree(False, client, other)
        await away.connect()
        await agree(False, away)
        later = await ask(other, question.thread, chunks=10, seed="later")
        await check_answer(client, later)
        await agree(True, *devices)
        assert client.inbox.items == other.inbox.items == away.inbox.items


# ---------------------------------------------------------------------------------------------------------- cut off


@pytest.mark.parametrize("back", ["in mid-stream", "after the end"])
async def test_a_question_whose_reply_was_lost_is_asked_once_and_its_answer_is_whole(
    stack: Stack, client: Client, back: str
) -> None:
    thread = await client.create()
    await client.follow(thread)
    line = stack.web[0].clients
    async with Client(f"http://127.0.0.1:{stack.web[0].port}", client.session) as other:  # past the line
        await other.follow(thread)
        line.swallow(True, answers=True)
        asking = asyncio.create_task(ask(client, thread, chunks=60, gate=back, after=30, seed=back))
        await asyncio.to_thread(stack.model.await_event, 0, "waiting")
        [run] = await wait_for_run(other, thread)
        await other.text_of(thread, run, 100)
        if back == "after the end":
            stack.model.open_gate(back)
            await other.ended(thread, run)
        assert client.outbox and not client.thread(thread).messages
        line.swallow(False)  # which cuts what has lost something
        question = await asking
        await client.caught_up(thread)
        if back == "in mid-stream":
            await client.text_of(thread, run, 100)
            assert not client.thread(thread).has_ended(run)
            stack.model.open_gate(back)
        for device in (client, other):
            await check_answer(device, question)
        assert len(stack.model.requests()) == 1
        await check_fresh(client, thread)


async def wait_for_run(client: Client, thread: str) -> list[str]:
    """The runs, when there are some."""
    await client.wait_until(lambda: client.thread(thread).runs, "a run")
    return list(client.thread(thread).runs)


async def test_a_device_with_an_old_cursor_that_asks_in_mid_answer_is_told_what_it_missed_and_waits_its_turn(
    stack: Stack, client: Client, other: Client
) -> None:
    first = await ask(client, chunks=10, seed="first")
    await check_answer(client, first)
    await other.follow(first.thread)
    await other.disconnect()
    old = other.thread(first.thread).version
    missed = await ask(client, first.thread, chunks=10, seed="missed")
    await check_answer(client, missed)
    running = await ask(client, first.thread, chunks=60, gate="old", after=30, seed="running")
    await client.text_of(first.thread, running.run, 100)
    asking = asyncio.create_task(ask(other, first.thread, chunks=10, seed="from the old one"))
    await other.connect()
    asked = await asking
    assert other.thread(first.thread).version > old
    assert other.counts.resyncs == 0, "only what it missed"
    await check_answer(other, missed)
    for device in (client, other):
        await device.wait_until(
            lambda device=device: asked.run in device.thread(first.thread).runs, "the question that waits"
        )
        assert device.thread(first.thread).runs[asked.run]["state"] == "queued"
    stack.model.open_gate("old")
    for device in (client, other):
        await check_answer(device, running)
        await check_answer(device, asked)
    assert prompt_of(stack, asked)[1::2] == [first.text, missed.text, running.text]
    await check_fresh(other, first.thread)


async def test_every_command_with_an_old_cursor_brings_what_was_missed_with_its_reply(
    stack: Stack, client: Client, other: Client
) -> None:
    question = await ask(client, chunks=10, seed="old")
    await check_answer(client, question)
    thread, version = question.thread, client.thread(question.thread).version
    [answer] = client.thread(thread).answers(question.run)
    pk = answer.row["id"]
    commands = {
        "read": {"message": pk},
        "stop": {"run": question.run},
        "update": {"title": "later"},
        "send": {"message": str(uuid4()), "run": str(uuid4()), "text": '{"chunks": 1}'},
        "regenerate": {"of": pk, "run": str(uuid4())},
    }
    for kind, fields in commands.items():
        result = await other.do(kind, thread=thread, cursor="1", **fields)
        change = result["change"]
        assert (change["from"], Cursor.parse(change["cursor"]).version) == (1, change["to"])
        assert change["to"] >= version
        texts = {row["id"]: row.get("text") for row in change["messages"]}
        assert texts[pk] == question.text, kind


@pytest.mark.parametrize("shared", VARIANTS[-1:], indirect=True)
async def test_who_was_away_while_sixty_questions_were_answered_has_the_end_of_it_and_can_ask(
    stack: Stack, client: Client, other: Client
) -> None:
    thread = await client.create()
    for device in (client, other):
        await device.follow(thread)
    first = await ask(client, thread, chunks=2, seed="first")
    await check_answer(other, first)
    await other.disconnect()
    questions = [await ask(client, thread, chunks=2, seed=f"{n}") for n in range(20)]
    for n in range(20, 60):
        await client.ended(thread, questions[n - 20].run)
        questions.append(await ask(client, thread, chunks=2, seed=f"{n}"))
    await check_answer(client, questions[-1])
    await other.connect()
    await other.caught_up(thread)
    assert other.counts.resyncs == 1, "the end of it is less than all that happened"
    assert len(other.thread(thread).messages) == WINDOW
    last = await ask(other, thread, chunks=2, seed="last")
    for device in (client, other):
        await check_answer(device, last)
    assert prompt_of(stack, last)[-2] == questions[-1].text
    shown = other.transcript(thread)
    assert shown.items() <= client.transcript(thread).items()
    await check_fresh(client, thread)
