"""Whether a frame is as published: docs/protocol.schema.json, and the limit on its size. Every harness asks here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

from chat.protocol import MAX_FRAME
from tests.replica import Broken

SCHEMA = Path(__file__).parents[1] / "docs" / "protocol.schema.json"
RESULTS = {"change": "Change", "messages": "MessageRow", "runs": "RunRow", "items": "FoundItem"}
"""What a reply's result may hold that has a schema of its own; of the plural ones there are lists."""


def check(frame: dict[str, Any], size: int) -> None:
    """Raises Broken if the server's frame is none of the published schema, or too large."""
    _check("event", frame)
    result = frame.get("result", {})
    for name in RESULTS.keys() & result.keys():
        for part in result[name] if name.endswith("s") else [result[name]]:
            _hold(_validator(RESULTS[name]), part)
    rows = frame.get("messages") or result.get("change", result).get("messages", [])
    if size > MAX_FRAME and len(rows) != 1:
        raise Broken(f"a frame of {size} bytes: {str(frame)[:500]}")


def check_command(frame: dict[str, Any]) -> None:
    """Raises Broken if the client's frame is none of the published schema."""
    _check("command", frame)


def _check(union: str, frame: dict[str, Any]) -> None:
    name = _names(union).get(frame.get("type", ""))
    if name is None:
        raise Broken(f"an unknown {union}: {str(frame)[:500]}")
    _hold(_validator(name), frame)


def _hold(validator: Draft202012Validator, value: Any) -> None:
    if not validator.is_valid(value):
        error = next(validator.iter_errors(value))
        raise Broken(f"not by the schema: {error.message} at {error.instance_path} in {str(value)[:1000]}")


@cache
def _definitions() -> dict[str, Any]:
    """The published ones, made so strict that no field passes which they do not name."""
    definitions: dict[str, Any] = json.loads(SCHEMA.read_text())["$defs"]
    for definition in definitions.values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    return definitions


@cache
def _names(union: str) -> dict[str, str]:
    """By type: the definition of each event, or command."""
    return dict(_types(union))


def _types(union: str) -> Iterator[tuple[str, str]]:
    for option in _definitions()[union]["anyOf"]:
        name = option["$ref"].rpartition("/")[2]
        yield _definitions()[name]["properties"]["type"]["const"], name


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": _definitions()})
