"""Commands that have no reply yet, in the order they were given, and where they can be kept over a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

Command = dict[str, Any]
QUESTIONS = frozenset({"history", "search"})
"""Commands whose reply nobody waits for any more after a restart."""


class Store(Protocol):
    """A place for an outbox."""

    def load(self) -> list[Command]:
        """What ``save`` was given last; nothing if it never was."""

    def save(self, commands: list[Command]) -> None:
        """Called after every change, before the command is sent."""


class FileStore:
    """A file, replaced as a whole: after a crash it holds one state or the other. For one client at a time."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def load(self) -> list[Command]:
        commands: list[Command] = json.loads(self._path.read_text("utf-8")) if self._path.exists() else []
        return commands

    def save(self, commands: list[Command]) -> None:
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(json.dumps(commands), "utf-8")
        new.replace(self._path)


class Outbox:
    """What it holds is sent after each connect, with the same ids, in the same order."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._commands: dict[str, Command] = {command["id"]: command for command in (store.load() if store else ())}

    @property
    def unanswered(self) -> list[Command]:
        """The commands, oldest first."""
        return list(self._commands.values())

    def add(self, command: Command) -> None:
        """Keep it until it is answered."""
        self._commands[command["id"]] = command
        self._changed()

    def settle(self, command_id: str | None) -> Command | None:
        """It was answered: done or refused. None if it is none of ours."""
        command = self._commands.pop(command_id or "", None)
        if command is not None:
            self._changed()
        return command

    def awaits(self, kind: str, thread: str) -> bool:
        """Whether a command of this type on this thread has no reply."""
        return any(command["type"] == kind and command.get("thread") == thread for command in self._commands.values())

    def _changed(self) -> None:
        if self._store is not None:
            self._store.save([command for command in self._commands.values() if command["type"] not in QUESTIONS])
