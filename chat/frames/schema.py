"""The JSON Schema of every frame, made from the classes that check and describe them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from chat.frames.commands import Frame
from chat.frames.events import Event, FoundItem


def json_schema() -> dict[str, Any]:
    """The JSON Schema of every frame, both ways: ``$defs`` by name, ``command`` and ``event`` as their unions."""
    commands, events = TypeAdapter(Frame), TypeAdapter(Event)
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rejoin.v1",
        "$defs": {},
    }
    for name, adapter in (("command", commands), ("event", events)):
        part = adapter.json_schema()
        schema["$defs"] |= part.pop("$defs", {})
        schema["$defs"][name] = part
    schema["$defs"][FoundItem.__name__] = TypeAdapter(FoundItem).json_schema()  # only replies have it
    schema["anyOf"] = [{"$ref": "#/$defs/command"}, {"$ref": "#/$defs/event"}]
    return schema
