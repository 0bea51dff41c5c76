"""Event streams and long polls of whole deployments: through restarts, cut lines, and nginx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.client import Client, guest
from tests.conftest import show_on_failure
from tests.processes.asking import Question, ask, check_answer, held
from tests.processes.conftest import Share
from tests.servers.nginx import Nginx
from tests.servers.stack import Stack
from tests.sse import EventSource, Follower, LongPoller

EMBEDDED, WHOLE = "sqlite+embedded+daphne", "postgres+redis+uvicorn"
on_each_variant = pytest.mark.parametrize("shared", [EMBEDDED, WHOLE], indirect=True)
FEW = 3


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, share: Share) -> Stack:
    settings = {"REJOIN_SWEEP": "1", "REJOIN_MAX_STREAMS": str(FEW)}
    return share(request.param, settings=settings)


def followers(client: Client, thread: str | None, url: str = "") -> tuple[EventSource, LongPoller]:
    """One of each kind, of the client's user."""
    return EventSource(url or client.url, client.session, thread), LongPoller(url or client.url, client.session, thread)


async def follow(opened: AsyncExitStack, *all: Follower) -> None:
    """Returns when each has what is there."""
    for follower in all:
        await opened.enter_async_context(follower)
    for follower in all:
        await follower.wait_until(lambda follower=follower: follower.held.caught_up, "all that is there")


async def has(follower: Follower, question: Question, text: str) -> None:
    """Returns when this is what it holds of the answer."""
    await follower.wait_until(lambda: len(follower.held.text(question.run)) >= len(text), "the text")
    assert follower.held.text(question.run) == text


async def agree(client: Client, question: Question, *all: Follower) -> None:
    """The answer has ended: each holds what the client does."""
    version = client.thread(question.thread).version
    for follower in all:
        await follower.wait_until(lambda follower=follower: follower.held.version >= version, "the last change")
        assert follower.held.state()["messages"] == held(client, question.thread)["messages"]
        assert follower.held.counts.duplicates == 0
        assert follower.held.counts.resyncs == 0


@on_each_variant
async def test_streams_and_long_polls_lose_and_double_nothing_over_a_restart_of_the_server(
    stack: Stack, client: Client
) -> None:
    question = await ask(client, chunks=300, pause=0.01, gate="restarted", after=290, seed="restart")
    async with AsyncExitStack() as opened:
        both = followers(client, question.thread)
        await follow(opened, *both)
        for follower in both:
            await follower.wait_until(lambda follower=follower: len(follower.held.text(question.run)) > 200, "text")
        stack.web[0].terminate()
        await asyncio.to_thread(stack.web[0].wait)
        await asyncio.to_thread(stack.web[0].start)
        if "embedded" not in stack.variant:  # where the model went on meanwhile, and waits now
            for follower in both:
                await has(follower, question, question.text[: question.text.index("290:")])
                assert follower.held.counts.full_texts == 0, "only what was missing came"
        stack.model.open_gate("restarted")
        run = await client.ended(question.thread, question.run)
        assert run["state"] == ("interrupted" if "embedded" in stack.variant else "completed")
        await agree(client, question, *both)
        for follower in both:
            assert question.text.startswith(follower.held.text(question.run))


@on_each_variant
async def test_a_server_that_is_told_to_end_does_not_wait_for_its_streams(stack: Stack, client: Client) -> None:
    thread = await client.create()
    async with AsyncExitStack() as opened:
        source, poller = followers(client, thread)
        await follow(opened, source, poller)
        stack.web[0].terminate()
        await asyncio.to_thread(stack.web[0].wait, 30)
        await source.wait_until(lambda: source.parser.retry is not None and source.parser.retry <= 1000, "the goodbye")
    assert "returned without completing response" not in stack.web[0].output()


@on_each_variant
async def test_lines_that_are_cut_lose_nothing(stack: Stack, client: Client) -> None:
    question = await ask(client, chunks=300, pause=0.01, gate="cut", after=290, seed="cuts")
    async with AsyncExitStack() as opened:
        both = followers(client, question.thread)
        await follow(opened, *both)
        for number in range(1, 4):
            for follower in both:
                await follower.wait_until(
                    lambda follower=follower, least=number * 150: len(follower.held.text(question.run)) >= least, "text"
                )
            stack.web[0].clients.reset()
        stack.model.open_gate("cut")
        await check_answer(client, question)
        await agree(client, question, *both)


@on_each_variant
async def test_what_the_api_refuses_is_told_in_json_unless_the_web_server_refuses_it_first(
    stack: Stack, client: Client
) -> None:
    cookies, multipart = {"sessionid": client.session}, {"Content-Type": "multipart/form-data"}
    async with httpx2.AsyncClient(base_url=stack.url, cookies=cookies, trust_env=False) as http:
        read, head = await http.get("/api/threads"), await http.head("/api/threads")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == read.headers["Content-Length"]
        refused = await http.get("/api/threads", headers={"Host": "evil.example"})
        assert (refused.status_code, refused.json()["detail"]) == (400, {"field": "Host"})
        refused = await http.post("/api/threads", headers=multipart, content=b"x")
        assert refused.status_code == 400
        if "daphne" in stack.variant:
            assert refused.content == b"", "as docs/api.md says"
        else:
            assert refused.json()["code"] == "bad_frame"
        assert (await http.get("/api/threads")).json() == read.json()


