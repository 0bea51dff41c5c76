"""Static files as a developer gets them: on both sides of the event loop, and 404 where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import AsyncClient, Client

from chat.modules import SOURCES
from tests.servers.process import ROOT

NAME = "chat/page/main.js"
FILE = (ROOT / "static" / NAME).read_bytes()


@pytest.fixture(autouse=True)
def _from_the_sources(settings: Any) -> None:
    settings.DEBUG = settings.WHITENOISE_AUTOREFRESH = settings.WHITENOISE_USE_FINDERS = True


def test_a_file_that_is_nowhere_is_found_nowhere() -> None:
    assert NAME in SOURCES
    assert finders.find(NAME) == str(ROOT / "static" / NAME)
    for name in ("chat/nothing.js", "chat/packages/nothing.mjs"):
        assert not finders.find(name)
        assert not finders.find(name, find_all=True)


def test_files_are_served_to_who_asks_from_a_thread(client: Client) -> None:
    response = client.get(f"/static/{NAME}")
    assert (response.status_code, response.getvalue()) == (200, FILE)
    assert client.get("/static/chat/nothing.js").status_code == 404


async def test_files_are_served_to_who_asks_from_the_event_loop(async_client: AsyncClient) -> None:
    response = await async_client.get(f"/static/{NAME}")
    assert (response.status_code, response.getvalue()) == (200, FILE)
    part = await async_client.get(f"/static/{NAME}", headers={"Range": "bytes=2-11"})
    assert (part.status_code, part.getvalue()) == (206, FILE[2:12])
    known = await async_client.get(f"/static/{NAME}", headers={"If-None-Match": response["ETag"]})
    assert known.status_code == 304
    assert (await async_client.get("/static/chat/nothing.js")).status_code == 404
    assert (await async_client.get("/healthz")).status_code == 200


def test_a_page_that_names_no_icon_gets_the_chats(client: Client) -> None:
    response = client.get("/favicon.ico", follow=True)
    assert (response["Content-Type"], response.getvalue()[:4]) == ("image/svg+xml", b"<svg")
