"""How a frame is read and written: JSON in UTF-8, of a limited size, its strings clean."""

from __future__ import annotations

import json
from typing import Any

import orjson

from chat.errors import BadFrame, TooLarge
from chat.protocol import MAX_FRAME, clean


def decode(data: str | bytes, limit: int = MAX_FRAME) -> Any:
    """The JSON value, its strings clean. Raises BadFrame, or TooLarge above ``limit`` bytes."""
    if len(data) > limit or (isinstance(data, str) and len(data.encode("utf-8", "surrogatepass")) > limit):
        raise TooLarge(detail={"limit": limit})
    try:
        try:
            value = orjson.loads(data)
            clean_already = (b"\\u0000" if isinstance(data, bytes) else "\\u0000") not in data  # type: ignore[operator]
        except ValueError:  # half a surrogate pair is no JSON for the fast reader; people's input may hold one
            value, clean_already = json.loads(data), False
        if not clean_already:
            value = _cleaned(value)
    except (ValueError, RecursionError) as error:
        raise BadFrame() from error
    return value


def parse(data: str | bytes) -> dict[str, Any]:
    """The JSON object of one frame, its strings clean. Raises BadFrame or TooLarge."""
    return frame(decode(data))


def frame(value: Any) -> dict[str, Any]:
    """The value, if it is a frame: an object with a type. Raises BadFrame."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise BadFrame()
    return value


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value


def encode(event: Any) -> str:
    """One frame: UTF-8 JSON, nothing \\u-escaped that need not be."""
    return orjson.dumps(event).decode()


def mark(frame: str) -> tuple[str, str | None]:
    """Type and cursor of an encoded event, without decoding it: an event begins with its type, and ends with its
    cursor, if it moves one. (Inside a string there is no quote without a backslash.)"""
    kind = frame[9 : frame.index('"', 9)]
    at = frame.rfind('"cursor":"', max(0, len(frame) - 120))
    return kind, None if at < 0 else frame[at + 10 : -2]
