"""The harness itself: a fault that a test causes must be one."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from tests import conftest
from tests.client import Client, guest, until
from tests.conftest import StartStack
from tests.servers.postgres import PostgresServer
from tests.servers.process import NotReady, Process, await_true, is_dead
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer
from tests.servers.script import full_text

NO_RETRY = Retry(NoBackoff(), 0)

# ----------------------------------------------------------------------------------------------------------- redis


def test_a_killed_redis_refuses_and_comes_back_empty_on_the_same_port(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url, retry=NO_RETRY) as client:
        client.set("key", "value")
        redis_server.kill()
        with pytest.raises(RedisConnectionError):
            client.ping()
        redis_server.start()
        assert client.get("key") is None


def test_a_stopped_redis_is_silent_until_it_is_continued(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url, socket_timeout=0.2, retry=NO_RETRY) as client:
        client.set("key", "value")
        redis_server.stop_process()
        with pytest.raises(RedisTimeoutError):
            client.ping()
        redis_server.continue_process()
    with Redis.from_url(redis_server.url) as client:
        assert client.get("key") == b"value"


@pytest.mark.parametrize("left", ["full", "stopped", "dead"])
def test_each_test_gets_a_redis_that_is_up_and_empty_whatever_the_last_one_left(
    redis_server: RedisServer, left: str
) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.set("key", "value")
    if left == "stopped":
        redis_server.stop_process()
    if left == "dead":
        redis_server.kill()
    redis_server.renew()
    with Redis.from_url(redis_server.url) as client:
        assert client.dbsize() == 0


# -------------------------------------------------------------------------------------------------------- postgres


def test_a_killed_postgres_keeps_what_was_committed(postgres_server: PostgresServer) -> None:
    database = postgres_server.create()
    url = postgres_server.url_of(database)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE said (text text)")
        connection.execute("INSERT INTO said VALUES ('kept')")
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO said VALUES ('never committed')")
        postgres_server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgres_server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT text FROM said").fetchall() == [("kept",)]
    postgres_server.drop(database)


def test_a_database_is_made_from_a_template(postgres_server: PostgresServer) -> None:
    template = postgres_server.create()
    with psycopg.connect(postgres_server.url_of(template)) as connection:
        connection.execute("CREATE TABLE said (text text)")
    copy = postgres_server.create(template)
    with psycopg.connect(postgres_server.url_of(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM said").fetchone() == (0,)
    for database in (copy, template):
        postgres_server.drop(database)


# ----------------------------------------------------------------------------------------------------------- skips


def test_a_test_without_its_server_is_skipped_with_the_reason_and_fails_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conftest, "REQUIRED", {"postgres"})
    with pytest.raises(pytest.skip.Exception, match="no redis-server"):
        conftest.missing("redis", "there is no redis-server")
    with pytest.raises(pytest.fail.Exception, match="REJOIN_REQUIRE has postgres, but there is no postgres"):
        conftest.missing("postgres", "there is no postgres")


# ----------------------------------------------------------------------------------------------------------- proxy


class Echo(socketserver.BaseRequestHandler):
    """Says everything again; at the end of what it hears, ``bye``."""

    def handle(self) -> None:
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
            self.request.sendall(b"bye")
        except ConnectionResetError:
            self.server.resets.release()  # type: ignore[attr-defined]


@pytest.fixture
def resets() -> threading.Semaphore:
    """How many connections the target has seen reset."""
    return threading.Semaphore(0)


@pytest.fixture
def proxy(resets: threading.Semaphore) -> Iterator[Proxy]:
    """A proxy before an echo."""
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.resets = resets  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        with Proxy(server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()


def connect(proxy: Proxy, timeout: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout)


def echo(connection: socket.socket, data: bytes) -> bytes:
    threading.Thread(target=connection.sendall, args=(data,)).start()
    said = b""
    while len(said) < len(data):
        said += connection.recv(65536)
    return said


def test_an_honest_proxy_carries_every_byte_and_the_end(proxy: Proxy) -> None:
    data = bytes(range(256)) * 4000
    with connect(proxy) as connection:
        assert echo(connection, data) == data
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b"bye"
        assert connection.recv(10) == b""
    assert proxy.carried == 2 * len(data) + 3


def test_a_reset_proxy_cuts_both_ends_and_carries_the_next_connection(
    proxy: Proxy, resets: threading.Semaphore
) -> None:
    with connect(proxy) as one, connect(proxy) as two:
        assert echo(one, b"1") + echo(two, b"2") == b"12"
        proxy.reset()
        for connection in (one, two):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert resets.acquire(timeout=10) and resets.acquire(timeout=10)
    with connect(proxy) as connection:
        assert echo(connection, b"again") == b"again"
    assert proxy.accepted == 3


def test_a_refusing_proxy_keeps_what_is_open_and_listens_later_on_the_same_port(proxy: Proxy) -> None:
    with connect(proxy) as early:
        assert echo(early, b"early") == b"early"
        proxy.refuse(True)
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert echo(early, b"still") == b"still"
        proxy.refuse(False)
        with connect(proxy) as late:
            assert echo(late, b"late") == b"late"


def test_a_swallowing_proxy_is_silent_and_cuts_what_has_lost_something(proxy: Proxy) -> None:
    with connect(proxy, timeout=0.2) as torn, connect(proxy) as whole:
        assert echo(torn, b"1") + echo(whole, b"2") == b"12"
        proxy.swallow(True)
        torn.sendall(b"lost")
        with pytest.raises(TimeoutError):
            torn.recv(1)
        with connect(proxy, timeout=0.2) as new:
            new.sendall(b"lost too")
            with pytest.raises(TimeoutError):
                new.recv(1)
            proxy.swallow(False)
            for connection in (torn, new):
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
        assert echo(whole, b"unharmed") == b"unharmed"


def test_a_proxy_whose_target_is_away_cuts_and_refuses_until_it_is_back(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert echo(connection, b"1") == b"1"
        with proxy.away():
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
    with connect(proxy) as connection:
        assert echo(connection, b"back") == b"back"


def test_nobody_gets_the_port_of_a_proxy_whose_target_is_away(proxy: Proxy) -> None:
    with proxy.away(), socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", proxy.port))


def test_a_slow_proxy_keeps_the_order(proxy: Proxy) -> None:
    proxy.delay = 0.02
    with connect(proxy) as connection:
        data = bytes(range(256)) * 2000
        assert echo(connection, data) == data


# --------------------------------------------------------------------------------------------------------- process


def test_a_process_that_ends_before_it_is_ready_tells_what_it_said(tmp_path: Path) -> None:
    process = Process("liar", [sys.executable, "-c", "print('I am done'); raise SystemExit(3)"], directory=tmp_path)
    process.is_ready = lambda: False  # type: ignore[method-assign]
    with pytest.raises(NotReady, match=r"liar ended with 3\nI am done"):
        process.start()
    assert not process.running


STARTS_AND_IS_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.servers.process import Process
process = Process("child", [sys.executable, "-c", "import time; time.sleep(600)"], directory=Path(sys.argv[1]))
process.start()
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_session_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STARTS_AND_IS_KILLED, tmp_path], stdout=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL
    child = int(done.stdout)
    await_true(lambda: is_dead(child), "the child's end", 30)


# ------------------------------------------------------------------------------------------------------ deployment

VARIANTS = ("postgres+redis+uvicorn", "sqlite+redis+daphne", "sqlite+embedded+daphne")
SCRIPT = {"chunks": 60, "pause": 0.005, "seed": "harness"}


@pytest.mark.parametrize("variant", VARIANTS)
async def test_a_deployment_of_each_kind_answers_what_its_model_said(start_stack: StartStack, variant: str) -> None:
    stack = start_stack(variant)
    async with Client(stack.url, await guest(stack.url)) as client:
        thread = await client.create()
        await client.follow(thread)
        _, run = await client.send(thread, json.dumps(SCRIPT))
        await client.text_of(thread, run)
        await client.refresh()
        await client.ended(thread, run)
        assert client.thread(thread).text(run) == full_text(SCRIPT)
    assert [request["state"] for request in stack.model.requests()] == ["done"]


async def test_a_client_sends_again_what_was_lost_on_the_way(start_stack: StartStack) -> None:
    stack = start_stack("sqlite+embedded+daphne")
    session = stack.sign_in("ada")
    async with Client(stack.url, session) as one, Client(stack.url, session) as two:
        await two.follow_inbox()
        stack.web[0].clients.swallow(True)
        creating = asyncio.create_task(one.create(title="Once"))
        await until(lambda: stack.web[0].clients.swallowed, "the command to be lost")
        stack.web[0].clients.swallow(False)
        thread = await creating
        await two.wait_until(lambda: two.inbox.items, "the new thread")
        await two.caught_up_inbox()
    assert one.counts.connections == 2
    assert {pk: item["title"] for pk, item in two.inbox.items.items()} == {thread: "Once"}


async def test_a_server_that_was_killed_is_back_at_the_same_address(start_stack: StartStack) -> None:
    stack = start_stack("sqlite+embedded+daphne")
    async with Client(stack.url, await guest(stack.url)) as client:
        stack.web[0].kill()
        await client.wait_until(lambda: client.closes, "the connection to break")
        await asyncio.to_thread(stack.web[0].start)
        await client.wait_until(lambda: client.live, "the server to be back")
