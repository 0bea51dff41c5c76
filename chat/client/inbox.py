"""A user's list of threads as a client holds it."""

from __future__ import annotations

from typing import Any

from chat.client.replica import Effect, Replica


class Inbox(Replica):
    """``items``: the protocol's inbox items by thread."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, dict[str, Any]] = {}

    @property
    def latest(self) -> list[dict[str, Any]]:
        """The items, pinned ones first, then the latest; archived ones are left out."""
        listed = [item for item in self.items.values() if not item["archived"]]
        listed.sort(key=lambda item: (item["updated_at"], item["id"]), reverse=True)
        return sorted(listed, key=lambda item: not item["pinned"])

    def _take(self, event: dict[str, Any]) -> Effect:
        match event["type"]:
            case "inbox":
                if event["from"] == 0:
                    self.items = {}
                elif event["to"] < self.version:
                    return "dropped"
                elif event["from"] > self.version:
                    return "gap"
                for thread in event["removed"]:
                    self.items.pop(thread, None)
                self.items |= {item["id"]: item for item in event["items"]}
                self.version = event["to"]
            case "caught_up":
                self.caught_up = True
            case _:
                return "dropped"
        self.cursor = event["cursor"]
        return "applied"
