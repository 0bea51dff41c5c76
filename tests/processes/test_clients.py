"""docs/clients.md, done as written: each client follows an answer over a connection that is cut in the middle of it.
And the example of docs/api.md."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import WebSocketException

from chat.client import Transcript
from tests.client import Client, until
from tests.processes.conftest import Share
from tests.servers.process import ROOT
from tests.servers.script import full_text
from tests.servers.stack import Stack

PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
SCRIPT = {"chunks": 120, "pause": 0.01, "gate": "cut", "after": 60, "seed": "clients"}


@pytest.fixture(scope="module")
def shared(share: Share) -> Stack:
    return share("sqlite+embedded+daphne")


@pytest.fixture
def token(stack: Stack) -> str:
    stack.sign_in("ada")
    return stack.manage("api_token", "create", "ada", "--name", "docs").strip()


@pytest.fixture
async def asker(stack: Stack) -> AsyncIterator[Client]:
    async with Client(stack.url, stack.sign_in("ada")) as client:
        yield client


@pytest.fixture
def curl() -> str:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("there is no curl on PATH")
    return found


def example(title: str, language: str) -> str:
    """The code of the page's section."""
    found = re.search(rf"^## {title}$.*?^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def defined(title: str) -> dict[str, Any]:
    """What the section's Python defines."""
    names: dict[str, Any] = {}
    exec(compile(example(title, "python"), "docs/clients.md", "exec"), names)
    return names


async def cut_in_the_middle(stack: Stack) -> None:
    """When the model has said half of it, every connection is cut; then it goes on."""
    await asyncio.to_thread(stack.model.await_event, 0, "waiting")
    stack.web[0].clients.reset()
    stack.model.open_gate("cut")


async def test_the_few_lines_get_the_whole_text_over_a_cut_in_mid_answer(
    stack: Stack, token: str, asker: Client
) -> None:
    thread = await asker.create()
    texts: dict[str, str] = {}
    url = stack.url.replace("http", "ws")
    following = asyncio.create_task(defined("A websocket in a few lines")["follow"](url, token, thread, texts))
    await asker.send(thread, json.dumps(SCRIPT))
    await until(lambda: any(len(text) > 100 and not text.startswith("{") for text in texts.values()), "half of it")
    await cut_in_the_middle(stack)
    await until(lambda: full_text(SCRIPT) in texts.values(), "all of it")
    following.cancel()
    await asyncio.wait([following])
    assert stack.web[0].clients.accepted > 3


async def test_the_few_lines_end_where_the_token_is_refused(stack: Stack) -> None:
    follow = defined("A websocket in a few lines")["follow"]
    with pytest.raises(WebSocketException):
        await asyncio.wait_for(follow(stack.url.replace("http", "ws"), "rejoin_wrong", "t", {}), 30)


async def test_curl_goes_on_by_the_last_id_after_a_cut_in_mid_answer(
    stack: Stack, token: str, asker: Client, curl: str
) -> None:
    thread = await asker.create()
    held = Transcript(thread)
    first, second = example("Events with curl", "sh").replace("https://chat.example", stack.url).splitlines()
    _, run = await asker.send(thread, json.dumps(SCRIPT))
    cutting = asyncio.create_task(cut_in_the_middle(stack))
    given = {"TOKEN": token, "THREAD": thread, "PATH": str(Path(curl).parent)}
    cursor = await read_events(first, given, held, lambda: False)
    assert 0 < len(held.text(run)) < len(full_text(SCRIPT)), "it was cut"
    await cutting
    await read_events(second, {**given, "CURSOR": cursor}, held, lambda: held.has_ended(run))
    assert held.text(run) == full_text(SCRIPT)
    assert held.gaps == 0


async def test_the_example_of_the_api_begins_a_thread_and_reads_an_answer(stack: Stack, token: str, curl: str) -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    [script] = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for example, real in (("https://chat.example.org", stack.url), ("rejoin_…", token)):
        assert example in script
        script = script.replace(example, real)
    process = await asyncio.create_subprocess_exec(
        "sh", "-eu", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, errors) == (0, b"")
    begun, sent, read = map(json.loads, out.splitlines())
    assert begun["change"]["row"]["title"] == "Rivers"
    assert [row["status"] for row in sent["change"]["messages"]] == ["queued"]
    question, answer = read["messages"]
    assert (question["text"], answer["status"]) == ("Where do rivers begin?", "complete")
    assert [run["id"] for run in read["runs"]] == [run["id"] for run in sent["change"]["runs"]]


async def read_events(command: str, given: dict[str, str], held: Transcript, enough: Callable[[], bool]) -> str:
    """Apply the events of the command's stream until it ends, or that is enough: the last id."""
    process = await asyncio.create_subprocess_shell(
        f"exec {command} -s --max-time 60", env=given, stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    last = ""
    assert process.stdout is not None
    async for line in process.stdout:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            last = value
        elif name == "data" and json.loads(value)["type"] != "heartbeat":
            assert held.apply(json.loads(value)) == "applied"
        if enough():
            process.terminate()
            break
    await process.communicate()
    return last


async def test_the_python_client_gets_the_whole_text_over_a_cut_in_mid_answer(stack: Stack, token: str) -> None:
    asking = asyncio.create_task(defined("Python")["ask"](stack.url, token, json.dumps(SCRIPT)))
    await cut_in_the_middle(stack)
    assert await asking == full_text(SCRIPT)


async def test_the_javascript_client_in_node_gets_the_whole_text_over_a_cut_in_mid_answer(
    stack: Stack, token: str, tmp_path: Path
) -> None:
    module = tmp_path / "example.mjs"
    client = (ROOT / "static" / "chat" / "client" / "client.js").as_uri()
    code = example("JavaScript", "js").replace("./static/chat/client/client.js", client)
    given = [f"{stack.url.replace('http', 'ws')}/ws/chat/", token, json.dumps(SCRIPT)]
    module.write_text(f"{code}\nconsole.log(JSON.stringify(await ask(...{json.dumps(given)})));\n", "utf-8")
    node = Path(sys.executable).with_name("node")
    process = await asyncio.create_subprocess_exec(
        node, module, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        await cut_in_the_middle(stack)
        out, errors = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    assert json.loads(out) == full_text(SCRIPT)
