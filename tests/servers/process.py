"""One process that a test started: signalled and ended by its pid, its output kept.

Nothing here waits on an event loop; in a coroutine a wait that may take long goes through ``asyncio.to_thread``.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: processes start in it."""
STARTING = 30.0
"""Seconds until a process that is not ready counts as hung. Patience, no promise: everything here is ready sooner."""
SHOWN = 6_000
"""Characters of output shown when something fails: the last ones."""


class NotReady(Exception):
    """The process ended, or hung, before it was ready. The message holds its output."""


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """``start`` and ``kill`` as often as one likes; :meth:`is_ready` is for subclasses. A context manager: started
    inside, ended after."""

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        *,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.command = [str(word) for word in command]
        self.directory = directory
        self.environment = dict(environment or {})
        self.user = user
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def is_ready(self) -> bool:
        """Whether it can be used by now."""
        return True

    def start(self) -> None:
        """Start it, and return when it is ready. Raises NotReady."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start it, and return at once."""
        assert not self.running, f"{self.name} runs already"
        identity: dict[str, Any] = (
            {"user": self.user, "group": self.user_group, "extra_groups": []} if self.user else {}
        )
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self._process = subprocess.Popen(
                self.command,
                cwd=self.directory if self.user else ROOT,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is ours alone
                **identity,
            )
        _reaper().write(b"%d\n" % self.pid)

    def await_ready(self) -> None:
        """Returns when it is ready. Raises NotReady."""
        try:
            await_true(self._is_ready_or_ended, f"{self.name} to be ready", STARTING)
        except TimeoutError as error:
            self.kill()
            raise NotReady(f"{error}\n{self.output()}") from error
        if not self.running:
            raise NotReady(f"{self.name} ended with {self.wait()}\n{self.output()}")

    def _is_ready_or_ended(self) -> bool:
        return not self.running or self.is_ready()

    @property
    def user_group(self) -> int:
        import pwd

        assert self.user is not None
        return pwd.getpwnam(self.user).pw_gid

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Also while it is stopped by :meth:`stop_process`."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None and self.running, f"{self.name} does not run"
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; returns when it is dead. Nothing to do if it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """SIGTERM; returns at once. :meth:`wait` tells when it has ended, and how."""
        self.signal(signal.SIGTERM)

    def stop_process(self) -> None:
        """SIGSTOP: it is there and does nothing."""
        self.signal(signal.SIGSTOP)

    def continue_process(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def wait(self, seconds: float = 60.0) -> int:
        """Its return code, when it has ended (-9: SIGKILL). Raises TimeoutExpired."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.wait(seconds)

    def restart(self) -> None:
        """A new one in its place, whether it still runs (then it is killed) or not."""
        self.kill()
        self.start()

    def end(self) -> None:
        """See to it that it does not run."""
        self.kill()

    def has_said(self, words: str) -> bool:
        """Whether this is in its output since it was started last."""
        return words.encode() in self.log.read_bytes()[self._begin :]

    def output(self) -> str:
        """The end of what it has said, over all its lives."""
        return self.log.read_text(errors="replace")[-SHOWN:] if self.log.exists() else ""


def is_dead(pid: int) -> bool:
    """Whether it has ended, also if nobody has asked how."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@functools.cache
def _reaper() -> IO[bytes]:
    """Where to tell the pids of what has to end with us, even if we are killed."""
    reaper = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.reaper"],
        cwd=ROOT,
        bufsize=0,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    pids = reaper.stdin
    assert pids is not None

    def end() -> None:
        pids.close()
        reaper.wait()

    atexit.register(end)
    return pids


def await_true(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Returns when the condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)
