"""Deployments that several tests share: each test finds everything up, whatever the one before it has done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

pytest.register_assert_rewrite("tests.processes.asking")

from tests.client import Client, guest  # noqa: E402
from tests.conftest import show_on_failure  # noqa: E402
from tests.servers.stack import Stack, Templates  # noqa: E402

QUICK = {"REJOIN_LEASE": "3", "REJOIN_RENEW": "0.5", "REJOIN_SWEEP": "0.5", "REJOIN_REDIS_TIMEOUT": "1"}
"""Settings with which what has died is noticed within seconds."""


class Share(Protocol):
    """Starts a deployment for all tests of the module. The arguments are those of Stack."""

    def __call__(self, variant: str, **options: Any) -> Stack: ...


@pytest.fixture(scope="module")
def share(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _templates: Templates
) -> Iterator[Share]:
    """What a module makes its fixture ``shared`` with."""
    with ExitStack() as running:

        def start(variant: str, **options: Any) -> Stack:
            for server in ("postgres", "redis"):
                if server in variant.split("+"):
                    options[server] = request.getfixturevalue(f"_{server}")
            directory = tmp_path_factory.mktemp("stack")
            make_whole(options)
            return running.enter_context(Stack(variant, directory=directory, templates=_templates, **options))

        yield start


@pytest.fixture
def stack(request: pytest.FixtureRequest, shared: Stack) -> Stack:
    """The module's deployment, whole. The test may do to it what it likes."""
    show_on_failure(request, *shared.processes)
    make_whole({"redis": shared.redis, "postgres": shared.postgres})
    for server in (*shared.web, *shared.workers):
        for line in server.lines:
            line.refuse(False)
            line.swallow(False)
            line.delay = 0.0
    for process in shared.processes:
        if not process.running:
            process.launch()
        process.continue_process()
    for process in shared.processes:
        process.await_ready()
    shared.model.reset()
    return shared


def make_whole(servers: dict[str, Any]) -> None:
    """Redis is up and empty, PostgreSQL is up."""
    if servers.get("redis") is not None:
        servers["redis"].renew()
    if servers.get("postgres") is not None and not servers["postgres"].running:
        servers["postgres"].start()


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    """A guest's device."""
    async with Client(stack.url, await guest(stack.url)) as client:
        yield client


@pytest.fixture
async def other(stack: Stack, client: Client) -> AsyncIterator[Client]:
    """The same person's second device, at another server where there is one."""
    async with Client(stack.web[-1].url, client.session) as other:
        yield other
