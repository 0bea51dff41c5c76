"""What is measured, as processes on loopback: Redis, PostgreSQL, a web server, a worker, a model behind HTTP.

The servers are those of the tests. Everybody gets the same web server: uvicorn, one process, no compression.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from tests.servers.postgres import PostgresServer, find_postgres
from tests.servers.process import Process, free_port
from tests.servers.redis import RedisServer, find_redis

REJOIN = "Rejoin"
STOCK = {
    "stock, pub/sub layer": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "stock, core layer": "channels_redis.core.RedisChannelLayer",
}
"""The stock ways, and their channel layers."""


class Server(Process):
    """An ASGI application under uvicorn. Ready when it listens."""

    def __init__(self, name: str, application: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        words = "--ws websockets-sansio --ws-per-message-deflate false --no-access-log --log-level warning"
        command = [sys.executable, "-m", "uvicorn", application, "--port", str(self.port), *words.split()]
        super().__init__(name, command, directory=directory, environment=environment)

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class StockWorker(Process):
    """Ready when it listens: what is sent earlier through pub/sub is lost."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        super().__init__(
            "worker", [sys.executable, "-m", "benchmarks.stock"], directory=directory, environment=environment
        )

    def is_ready(self) -> bool:
        if "pubsub" not in self.environment["BENCH_LAYER"]:
            return True
        with Redis.from_url(self.environment["REDIS_URL"]) as client:
            return bool(client.pubsub_numsub("generate")[0][1])


@dataclass
class Deployment:
    """One way of doing it, running."""

    system: str
    web: Server
    worker: Process
    redis: RedisServer

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.web.port}"


class Machine:
    """The servers that all deployments use. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Machine:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rejoin-bench-")))
            redis, postgres = find_redis(), find_postgres()
            if redis is None or postgres is None:
                sys.exit("The benchmark needs redis-server, and postgres with initdb (make sets both up where it can).")
            self.redis = stack.enter_context(RedisServer(redis))
            self.postgres = stack.enter_context(PostgresServer(postgres))
            self.model = stack.enter_context(Server("model", "benchmarks.provider:server", self.directory, {}))
            self._prepare()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _prepare(self) -> None:
        """The database as of now, and people who are signed in."""
        providers = {
            "script": {"path": "benchmarks.provider.ScriptProvider"},
            "http": {"path": "chat.providers.openai.OpenAIProvider", "options": {"base_url": f"{self.model_url}"}},
        }
        self.environment = {
            "DJANGO_SECRET_KEY": "only-for-benchmarks",
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            "DJANGO_HTTPS": "0",
            "DJANGO_SETTINGS_MODULE": "chatproject.settings",
            "REDIS_URL": self.redis.url,
            "REJOIN_DATABASE_URL": self.postgres.url_of(self.postgres.create()),
            "REJOIN_DATA_DIR": str(self.directory),
            "REJOIN_PROVIDERS": json.dumps(providers),
            "REJOIN_MODELS": "script,http/script",
            "REJOIN_LOG_LEVEL": "WARNING",
            # Clients are few users, each with very many sockets.
            "REJOIN_MAX_SOCKETS": "100000",
            "REJOIN_RATE": "100000",
            "REJOIN_BURST": "100000",
        }
        self.call("manage.py", "migrate", "--verbosity", "0")

    @property
    def model_url(self) -> str:
        return f"http://127.0.0.1:{self.model.port}/v1"

    def people(self, number: int) -> list[str]:
        """The session cookies of so many people."""
        sessions: list[str] = json.loads(self.call("-m", "benchmarks.people", str(number)))
        return sessions

    def call(self, *words: str) -> str:
        """Run Python with the deployment's environment, and return what it prints."""
        environment = {"PATH": os.environ["PATH"], **self.environment}
        command = [sys.executable, *words]
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout.decode()

    @contextmanager
    def deploy(self, system: str) -> Iterator[Deployment]:
        """Web server and worker, new ones, on an empty Redis; ended after. What they had to say comes with an error."""
        self.redis.renew()
        worker: Process
        if system == REJOIN:
            web = Server("web", "chatproject.asgi:application", self.directory, self.environment)
            command = [sys.executable, "manage.py", "runworker"]
            worker = Process("worker", command, directory=self.directory, environment=self.environment)
        else:
            environment = {
                "BENCH_LAYER": STOCK[system],
                "BENCH_MODEL": self.model_url,
                "REDIS_URL": self.redis.url,
            }
            web = Server("web", "benchmarks.stock:application", self.directory, environment)
            worker = StockWorker(self.directory, environment)
        for process in (web, worker):
            process.log.unlink(missing_ok=True)
        try:
            with web, worker:
                yield Deployment(system, web, worker, self.redis)
        except BaseException:
            sys.stderr.write(f"web:\n{web.output()}\nworker:\n{worker.output()}\n")
            raise
