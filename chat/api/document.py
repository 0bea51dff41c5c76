"""The OpenAPI document: what the library makes of the operations, and what it does not know of."""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from uuid import uuid4

import orjson
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from chat.api import following
from chat.api.examples import MADE_BY_CLIENTS

REFERENCE = re.compile(re.escape(f'"{following.SCHEMAS}') + r'(\w+)"')
SERVERS = [{"url": "/", "description": "The host that this document comes from"}]


class DocumentedAPI(NinjaAPI):
    """The API, whose document is whole, and has ids in its examples that nobody has used."""

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        prefix = self.get_root_path(path_params or {}) if path_prefix is None else path_prefix
        document: Any = orjson.loads(self._document(prefix))
        for methods in document["paths"].values():
            for operation in methods.values():
                _renew(operation)
        return document  # type: ignore[no-any-return]

    @cache  # noqa: B019  (there is one API, for as long as the process lasts)
    def _document(self, prefix: str) -> bytes:
        """All but the ids, which would be the same for everybody. To make it takes half a second."""
        document: dict[str, Any] = super().get_openapi_schema(path_prefix=prefix)
        document["paths"] |= following.paths(prefix)
        schemas = document["components"]["schemas"] | following.schemas()
        document["components"]["schemas"] = _used(document["paths"], schemas)
        return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)


def _used(paths: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Those schemas that the paths speak of, and in turn those that these speak of."""
    found: set[str] = set()
    named = set(_named(paths))
    while named:
        found |= named
        named = {name for known in named for name in _named(schemas[known])} - found
    return {name: schemas[name] for name in sorted(found)}


def _named(part: Any) -> list[str]:
    return REFERENCE.findall(orjson.dumps(part, option=orjson.OPT_NON_STR_KEYS).decode())


def _renew(operation: dict[str, Any]) -> None:
    """Give an operation's example ids of its own: an id is taken by who uses it first, and by the first command."""
    ids = {known: str(uuid4()) for known in MADE_BY_CLIENTS}
    if "requestBody" in operation:
        for content in operation["requestBody"]["content"].values():
            text = orjson.dumps(content["example"]).decode()
            for known, new in ids.items():
                text = text.replace(known, new)
            content["example"] = orjson.loads(text)
    for parameter in operation["parameters"]:
        if parameter["in"] == "query" and parameter["name"] == "id":
            parameter["example"] = str(uuid4())
