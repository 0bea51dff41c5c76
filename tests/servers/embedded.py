"""The project of docs/embedding.md: made in a folder from what stands on the page, and served by daphne."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.servers.process import ROOT, NotReady, Process, free_port

PAGE = (ROOT / "docs" / "embedding.md").read_text("utf-8")
NAME = re.compile(r"`(mysite/\w+\.py|manage\.py)`")
USER, PASSWORD = "ann", "only for tests"


def blocks(language: str) -> list[tuple[str, str]]:
    """The page's pieces of code, each with the paragraph before it."""
    words = PAGE.split("```")
    pieces = zip(words[::2], words[1::2], strict=False)  # what is said, and the code that follows
    return [
        (said.strip().split("\n\n")[-1], code.removeprefix(f"{language}\n"))
        for said, code in pieces
        if code.startswith(f"{language}\n")
    ]


def files() -> dict[str, str]:
    """The project's files: a piece of code is the file that the paragraph before it names."""
    return {NAME.findall(before)[-1]: code for before, code in blocks("python") if NAME.search(before)}


class Project(Process):
    """``directory`` becomes the project's folder. ``environment`` goes to all that runs in it."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = directory
        (directory / "rejoin").symlink_to(ROOT)
        (directory / "mysite").mkdir()
        for name, code in files().items():
            (directory / name).write_text(code, "utf-8")
        serve = f"cd {directory} && exec {sys.executable} -m daphne -b 127.0.0.1 -p {self.port} mysite.asgi:application"
        environment = {"SECRET_KEY": "only-for-tests", "PYTHONUNBUFFERED": "1", **environment}
        super().__init__("project", ["sh", "-c", serve], directory=directory, environment=environment)

    def set_up(self) -> None:
        """As the page says it: tables, static files, and a first user."""
        commands = next(code for _, code in blocks("sh") if "migrate" in code).splitlines()
        for command in (line.split("manage.py ")[1] for line in commands if "manage.py" in line):
            self.manage(*command.split(), *(["--noinput"] if command == "createsuperuser" else []))

    def manage(self, *words: str) -> str:
        """Run ``manage.py`` of the project and return what it prints. Raises RuntimeError with what it says if it
        fails."""
        user = {"USERNAME": USER, "PASSWORD": PASSWORD, "EMAIL": "ann@mysite.test"}
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                **{f"DJANGO_SUPERUSER_{name}": value for name, value in user.items()},
                **self.environment,
            },
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {words[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as response:
                return bool(response.status == 200)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise NotReady(f"/readyz answers {error.code}\n{self.output()}") from error
            return False
        except OSError:
            return False
