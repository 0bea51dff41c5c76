"""A program that calls the JSON API, through the project's own middleware and URLs."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from uuid import uuid4

import jsonschema
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.test import AsyncClient

from chat.api.following import TAG
from chat.api.urls import api
from chat.process import Process
from tests.unit.sockets import sign_in


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, as JSON has it."""
    made: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema()))
    return made


Operations = dict[str, tuple[str, str, dict[str, Any]]]


@cache
def everything() -> Operations:
    """Each operation by its id: method, address and description."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


def operations() -> Operations:
    """Those of the API itself."""
    return {name: known for name, known in everything().items() if TAG not in known[2]["tags"]}


def followings() -> Operations:
    """Those of event streams and long polls, which are served beside it."""
    return {name: known for name, known in everything().items() if TAG in known[2]["tags"]}


def validate(value: Any, schema: dict[str, Any]) -> None:
    """Raises if the value is not of a schema of the document."""
    jsonschema.Draft202012Validator({**schema, "components": document()["components"]}).validate(value)


class Called(AsyncClient):
    """Django's client, whose requests come to this process."""

    def __init__(self, process: Process, **options: Any) -> None:
        super().__init__(**options)
        self._process = process

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        return {**super()._base_scope(**request), "rejoin": self._process}


class Caller:
    """Calls operations by their ids. Every answer is held to the OpenAPI document."""

    def __init__(self, process: Process, *, checks_csrf: bool = False, **headers: str) -> None:
        self.client = Called(process, enforce_csrf_checks=checks_csrf)
        self.headers = headers

    @classmethod
    async def of(cls, process: Process, user: User, **options: Any) -> Caller:
        """Who is signed in as this user."""
        caller = cls(process, **options)
        caller.client.cookies[settings.SESSION_COOKIE_NAME] = await sync_to_async(sign_in)(user)
        return caller

    async def __call__(self, name: str, body: Any = None, *, query: Any = None, **path: Any) -> Any:
        """The answer's JSON (or text). ``self.response`` has the rest of it."""
        method, address, operation = operations()[name]
        await self.ask(method, address.format(**path), body, query)
        assert self.response["Cache-Control"] == "no-store"
        described = operation["responses"][str(self.response.status_code)]["content"]
        kind = self.response["Content-Type"].split(";")[0]
        if kind != "application/json":
            assert kind in described
            return self.response.text
        validate(self.response.json(), described[kind]["schema"])
        return self.response.json()

    async def do(self, name: str, body: Any = None, **path: Any) -> Any:
        """The same, for a command: with an id of its own, and without trouble."""
        fields = {"id": str(uuid4()), **{key: str(value) for key, value in (body or {}).items()}}
        found = await self(
            name, None if name == "delete" else fields, query=fields if name == "delete" else None, **path
        )
        assert self.response.status_code == 200, found
        return found

    async def refused(self, name: str, body: Any = None, *, query: Any = None, **path: Any) -> dict[str, Any]:
        """The error object of a call that is refused."""
        error: dict[str, Any] = await self(name, body, query=query, **path)
        assert error["status"] == self.response.status_code >= 400
        return error

    async def ask(self, method: str, address: str, body: Any = None, query: Any = None) -> Any:
        """Any request at all."""
        given = (
            {} if body is None else {"data": body if isinstance(body, bytes | str) else json.dumps(body, default=str)}
        )
        self.response: Any = await self.client.generic(
            method, address, content_type="application/json", query_params=query or {}, headers=self.headers, **given
        )
        return self.response
