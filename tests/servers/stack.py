"""A whole deployment as processes: web servers, workers, a scripted model, Redis, a database.

Every process of ours reaches Redis, the database and its clients through proxies of its own, so that a test can cut any
one of these lines:

    with stack.workers[0].database.away(): …
    stack.web[0].clients.reset()
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.model_server import ModelServer
from tests.servers.postgres import PostgresServer
from tests.servers.process import ROOT, NotReady, Process, free_port
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

VARIANTS = (
    "postgres+redis+uvicorn",
    "postgres+redis+daphne",
    "sqlite+redis+uvicorn",
    "sqlite+redis+daphne",
    "sqlite+embedded+uvicorn",
    "sqlite+embedded+daphne",
)
DAPHNE = "--websocket-max-message-size 16777216"
UVICORN = "--ws websockets-sansio --ws-max-size 1048576 --timeout-graceful-shutdown 5 --no-access-log"
PRODUCTION = {
    "DJANGO_SECRET_KEY": "only-for-tests",
    "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
    "DJANGO_HTTPS": "0",
    "DJANGO_SETTINGS_MODULE": "chatproject.settings",
    "REJOIN_GUESTS": "1",
    "REJOIN_RATE": "1000",
    "REJOIN_MAX_SOCKETS": "1000",
}
"""As somebody's deployment would be, but for HTTPS, and for what one user may do: here one is all of them."""
SIGN_IN = """
import json
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
user, _ = get_user_model().objects.get_or_create(username={name!r})
user.is_staff = user.is_superuser = {staff!r}
user.save()
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(json.dumps(session.session_key))
"""
ROWS = """
import json
from chat.models import Message
messages = Message.objects.filter(thread={thread!r})
print(json.dumps({{str(row.pk): [row.text, row.reasoning, row.status, row.reasoning_ms] for row in messages}}))
"""


