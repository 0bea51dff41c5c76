"""Whatever the OpenAPI document allows, or forbids, the API answers as the document says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from channels.layers import channel_layers
from django.core.asgi import get_asgi_application
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from chat import tokens
from chat.api.following import TAG
from chat.errors import NotFound, TooLarge
from chat.process import Process
from tests.unit.caller import document
from tests.unit.chats import Chat

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
]


class Site:
    """The project's own application, without a worker, as one test has it."""

    def __init__(self) -> None:
        self.pages = get_asgi_application()
        self.process: Process | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.process = self.process or Process()
            await self.pages({**scope, "rejoin": self.process}, receive, send)


schema = schemathesis.openapi.from_dict(document()).exclude(tag=TAG)  # whose requests wait: tests/unit/test_sse.py
schema.app = site = Site()
rejection = schema.config.checks.negative_data_rejection
rejection.expected_statuses = [*rejection.expected_statuses, str(TooLarge.status)]  # of a list that is too long


@dataclass
class Known:
    """A user who may ask as often as he likes: his token, and what he has."""

    token: str
    ids: dict[str, str]


@pytest.fixture
def known(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Known:
    settings.REJOIN_RATE = settings.REJOIN_BURST = settings.REJOIN_MAX_QUEUED = 10**6
    settings.REJOIN_MODELS = ["model"]
    monkeypatch.setattr(channel_layers, "backends", {})
    site.process = None
    chat = Chat()
    turn = chat.turn()
    ids = {"thread": chat.id, "message": turn.message, "of": turn.answer, "run": turn.run}
    return Known(tokens.make(chat.owner.pk, "a program", None), {name: str(pk) for name, pk in ids.items()})


@schema.parametrize()
@settings(max_examples=10, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_the_document_says(case: Any, known: Known) -> None:
    """Of what is not there, as good as all that is made up; then, where that was well made up, of what is there."""
    headers = {"Authorization": f"Bearer {known.token}"}
    answer = case.call_and_validate(checks=CHECKS, headers=headers)
    if answer.status_code == NotFound.status and known.ids.keys() & case.path_parameters.keys():
        case.path_parameters = {name: known.ids[name] for name in case.path_parameters}
        if isinstance(case.body, dict) and "id" in case.body:
            case.body = {**case.body, "id": str(uuid4())}  # not the same command again
        case.call_and_validate(checks=CHECKS, headers=headers)
