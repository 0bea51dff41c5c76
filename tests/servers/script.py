"""What the scripted model server says, and how: pure, so that a test can compute what should have arrived.

The last user message of a prompt is the script: a JSON object with fields of :class:`Script` (text around it is
ignored), or ``script:name`` for one registered with the server. Any other message gets the default script, seeded by
its text. If the prompt ends with an assistant's turn that the text begins with, the answer goes on behind it.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

WORDS = [
    *("alpha", "beta", "**bold**", "`code`", "a|b", "<b>", "&amp;", '"quoted"', "\\back", "line\n", "\n\n# Head\n"),
    *("naïve", "e\u0301te\u0301", "Straße", "привет", "你好", "世界", "שלום", "مرحبا", "हिन्दी", "ไทย", "日本語"),
    *("🙂", "👩\u200d🚀", "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "👍🏽", "🇯🇵", "\U0001d4b3", "\u2028"),
]


@dataclass(frozen=True)
class Script:
    """One answer. Times in seconds. ``after`` counts chunks, of reasoning and of text together; everything that waits
    or goes wrong in the stream does so there."""

    # what is said
    text: str = ""
    """Exactly this, ``size`` characters a chunk."""
    chunks: int = 20
    """Else so many numbered words, each a chunk …"""
    seed: str = ""
    size: int = 0
    """… or cut into pieces of so many characters (0: as said; with ``text``: 4)."""
    reasoning: int = 0
    """Chunks of reasoning that come before."""
    reasoning_field: str = "reasoning_content"
    nul: bool = False
    """A NUL in the middle."""
    huge: int = 0
    """Characters of one word in the middle."""
    finish: str | None = "stop"
    done: bool = True
    """Whether ``[DONE]`` ends the stream."""
    linger: bool = False
    """Leave the response open after the last line."""
    usage: str = "asked"
    """When tokens are counted: asked, always, never; each: with each chunk, so far; rejected refuses the request that
    asks for it."""

    # how
    delay: float = 0.0
    """Before the response begins."""
    first: float = 0.0
    """Between its headers and the first chunk."""
    pause: float = 0.0
    """Between chunks, and before the usage and ``[DONE]``."""
    gate: str = ""
    """Wait after ``after`` chunks until this gate is opened (``/control/open``); "never" never is."""
    after: int = 0
    pieces: int = 0
    """Bytes of one write (0: a chunk)."""
    crlf: bool = False
    tight: bool = False
    """No space after ``data:``, and no blank line after ``[DONE]``."""
    comments: bool = False
    ascii: bool = False
    """JSON with escapes only."""
    surrogates: bool = False
    """Each pair cut in two: half at a chunk's end, half at the next one's begin."""
    extras: bool = False
    """A second choice, tool calls, empty deltas, and fields that nobody knows."""

    # what goes wrong
    cut: str = ""
    """The connection ends: "fin" or "rst"."""
    error: Any = None
    """An error object in the stream; ``error_field`` is the field of the line."""
    error_field: str = "data"
    raw: str = ""
    """A line as it is."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """Of a response other than the stream: text as it is, anything else as JSON."""
    fails: int = 0
    """Only the first so many requests with this very message go wrong (0: all)."""

    @property
    def faulty(self) -> bool:
        """Whether the stream breaks at ``after``."""
        return bool(self.cut or self.error is not None or self.raw or self.gate == "never")

    def without_faults(self) -> Script:
        """The same answer from a server that is well."""
        return dataclasses.replace(self, cut="", error=None, raw="", gate="", status=200, headers={}, body=None)


@dataclass(frozen=True)
class Send:
    """Write these bytes."""

    data: bytes
    chunk: bool = False
    """It carries a chunk of the answer."""


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Gate:
    name: str


@dataclass(frozen=True)
class Cut:
    kind: str


Step = Send | Wait | Gate | Cut
Given = Script | Mapping[str, Any] | str


def parse(given: Given, named: Mapping[str, Mapping[str, Any]] | None = None) -> Script:
    """The script of a message (or of a dict). Raises ValueError for a field that there is not, KeyError for a name."""
    if isinstance(given, Script):
        return given
    if isinstance(given, str):
        if given.startswith("script:"):
            return parse((named or {})[given.removeprefix("script:").strip()])
        begin = given.find("{")
        if begin < 0:
            return Script(seed=given)
        given, _ = json.JSONDecoder().raw_decode(given, begin)
    try:
        return Script(**given)
    except TypeError as error:
        raise ValueError(str(error)) from error


def text_chunks(script: Script) -> list[str]:
    """The text as the model says it, faults aside."""
    if script.text:
        return _sliced(script.text, script.size or 4)
    rng = random.Random(f"text {script.seed}")
    chunks = [f"{number}:{rng.choice(WORDS)} " for number in range(script.chunks)]
    middle = len(chunks) // 2
    if script.nul:
        chunks[middle] += "\0"
    if script.huge:
        chunks[middle] += "x" * script.huge
    return _sliced("".join(chunks), script.size) if script.size else chunks


def reasoning_chunks(script: Script) -> list[str]:
    """The reasoning as the model says it, faults aside."""
    rng = random.Random(f"reasoning {script.seed}")
    return [f"{number}?{rng.choice(WORDS)} " for number in range(script.reasoning)]


def full_text(given: Given) -> str:
    """The whole text, as if nothing went wrong. (NUL as it is: what a chat shows is ``clean(full_text(…))``.)"""
    return "".join(text_chunks(parse(given)))


def expected_text(given: Given) -> str:
    """The text that one request for this script gets: up to where the stream breaks, if it does."""
    script = parse(given)
    if script.status != 200 or script.body is not None:
        return ""
    chunks = text_chunks(script)
    return "".join(chunks[: max(0, script.after - script.reasoning)] if script.faulty else chunks)


def expected_reasoning(given: Given) -> str:
    """As :func:`expected_text`, of the reasoning."""
    script = parse(given)
    if script.status != 200 or script.body is not None:
        return ""
    chunks = reasoning_chunks(script)
    return "".join(chunks[: script.after] if script.faulty else chunks)


def steps(script: Script, *, model: str = "scripted", count: bool = True, so_far: str = "") -> Iterator[Step]:
    """The stream. ``count``: the request asked for the usage. ``so_far``: text that is there already."""
    said = reasoning_chunks(script)
    text = full_text(script)
    if so_far and text.startswith(so_far):
        chunks = [(None, piece) for piece in _sliced(text[len(so_far) :], script.size or 4)]
    else:
        chunks = [(script.reasoning_field, piece) for piece in said] + [(None, piece) for piece in text_chunks(script)]
    if script.surrogates:
        chunks = list(_split_pairs(chunks))

    frame = _Frame(script, model)
    if script.comments:
        yield Send(b": ping\n\n")
    yield Wait(script.first)
    yield Send(frame.choice({"role": "assistant", "content": ""}))
    for number, (reasoning, piece) in enumerate(chunks):
        if number == script.after:
            yield from _fault(script, frame)
        elif number:
            yield Wait(script.pause)
        delta = {"content": piece} if reasoning is None else {reasoning: piece, "content": None}
        used = _used(number + 1) if script.usage == "each" else {}
        yield from _pieces(script, frame.choice(delta, **used))
    if script.after >= len(chunks):
        yield from _fault(script, frame)
    if script.extras:
        yield Send(frame.choice({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}))
    if script.finish is not None:
        yield Send(frame.choice({}, finish=script.finish))
    if script.usage == "always" or (script.usage == "asked" and count):
        yield Wait(script.pause)
        yield Send(frame.line({"choices": [], **_used(len(chunks))}))
    if script.done:
        yield Wait(script.pause)
        yield Send(frame.field("data", "[DONE]", last=True))
    if script.linger:
        yield Gate("never")


def _used(chunks: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": 7, "completion_tokens": chunks, "total_tokens": 7 + chunks}}


def _fault(script: Script, frame: _Frame) -> Iterator[Step]:
    if script.gate:
        yield Gate(script.gate)
    if script.raw:
        yield Send(script.raw.encode("utf-8", "surrogatepass") + b"\n\n")
    if script.error is not None:
        error = script.error if script.error_field == "error" else {"error": script.error}
        yield Send(frame.field(script.error_field, json.dumps(error)))
    if script.cut:
        yield Cut(script.cut)


def _pieces(script: Script, data: bytes) -> Iterator[Send]:
    size = script.pieces or len(data)
    for at in range(0, len(data), size):
        yield Send(data[at : at + size], chunk=at + size >= len(data))


class _Frame:
    """Lines of the stream, in the script's manner."""

    def __init__(self, script: Script, model: str) -> None:
        self._script = script
        self._head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}

    def choice(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": finish}]
        if self._script.extras:
            choices.insert(0, {"index": 1, "delta": {"content": "never"}, "finish_reason": None})
            choices[1] |= {"logprobs": None, "unheard_of": [1]}
        return self.line({"choices": choices, **more})

    def line(self, value: dict[str, Any]) -> bytes:
        plain = not (self._script.ascii or self._script.surrogates)
        return self.field("data", json.dumps(self._head | value, ensure_ascii=not plain))

    def field(self, name: str, value: str, last: bool = False) -> bytes:
        newline = "\r\n" if self._script.crlf else "\n"
        line = f"{name}:{'' if self._script.tight else ' '}{value}{newline}"
        if not (last and self._script.tight):
            line += newline
        if self._script.comments:
            line = f": ping{newline}{newline}event: message{newline}{line}"
        return line.encode()


def _sliced(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _split_pairs(chunks: list[tuple[str | None, str]]) -> Iterator[tuple[str | None, str]]:
    """The same chunks with a cut inside every surrogate pair."""
    for name, text in chunks:
        piece = ""
        for character in text:
            if character > "\uffff":
                code = ord(character) - 0x10000
                yield name, piece + chr(0xD800 + (code >> 10))
                piece = chr(0xDC00 + (code & 0x3FF))
            else:
                piece += character
        if piece:
            yield name, piece
