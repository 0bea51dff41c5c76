"""Frames: how commands are read, what is refused and how, and the schema that is published."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import frames
from chat.errors import BadFrame, BadRequest, ChatError, TooLarge, Unsupported
from chat.protocol import MAX_FRAME

ID, THREAD, OTHER = str(uuid4()), str(uuid4()), str(uuid4())
COMMANDS: dict[str, dict[str, Any]] = {
    "attach": {"thread": THREAD, "cursor": "5", "all": True},
    "detach": {"inbox": True},
    "history": {"thread": THREAD, "before": OTHER, "limit": 10},
    "send": {
        "thread": THREAD,
        "message": OTHER,
        "run": OTHER,
        "text": "hello",
        "parent": OTHER,
        "seen": {OTHER: 5},
        "on_busy": "interrupt",
        "model": "m",
    },
    "edit": {"thread": THREAD, "of": OTHER, "message": OTHER, "run": OTHER, "text": "hello", "seen": {OTHER: 5}},
    "regenerate": {"thread": THREAD, "of": OTHER, "run": OTHER, "seen": {}, "model": "m"},
    "continue": {"thread": THREAD, "of": OTHER, "run": OTHER},
    "select": {"thread": THREAD, "message": OTHER},
    "stop": {"thread": THREAD, "run": OTHER, "seen": {OTHER: 5}},
    "read": {"thread": THREAD, "message": OTHER},
    "create": {"thread": THREAD, "title": "t", "model": "m", "system_prompt": "s"},
    "update": {"thread": THREAD, "title": "t", "archived": True, "pinned": False},
    "delete": {"thread": THREAD, "cursor": "5"},
    "search": {"query": "river", "before": OTHER},
}


def frame(type: str, /, **changes: Any) -> dict[str, Any]:
    return {"type": type, "id": ID, **COMMANDS[type], **changes}


def read(value: dict[str, Any]) -> Any:
    return frames.command(frames.parse(json.dumps(value)))


def refusal(value: dict[str, Any]) -> ChatError:
    with pytest.raises(ChatError) as caught:
        read(value)
    return caught.value


# ----------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("type", COMMANDS)
def test_each_command_is_read_with_all_its_fields(type: str) -> None:
    command = read(frame(type))
    assert (command.type, command.id) == (type, UUID(ID))
    assert json.loads(command.model_dump_json(exclude_unset=True)) == frame(type)


@pytest.mark.parametrize("type", COMMANDS)
def test_fields_that_a_command_does_not_have_are_ignored(type: str) -> None:
    assert read(frame(type, colour="red")) == read(frame(type))


@pytest.mark.parametrize("type", COMMANDS)
@pytest.mark.parametrize("id", [None, "", "not-a-uuid", 5, {}, "x" * 1000])
def test_a_command_without_a_proper_id_is_a_bad_frame(type: str, id: Any) -> None:
    assert isinstance(refusal(frame(type, id=id)), BadFrame)


@pytest.mark.parametrize(
    ("type", "field", "value"),
    [
        ("send", "text", ""),
        ("send", "text", None),
        ("send", "text", 5),
        ("send", "thread", "x"),
        ("send", "message", None),
        ("send", "run", "x"),
        ("send", "parent", "x"),
        ("send", "model", "m" * 201),
        ("send", "cursor", "1" * 101),
        ("send", "on_busy", "wait"),
        ("update", "pinned", 1),
        ("update", "archived", "true"),
        ("send", "on_busy", None),
        ("send", "seen", {OTHER: -1}),
        ("edit", "text", ""),
        ("edit", "of", None),
        ("continue", "of", "x"),
        ("select", "message", None),
        ("stop", "seen", {OTHER: -1}),
        ("stop", "seen", {"x": 1}),
        ("stop", "seen", {OTHER: "all"}),
        ("stop", "seen", [OTHER]),
        ("history", "limit", 0),
        ("history", "limit", 201),
        ("history", "before", None),
        ("create", "title", "t" * 201),
        ("create", "system_prompt", "s" * 20_001),
        ("update", "archived", "perhaps"),
        ("search", "query", "q" * 201),
        ("search", "archived", "perhaps"),
        ("search", "limit", 0),
        ("search", "limit", 101),
        ("attach", "thread", 5),
        ("regenerate", "of", None),
        ("read", "message", ""),
    ],
)
def test_a_wrong_field_is_a_bad_request_that_names_it(type: str, field: str, value: Any) -> None:
    error = refusal(frame(type, **{field: value}))
    assert isinstance(error, BadRequest)
    assert error.detail == {"field": field}


def test_no_refusal_repeats_what_was_sent() -> None:
    error = refusal(frame("send", thread="a secret"))
    assert "secret" not in json.dumps(error.as_dict())


@pytest.mark.parametrize("type", ["fork", "welcome", "", "x" * 1000, "__class__"])
def test_an_unknown_command_is_unsupported(type: str) -> None:
    assert isinstance(refusal({"type": type, "id": ID}), Unsupported)


def test_an_ack_needs_no_id() -> None:
    assert frames.ack(frames.parse('{"type": "ack", "n": 3}')).n == 3


@pytest.mark.parametrize("n", [-1, "x", "3", None, [], 1.5, True])
def test_an_ack_of_nonsense_is_a_bad_frame(n: Any) -> None:
    with pytest.raises(BadFrame):
        frames.ack({"type": "ack", "n": n})


# ------------------------------------------------------------------------------------------------------- bad frames


@pytest.mark.parametrize(
    "data",
    ["", " ", "x", "null", "[]", "5", '"text"', "{", "{}", '{"type": null}', '{"type": 5}', '{"type": "send"'],
)
def test_what_is_no_object_with_a_type_is_a_bad_frame(data: str) -> None:
    with pytest.raises(BadFrame):
        frames.parse(data)


@pytest.mark.parametrize("inner", ["1", '"\\u0000"', '"\\ud83d"'])
@pytest.mark.parametrize("depth", [100, 500, 1000, 1020, 5000, 30_000])
def test_no_depth_of_nesting_is_more_than_a_bad_frame(inner: str, depth: int) -> None:
    data = '{"type": "send", "text": ' + "[" * depth + inner + "]" * depth + "}"
    try:
        assert frames.parse(data)["type"] == "send"
    except BadFrame:
        assert depth >= 500


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_input_is_more_than_a_bad_frame(data: str | bytes) -> None:
    with suppress(BadFrame):
        assert isinstance(frames.parse(data)["type"], str)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(COMMANDS)), st.data())
def test_no_value_of_a_field_is_more_than_a_refusal(type: str, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(frame(type))))
    try:
        read(frame(type, **{field: data.draw(JSON)}))
    except ChatError as error:
        json.dumps(error.as_dict())


def padded(size: int, character: str) -> str:
    head, tail = '{"type": "send", "text": "', '"}'
    count, rest = divmod(size - len(head) - len(tail), len(character.encode()))
    return head + character * count + "x" * rest + tail


@pytest.mark.parametrize("character", ["x", "漢", "😀"])
def test_a_frame_may_have_64_kib_and_not_a_byte_more(character: str) -> None:
    longest, longer = padded(MAX_FRAME, character), padded(MAX_FRAME + 1, character)
    assert (len(longest.encode()), len(longer.encode())) == (MAX_FRAME, MAX_FRAME + 1)
    for data in (longest, longest.encode()):
        assert frames.parse(data)["type"] == "send"
    for data in (longer, longer.encode()):
        with pytest.raises(TooLarge) as caught:
            frames.parse(data)
        assert caught.value.detail == {"limit": MAX_FRAME}


# -------------------------------------------------------------------------------------------------------- clean text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("\\u0000", "\ufffd"),
        ("a\\ud83d", "a\ufffd"),
        ("\\ud83d\\ude00", "😀"),
        ("\\ude00\\ud83d", "\ufffd\ufffd"),
        ("\\u0000\\ud83d\\ude00", "\ufffd😀"),
        ("\\\\u0000", "\\u0000"),
        ("\ud83d", "\ufffd"),
    ],
)
def test_what_can_not_be_stored_is_replaced_wherever_it_stands(written: str, text: str) -> None:
    value = frames.parse(f'{{"type": "x", "a": "{written}", "b": ["{written}"], "c": {{"{written}": 1}}}}')
    assert (value["a"], value["b"], value["c"]) == (text, [text], {text: 1})


def test_the_type_is_clean_too() -> None:
    assert frames.parse('{"type": "a\\u0000"}')["type"] == "a\ufffd"


def test_what_is_sent_is_utf8_and_not_escaped() -> None:
    assert frames.encode({"text": "漢 ä 😀 <"}) == '{"text":"漢 ä 😀 <"}'


# ------------------------------------------------------------------------------------------------------------ schema

SCHEMA = frames.json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("type", COMMANDS)
def test_the_schema_allows_what_the_server_takes(type: str) -> None:
    VALIDATOR.validate(frame(type))


@pytest.mark.parametrize("change", [{"id": None}, {"text": ""}, {"text": 5}, {"run": None}, {"type": "sent"}])
def test_the_schema_refuses_what_the_server_refuses(change: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(frame("send", **change))
    assert refusal(frame("send", **change))


def test_the_schema_has_every_command_and_every_event_by_its_type() -> None:
    types = {
        definition["properties"]["type"]["const"]
        for definition in SCHEMA["$defs"].values()
        if "const" in definition.get("properties", {}).get("type", {})
    }
    events = {"welcome", "change", "delta", "inbox", "caught_up", "gone", "reply", "error", "heartbeat"}
    assert types == {*COMMANDS, "ack", *events}
