"""Texts that try to do more than be read, by kind, and what they may become at most."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

KINDS: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
TEXTS = [text for texts in KINDS.values() for text in texts]
TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "h3", "h4", "h5", "h6"),
    *("a", "div", "span", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    "dir": "auto|ltr",
    "tabindex": "0",
    "start": r"\d+",
    "class": r"code|language|table|left|center|right|[a-z]{1,3}[0-9]?",
    "target": "_blank",
    "rel": "noopener noreferrer nofollow",
    "title": ".*",
    "href": r"(?i:https?:|mailto:).*",
}


def excesses(html: str) -> list[str]:
    """What an answer's HTML has that none may have."""
    reader = _Tags()
    reader.feed(html)
    reader.close()
    return reader.found


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.found.append(tag)
        for name, value in attributes:
            if not re.fullmatch(ATTRIBUTES.get(name, "(?!)"), value or "", re.DOTALL):
                self.found.append(f"{tag} {name}={value}")

    def handle_comment(self, data: str) -> None:
        self.found.append(f"<!--{data}")

    def handle_decl(self, declaration: str) -> None:
        self.found.append(f"<!{declaration}")

    def unknown_decl(self, data: str) -> None:
        self.found.append(f"<![{data}")

    def handle_pi(self, data: str) -> None:
        self.found.append(f"<?{data}")
