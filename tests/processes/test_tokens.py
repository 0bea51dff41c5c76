"""API tokens at real servers: each passes headers and subprotocols on in its own way, and keeps its own log."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chat.protocol import CLOSE_SIGN_IN, PROTOCOL
from tests.client import PATIENCE
from tests.processes.conftest import Share
from tests.servers.process import ROOT
from tests.servers.script import full_text
from tests.servers.stack import Stack


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    """A server that logs who comes, as servers do by default."""
    stack = share(f"sqlite+embedded+{request.param}")
    stack.sign_in("ann")
    web = stack.web[0]
    if "--no-access-log" in web.command:
        web.kill()
        web.command.remove("--no-access-log")
        web.start()
    return stack


@pytest.fixture
def token(stack: Stack) -> str:
    return stack.manage("api_token", "create", "ann", "--name", "a program", "--days", "1").strip()


def test_an_operator_makes_and_revokes_a_token_by_the_commands_of_the_docs(stack: Stack) -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8").split("## API tokens")[1]
    [commands] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    done = subprocess.run(
        ["sh", "-eu", "-c", f"{commands.replace('.venv/bin/python', sys.executable)}\necho $token"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **stack.environment},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *listed, token = done.stdout.splitlines()
    assert any(line.startswith(token[:15]) and "backup" in line for line in listed)
    assert token[:15] in stack.manage("api_token", "list", "ann")
    with pytest.raises(RuntimeError, match="was revoked before"):
        stack.manage("api_token", "revoke", token)


@asynccontextmanager
async def opened(stack: Stack, by: str, token: str, **headers: str) -> AsyncIterator[ClientConnection]:
    """A websocket by this token, of a program: it has no origin."""
    offered = [PROTOCOL, f"bearer.{token}"] if by == "subprotocol" else [PROTOCOL]
    if by == "header":
        headers["Authorization"] = f"Bearer {token}"
    address = f"{stack.url.replace('http', 'ws', 1)}/ws/chat/"
    async with connect(address, subprotocols=offered, additional_headers=headers, proxy=None) as socket:  # type: ignore[arg-type]
        assert socket.response is not None
        assert token not in str(socket.response.headers)
        assert socket.subprotocol == PROTOCOL
        yield socket


async def next_frame(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of this type."""
    async with asyncio.timeout(PATIENCE):
        while True:
            frame: dict[str, Any] = json.loads(await socket.recv())
            assert frame["type"] != "error", frame
            if frame["type"] == kind:
                return frame


async def answer(socket: ClientConnection, script: dict[str, Any]) -> str:
    """What the model says in a new chat."""
    thread = str(uuid4())

    async def give(kind: str, **fields: Any) -> None:
        await socket.send(json.dumps({"type": kind, "id": str(uuid4()), "thread": thread, **fields}))
        await next_frame(socket, "reply")

    await give("create")
    await give("send", message=str(uuid4()), run=str(uuid4()), text=json.dumps(script))
    while True:
        await give("attach")
        change = await next_frame(socket, "change")
        if change["runs"] and change["runs"][0]["state"] == "completed":
            [said] = [row["text"] for row in change["messages"] if row["role"] == "assistant"]
            return str(said)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("by", ["header", "subprotocol"])
async def test_a_program_asks_and_is_answered_by_a_token(stack: Stack, token: str, by: str) -> None:
    async with opened(stack, by, token) as socket:
        assert (await next_frame(socket, "welcome"))["user"]["name"] == "ann"
        script = {"chunks": 20, "seed": by}
        assert await answer(socket, script) == full_text(script)


async def test_a_token_that_is_not_good_is_refused_beside_a_good_session_and_none_is_logged(
    stack: Stack, token: str
) -> None:
    cookie = f"sessionid={stack.sign_in('ann')}"
    async with opened(stack, "subprotocol", token, Cookie=cookie) as socket:
        await next_frame(socket, "welcome")
    stack.manage("api_token", "revoke", token)
    for by in ("header", "subprotocol"):
        async with opened(stack, by, token, Cookie=cookie) as socket:
            with pytest.raises(ConnectionClosed):
                await next_frame(socket, "welcome")
            assert socket.close_code == CLOSE_SIGN_IN
    with pytest.raises(InvalidStatus, match="403"):
        async with opened(stack, "cookie alone, and no origin", token, Cookie=cookie):
            pass
    logged = stack.web[0].log.read_text()
    assert "/ws/chat/" in logged, "the server logs who comes"
    assert token not in logged