def manage(environment: Mapping[str, str], *words: str) -> str:
    """Run ``manage.py`` and return what it prints. Raises RuntimeError with what it says if it fails."""
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **PRODUCTION, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {words[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


class Templates:
    """What all deployments of a test session share, made at the first need: migrated databases, collected files.

    ``settings`` are environment variables for it, where a deployment has other ones than the others.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._settings = dict(settings or {})
        self._postgres: dict[int, str] = {}

    def static(self) -> Path:
        path = self._directory / "static"
        if not path.exists():
            environment = {"REJOIN_DATA_DIR": str(self._directory), **self._settings}
            manage(environment, "collectstatic", "--noinput", "--verbosity", "0")
        return path

    def sqlite(self, path: Path) -> str:
        """The URL of a new database in a file."""
        template = self._directory / "template.sqlite3"
        if not template.exists():
            manage({"REJOIN_DATABASE_URL": f"sqlite:///{template}"}, "migrate", "--verbosity", "0")
        shutil.copy(template, path)
        return f"sqlite:///{path}"

    def postgres(self, server: PostgresServer) -> str:
        """The name of a new database."""
        if server.port not in self._postgres:
            template = server.create()
            manage({"REJOIN_DATABASE_URL": server.url_of(template)}, "migrate", "--verbosity", "0")
            self._postgres[server.port] = template
        return server.create(self._postgres[server.port])


class Server(Process):
    """A web server or worker. ``redis`` and ``database`` are its lines to these, if it has any."""

    def __init__(self, stack: Stack, name: str, command: list[str]) -> None:
        super().__init__(name, command, directory=stack.directory, environment=stack.environment)
        if stack.redis is not None:
            self.redis = Proxy(stack.redis.port)
            self.environment["REDIS_URL"] = f"redis://127.0.0.1:{self.redis.port}"
        if stack.postgres is not None:
            self.database = Proxy(stack.postgres.port)
            self.environment["REJOIN_DATABASE_URL"] = (
                f"postgresql://postgres@127.0.0.1:{self.database.port}/{stack.database_name}"
            )

    @property
    def lines(self) -> list[Proxy]:
        """Those that it has."""
        return [getattr(self, name) for name in ("redis", "database", "clients") if hasattr(self, name)]

    def end(self) -> None:
        super().end()
        for line in self.lines:
            line.close()


class Web(Server):
    """A web server. ``clients`` is the line to its clients, ``url`` its address at the other end of that line."""

    def __init__(self, stack: Stack, name: str, server: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", server, "chatproject.asgi:application"]
        if server == "daphne":
            command += ["-b", "127.0.0.1", "-p", str(self.port), *DAPHNE.split()]
        else:
            command += ["--host", "127.0.0.1", "--port", str(self.port), *UVICORN.split()]
        super().__init__(stack, name, command)
        self.clients = Proxy(self.port)
        self.url = f"http://127.0.0.1:{self.clients.port}"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as response:
                return bool(response.status == 200)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise NotReady(f"/readyz of {self.name} answers {error.code}\n{self.output()}") from error
            return False
        except OSError:
            return False


class Worker(Server):
    """A worker process."""

    def __init__(self, stack: Stack, name: str) -> None:
        super().__init__(stack, name, [sys.executable, "manage.py", "runworker"])

    def is_ready(self) -> bool:
        return self.has_said("action=worker_started")


class Stack:
    """A deployment of one of VARIANTS. A context manager: started inside, ended after.

    ``settings`` are environment variables of web servers and workers. ``postgres`` and ``redis`` are for the variants
    that have them; the stack may do to Redis what it likes, PostgreSQL is shared with others.
    """

    def __init__(
        self,
        variant: str,
        *,
        directory: Path,
        templates: Templates,
        postgres: PostgresServer | None = None,
        redis: RedisServer | None = None,
        webs: int = 1,
        workers: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        assert variant in VARIANTS, variant
        database, live, server = variant.split("+")
        self.variant = variant
        self.directory = directory
        self.redis = redis if live == "redis" else None
        self.postgres = postgres if database == "postgres" else None
        self.model = ModelServer(directory)
        data = directory / "data"
        data.mkdir()
        (data / "static").symlink_to(templates.static())
        if self.postgres is not None:
            self.database_name = templates.postgres(self.postgres)
            self.database_url = self.postgres.url_of(self.database_name)
        else:
            self.database_url = templates.sqlite(data / "rejoin.sqlite3")
        self.environment = {
            **PRODUCTION,
            "PYTHONUNBUFFERED": "1",
            "REJOIN_DATABASE_URL": self.database_url,
            "REJOIN_DATA_DIR": str(data),
            "OPENAI_BASE_URL": self.model.url,
            **(settings or {}),
        }
        self.web = [Web(self, f"web{number}", server) for number in range(webs)]
        self.workers = [Worker(self, f"worker{number}") for number in range(workers if self.redis else 0)]
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as running:
            running.callback(self._clean_up)
            for process in self.processes:
                running.callback(process.end)
                process.launch()
            for process in self.processes:
                process.await_ready()
            self._running = running.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._running.close()

    @property
    def processes(self) -> list[Process]:
        return [self.model, *self.workers, *self.web]

    @property
    def url(self) -> str:
        """The first web server's, by way of its proxy."""
        return self.web[0].url

    def manage(self, *words: str) -> str:
        """Run ``manage.py`` in this deployment."""
        return manage(self.environment, *words)

    def sign_in(self, name: str, *, staff: bool = False) -> str:
        """The session cookie of the user of this name, who is made if there is none. ``staff``: who may do all in the
        admin."""
        return str(self._ask(SIGN_IN.format(name=name, staff=staff)))

    def rows(self, thread: str) -> dict[str, tuple[str, str, str, int]]:
        """The messages of a thread as the database has them: {message: (text, reasoning, status, reasoning_ms)}."""
        return {pk: tuple(row) for pk, row in self._ask(ROWS.format(thread=thread)).items()}

    def _ask(self, code: str) -> Any:
        """What the code prints, as JSON."""
        return json.loads(self.manage("shell", "--verbosity", "0", "-c", code))

    @contextlib.contextmanager
    def no_database(self) -> Iterator[None]:
        """The database is away for every process, inside the block."""
        with contextlib.ExitStack() as lines:
            for server in (*self.web, *self.workers):
                lines.enter_context(server.database.away())
            yield

    def _clean_up(self) -> None:
        if self.postgres is not None and self.postgres.running:
            self.postgres.drop(self.database_name)
