"""The line path of the OpenAI provider, without a server: bytes cut anywhere give the same parts."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat.errors import ProviderProtocol, RunError
from chat.protocol import Part, clean, join
from chat.providers.openai.answer import Answer
from chat.providers.openai.failures import retry_after
from chat.providers.openai.sse import MAX_LINE, Lines
from tests.servers.script import Script, Send, expected_reasoning, full_text, steps

SCRIPTS = st.builds(
    Script,
    chunks=st.integers(0, 12),
    seed=st.text(max_size=3),
    size=st.integers(0, 3),
    reasoning=st.integers(0, 3),
    nul=st.just(False),
    usage=st.sampled_from(["asked", "never"]),
    crlf=st.booleans(),
    tight=st.booleans(),
    comments=st.booleans(),
    ascii=st.booleans(),
    surrogates=st.booleans(),
    extras=st.booleans(),
    done=st.booleans(),
)

NAMES = st.sampled_from(["choices", "delta", "index", "content", "reasoning", "usage", "finish_reason", "error"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


def stream(script: Script) -> bytes:
    """The bytes that the scripted server would send."""
    return b"".join(step.data for step in steps(script) if isinstance(step, Send))


def read(*chunks: bytes) -> list[Part]:
    """The parts of a stream that arrives in these pieces."""
    lines, answer = Lines(), Answer("m", "model")
    parts: list[Part] = []
    for chunk in (*chunks, b"\n"):
        for data in lines.feed(chunk):
            parts += answer.read(data)
    return [*parts, *answer.close()]


@given(SCRIPTS, st.lists(st.integers(0, 4000), max_size=20))
@example(Script(chunks=5, crlf=True), list(range(4000)))
@example(Script(chunks=5, surrogates=True, tight=True), list(range(4000)))
def test_any_split_of_the_bytes_gives_the_same_parts(script, cuts):
    data = stream(script)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = read(*(data[a:b] for a, b in itertools.pairwise(places)))
    assert parts == read(data)
    texts = {kind: clean("".join(part[2] for part in parts if part[0] == kind)) for kind in ("text", "reasoning")}
    assert texts == {"text": full_text(script), "reasoning": expected_reasoning(script)}


@given(st.text(st.characters(), max_size=40), st.booleans())
def test_any_text_arrives_as_it_was_said_whether_escaped_or_not(text, escaped):
    lone = any("\ud800" <= character <= "\udfff" for character in text)
    chunk = {"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
    data = json.dumps(chunk, ensure_ascii=escaped or lone).encode()
    parts = read(b"data: " + data + b"\n\n")
    assert "".join(part[2] for part in parts if part[0] == "text") == text


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_break_the_protocol(data):
    try:
        read(b"data: " + data)
    except ProviderProtocol:
        return
    assert b"[DONE]" in data


@given(JSON)
def test_any_json_is_text_or_a_failure_of_the_provider(value):
    parts = Answer("m", "model").read(json.dumps(value).encode())
    with suppress(RunError):
        for part in parts:
            assert part[0] == "start" or (part[0] in ("text", "reasoning") and isinstance(part[2], str))


def test_bytes_that_are_no_text_are_replaced_and_the_rest_is_kept():
    data = b'data: {"choices":[{"delta":{"content":"a\xff\xe4\xbdb"},"finish_reason":"stop"}]}\n'
    assert join(read(data))[1] == ("text", "m", "a\ufffd\ufffdb")


def test_a_bare_control_character_is_kept():
    data = b'data: {"choices":[{"delta":{"content":"a\x00\tb"},"finish_reason":"stop"}]}\n'
    assert join(read(data))[1] == ("text", "m", "a\x00\tb")


def test_nothing_is_said_after_done():
    chunk = b'data: {"choices":[{"delta":{"content":"late"}}]}\n'
    assert [part[0] for part in read(b"data: [DONE]\n", chunk)] == ["start", "end"]


def test_counts_of_tokens_that_come_with_each_chunk_add_up_to_the_last():
    def counted(output: int) -> bytes:
        usage = {"prompt_tokens": 3, "completion_tokens": output}
        return b"data: " + json.dumps({"choices": [{"delta": {"content": "x"}}], "usage": usage}).encode() + b"\n"

    parts = read(counted(1), counted(2), b"data: [DONE]\n")
    assert [part[2] for part in parts if part[0] == "usage"] == [
        {"input": 3, "output": 1},
        {"input": 0, "output": 1},
    ]


def test_a_refusal_is_text():
    data = b'data: {"choices":[{"delta":{"content":null,"refusal":"No."},"finish_reason":"stop"}]}\n'
    assert join(read(data))[1] == ("text", "m", "No.")


def test_a_line_may_be_long_but_not_without_end():
    lines = Lines()
    chunk = b"data: " + b"x" * (MAX_LINE // 4 - 6)
    assert lines.feed(chunk) == []
    for _ in range(3):
        assert lines.feed(b"x" * (MAX_LINE // 4)) == []
    with pytest.raises(ProviderProtocol):
        lines.feed(b"x")


WAITS: list[tuple[dict[str, Any], float | None]] = [
    ({}, None),
    ({"retry-after": "7"}, 7.0),
    ({"retry-after": "1.5"}, 1.5),
    ({"retry-after": "60", "retry-after-ms": "1500"}, 1.5),
    ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
    ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
    ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT"}, None),
    ({"retry-after": "-1"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "", "date": ""}, None),
    ({"retry-after-ms": "inf"}, None),
    ({"retry-after-ms": "nan"}, None),
    ({"retry-after": "9" * 400}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), WAITS)
def test_the_time_to_wait_is_read_from_the_headers(headers, seconds):
    assert retry_after(headers) == seconds