@on_each_variant
async def test_who_leaves_leaves_nothing_behind(stack: Stack, client: Client) -> None:
    """A user may have few streams: would one that was left stay, there were soon none for who comes."""
    thread = await client.create()
    source, poller = followers(client, thread)
    poller.wait = 30
    for _ in range(4 * FEW):
        for follower in (source, poller):
            follower.held.caught_up, poller.cursor = False, ""
            async with follower:
                await follower.wait_until(lambda follower=follower: follower.held.caught_up, "all that is there")
    async with AsyncExitStack() as opened:
        await follow(opened, *(EventSource(client.url, client.session, thread) for _ in range(FEW)))


@on_each_variant
async def test_a_long_chat_comes_in_several_responses_that_each_have_a_limit(stack: Stack, client: Client) -> None:
    thread = await client.create()
    for n in range(24):
        await client.send(thread, json.dumps({"chunks": 1, "seed": f"{n}"}) + " " * 30_000)
    await client.follow_inbox()
    await client.wait_until(lambda: client.inbox.items[thread]["status"] == "idle", "all answers")
    await client.follow(thread, all=True)
    async with AsyncExitStack() as opened:
        source = EventSource(client.url, client.session, thread, everything=True)
        await follow(opened, source)
        assert source.held.state()["messages"] == held(client, thread)["messages"]
        assert source.responses > 2
        assert max(source.sizes) < 256 * 1024 + 64 * 1024


# ------------------------------------------------------------------------------------------------------------- nginx


@pytest.fixture
def behind(
    request: pytest.FixtureRequest, stack: Stack, nginx_program: str, tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """Puts nginx before the web server: its URL."""
    with ExitStack() as running:

        def start(**options: Any) -> str:
            nginx = Nginx(nginx_program, stack.web[0].port, directory=tmp_path, **options)
            show_on_failure(request, nginx)
            return running.enter_context(nginx).url

        yield start


@on_each_variant
async def test_behind_nginx_every_word_comes_when_it_is_said_by_each_transport(
    stack: Stack, behind: Callable[..., str]
) -> None:
    url = behind()
    async with Client(url, await guest(url)) as client, AsyncExitStack() as opened:
        question = await ask(client, chunks=6, gate="said", after=3, seed="nginx")
        both = followers(client, question.thread)
        inbox = EventSource(url, client.session)
        await follow(opened, *both, inbox)
        said = question.text[: question.text.index("3:")]
        await client.text_of(question.thread, question.run, len(said))
        for follower in both:
            await has(follower, question, said)
        assert both[0].responses == 1, "it came while the response was open"
        assert inbox.held.items[question.thread]["status"] == "running"
        stack.model.open_gate("said")
        await check_answer(client, question)
        await agree(client, question, *both)
        await inbox.wait_until(
            lambda: inbox.held.items[question.thread]["status"] == "idle", "the sidebar's mark to go"
        )
        await client.do("delete", thread=question.thread)
        for follower in both:
            await follower.wait_until(lambda follower=follower: follower.held.gone, "the deletion")
        async with httpx2.AsyncClient(cookies={"sessionid": client.session}, trust_env=False) as http:
            late: Any = await http.get(f"{url}/api/threads/{question.thread}/events")
        assert (late.status_code, late.json()["code"]) == (404, "not_found")


@on_each_variant
async def test_nginx_keeps_back_no_part_of_a_stream_even_where_it_could(
    stack: Stack, client: Client, behind: Callable[..., str]
) -> None:
    """Over HTTP/1.0, which is its default, it would gather pages full of a response: the response asks it not to."""
    url = behind(without="proxy_http_version 1.1;")
    thread = await client.create()
    async with AsyncExitStack() as opened:
        source = EventSource(url, client.session, thread)
        await follow(opened, source)
        await client.do("update", thread=thread, title="A few words")
        await source.wait_until(lambda: source.held.row["title"] == "A few words", "the title")
        assert source.responses == 1, "it came while the response was open"


@pytest.mark.parametrize("shared", [WHOLE], indirect=True)
async def test_nginx_counts_who_guesses_at_passwords_and_nobody_else(stack: Stack, behind: Callable[..., str]) -> None:
    url = behind()
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        guesses: list[Any] = await asyncio.gather(*(http.post(f"{url}/login/") for _ in range(80)))
        assert {one.status_code for one in guesses} == {403, 429}, "some had no CSRF token, some did not get that far"
        pages: list[Any] = await asyncio.gather(*(http.get(f"{url}/login/") for _ in range(40)))
        assert {one.status_code for one in pages} == {200}
