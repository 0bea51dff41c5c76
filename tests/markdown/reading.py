"""What is to be read where an answer's Markdown is shown."""

from __future__ import annotations

from html.parser import HTMLParser

from chat import markdown


def shown(source: str) -> str:
    """All text of the HTML that the source becomes."""
    return text_of(markdown.parser().render(source))


def text_of(html: str) -> str:
    """All text of some HTML."""
    reader = _Text()
    reader.feed(html)
    reader.close()
    return "".join(reader.pieces)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
