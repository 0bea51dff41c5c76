"""Hints are hints: lost, doubled, late or out of order, they change nothing of what arrives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.client import Client
from tests.processes.asking import VARIANTS, ask, check_answer, check_fresh
from tests.processes.conftest import Share
from tests.servers.stack import Stack

NEVER = {"REJOIN_COMPARE": "600", "REJOIN_SWEEP": "600", "REJOIN_RENEW": "300", "REJOIN_LEASE": "600"}
"""What would heal a lost hint is slower than a test's patience."""
OFTEN = {"REJOIN_COMPARE": "0.5", "REJOIN_SWEEP": "0.5"}
ALL = {"delta": 1.0, "changed": 1.0, "look": 1.0, "stop": 1.0}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "whole": {**NEVER, "LOSSY": {}},
    "lossy": {
        **NEVER,
        "LOSSY": {"drop": {"delta": 0.3}, "double": {"delta": 0.5, "changed": 0.7, "look": 0.7}, "late": 0.05},
    },
    "deaf": {**OFTEN, "LOSSY": {"drop": ALL}},
}


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    settings = {**SETTINGS[request.param], "REJOIN_CHANNEL_LAYER": "tests.servers.lossy.LossyLayer"}
    return share(VARIANTS[0], webs=2, settings={**settings, "LOSSY": json.dumps(settings["LOSSY"])})


async def ask_and_stop(stack: Stack, client: Client) -> None:
    """Two answers at a time, seen by two devices, one to its end and one until it is stopped."""
    async with Client(stack.web[1].url, client.session) as other:
        question = await ask(client, chunks=400, pause=0.005, reasoning=20, seed="hints")
        await other.follow(question.thread)
        endless = await ask(client, chunks=100, gate="never", after=50, seed="endless")
        await other.follow(endless.thread)
        for device in (client, other):
            await device.text_of(endless.thread, endless.run, len(endless.said))
        await client.stop(endless.thread, endless.run)
        for device in (client, other):
            await check_answer(device, endless, "stopped", text=endless.said)
            await check_answer(device, question)
            await check_fresh(device, question.thread)
            await check_fresh(device, endless.thread)


@pytest.mark.parametrize("shared", ["whole"], indirect=True)
async def test_hints_alone_bring_everything_while_nothing_is_compared_or_swept(stack: Stack, client: Client) -> None:
    await ask_and_stop(stack, client)
    assert client.counts.deltas > 100, "live, and not by reading again"


@pytest.mark.parametrize("shared", ["lossy"], indirect=True)
async def test_hints_that_get_lost_come_twice_late_and_out_of_order_lose_and_double_nothing(
    stack: Stack, client: Client
) -> None:
    await ask_and_stop(stack, client)
    for web in stack.web:
        for what in ("delta dropped", "delta doubled", "changed doubled"):
            assert web.has_said(what)


@pytest.mark.parametrize("shared", ["deaf"], indirect=True)
async def test_without_a_single_hint_everything_comes_by_comparison_and_sweep(stack: Stack, client: Client) -> None:
    await ask_and_stop(stack, client)
    for web in stack.web:
        for what in ("delta dropped", "changed dropped"):
            assert web.has_said(what)
    for what in ("look dropped", "stop dropped"):
        assert stack.workers[0].has_said(what)


@pytest.mark.parametrize("shared", ["deaf"], indirect=True)
async def test_the_last_hint_of_a_quiet_chat_may_get_lost_too(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=30, seed="first")
    await check_answer(client, question)
    async with Client(stack.web[1].url, client.session) as other:
        await other.do("update", thread=question.thread, title="By another")
    thread = client.thread(question.thread)
    await client.wait_until(lambda: (thread.row or {})["title"] == "By another", "the title")
    await check_fresh(client, question.thread)
