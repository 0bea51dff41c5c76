"""API tokens: what is kept of one, and who gets in by one, whichever way it comes."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import AsyncRequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat import identity, tokens
from chat.errors import RateLimited, Unauthenticated
from chat.identity import Viewer
from chat.models import ApiToken
from chat.process import Process
from chat.protocol import CLOSE_BAD_FRAMES, CLOSE_SIGN_IN, PROTOCOL
from tests.unit.chats import Chat, in_database, make_user
from tests.unit.sockets import Socket, sign_in

Comes = Callable[..., Awaitable[str | None]]
"""Somebody comes with a token, and maybe with a session's cookie: the id of the user they count as, or None."""


def spoil(token: str, how: str) -> str:
    """What comes instead of a good token, or the token after something was done to it."""
    found = ApiToken.objects.all()
    if how == "revoked":
        tokens.revoke(found)
    elif how == "expired":
        found.update(expires_at=timezone.now())
    elif how == "of a user who may not sign in":
        User.objects.update(is_active=False)
    bad = {"unknown": f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}", "malformed": f"{token}=", "empty": ""}
    return bad.get(how, token)


SPOILT = ("revoked", "expired", "of a user who may not sign in", "unknown", "malformed", "empty")


# ------------------------------------------------------------------------------------------------------ what is kept


@pytest.fixture
def user(db: None) -> User:
    return make_user()


def test_of_a_token_only_its_digest_and_its_beginning_are_kept(user: User) -> None:
    token = tokens.make(user.pk, "backup", timedelta(days=30))
    assert tokens.FORM.fullmatch(token)
    [kept] = ApiToken.objects.values()
    assert kept["prefix"] == token[: tokens.SHOWN]
    assert token[tokens.SHOWN :] not in json.dumps(kept, default=str)
    assert len(token) - tokens.SHOWN >= 32


def test_no_two_tokens_are_the_same(user: User) -> None:
    assert len({tokens.make(user.pk, "one of many", None) for _ in range(10)}) == 10


def test_a_token_stands_for_its_user_until_it_expires(user: User) -> None:
    token = tokens.make(user.pk, "backup", timedelta(days=30))
    assert tokens.use(token) == user
    kept = ApiToken.objects.get()
    assert kept.expires_at is not None
    assert timedelta(days=29) < kept.expires_at - timezone.now() <= timedelta(days=30)
    assert tokens.use(tokens.make(user.pk, "for ever", None)) == user
    assert ApiToken.objects.get(name="for ever").expires_at is None


def test_a_use_is_noted_at_most_once_a_minute(user: User) -> None:
    token = tokens.make(user.pk, "backup", None)

    def writes() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert tokens.use(token) == user
        return sum(query["sql"].startswith("UPDATE") for query in queries)

    assert [writes(), writes(), writes()] == [1, 0, 0]
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    assert [writes(), writes()] == [1, 0]


@pytest.mark.parametrize("how", SPOILT)
def test_an_attempt_that_fails_writes_nothing_and_a_malformed_one_does_not_even_ask(user: User, how: str) -> None:
    bad = spoil(tokens.make(user.pk, "backup", None), how)
    with CaptureQueriesContext(connection) as queries:
        assert tokens.use(bad) is None
    assert len(queries) == (0 if how in ("malformed", "empty") else 1)
    assert all(query["sql"].startswith("SELECT") for query in queries)


def test_a_user_has_only_so_many_tokens_that_stand(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKENS", 2)
    for _ in range(2):
        tokens.make(user.pk, "one", None)
    with pytest.raises(RateLimited, match="Revoke one first"):
        tokens.make(user.pk, "one too many", None)
    tokens.revoke(ApiToken.objects.filter(pk=ApiToken.objects.first().pk))  # type: ignore[union-attr]
    tokens.make(user.pk, "one more", None)
    tokens.make(make_user().pk, "another's", None)


def test_what_was_revoked_or_has_expired_is_kept_for_a_while_and_what_stands_for_good(user: User) -> None:
    long_ago, lately = timezone.now() - timedelta(days=91), timezone.now() - timedelta(days=89)
    for name, fields in {
        "stands": {},
        "stands till tomorrow": {"expires_at": timezone.now() + timedelta(days=1)},
        "expired lately": {"expires_at": lately},
        "revoked lately": {"revoked_at": lately},
        "expired long ago": {"expires_at": long_ago},
        "revoked long ago": {"revoked_at": long_ago, "expires_at": timezone.now() + timedelta(days=1)},
    }.items():
        tokens.make(user.pk, name, None)
        ApiToken.objects.filter(name=name).update(created_at=timezone.now() - timedelta(days=400), **fields)
    tokens.remove_old()
    kept = set(ApiToken.objects.values_list("name", flat=True))
    assert kept == {"stands", "stands till tomorrow", "expired lately", "revoked lately"}


# ------------------------------------------------------------------------------------------------------- the ways in


async def _come(socket: Socket) -> str | None:
    connected, subprotocol = await socket.wire.connect(timeout=10)
    assert connected and subprotocol == PROTOCOL, "only the protocol's own name is echoed"
    event = await socket.next()
    await socket.wire.disconnect()
    if event["type"] == "close":
        assert event["code"] == CLOSE_SIGN_IN
        return None
    return str(event["user"]["id"])


@pytest.fixture(params=["websocket, by a header", "websocket, by a subprotocol", "HTTP"])
def comes(request: pytest.FixtureRequest, process: Process) -> Comes:
    async def by_header(token: str, cookie: str = "") -> str | None:
        return await _come(Socket(process, cookie, authorization=f"Bearer {token}", origin=""))

    async def by_subprotocol(token: str, cookie: str = "") -> str | None:
        socket = Socket(process, cookie, origin="https://elsewhere.example")
        socket.wire.scope["subprotocols"] = [PROTOCOL, f"bearer.{token}"]
        return await _come(socket)

    async def by_http(token: str, cookie: str = "") -> str | None:
        try:
            viewer = await identity.of_request(in_database, asked(cookie, Authorization=f"Bearer {token}"))
        except Unauthenticated:
            return None
        assert viewer.by_token
        return str(viewer.pk)

    ways: dict[str, Comes] = {
        "websocket, by a header": by_header,
        "websocket, by a subprotocol": by_subprotocol,
        "HTTP": by_http,
    }
    return ways[request.param]


def asked(cookie: str = "", **headers: str) -> Any:
    """An HTTP request."""
    requests = AsyncRequestFactory()
    requests.cookies[django_settings.SESSION_COOKIE_NAME] = cookie
    return requests.get("/", headers=headers)


@pytest.fixture
async def token(owned: Chat) -> str:
    return str(await in_database(tokens.make, owned.owner.pk, "backup", None))


async def test_who_brings_a_token_is_its_user(comes: Comes, owned: Chat, token: str) -> None:
    assert await comes(token) == str(owned.owner.pk)
    assert (await in_database(ApiToken.objects.get)).last_used_at is not None


async def test_who_brings_a_token_and_anothers_session_is_the_tokens_user(
    comes: Comes, owned: Chat, token: str
) -> None:
    cookie = await sync_to_async(sign_in)(await in_database(make_user))
    assert await comes(token, cookie) == str(owned.owner.pk)


@pytest.mark.parametrize("how", SPOILT)
async def test_a_token_that_is_not_good_is_refused(comes: Comes, token: str, how: str) -> None:
    assert await comes(await in_database(spoil, token, how)) is None


@pytest.mark.parametrize("how", SPOILT)
async def test_a_token_that_is_not_good_is_refused_with_a_good_session_beside_it(
    comes: Comes, token: str, how: str
) -> None:
    cookie = await sync_to_async(sign_in)(await in_database(make_user))
    if how == "of a user who may not sign in":
        assert await comes(token, cookie) is not None
        await in_database(lambda: User.objects.exclude(api_tokens=None).update(is_active=False))
        assert await comes(token, cookie) is None
    else:
        assert await comes(await in_database(spoil, token, how), cookie) is None


async def test_no_token_is_logged_whether_it_is_good_or_not(
    comes: Comes, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for how in ("good", "unknown", "malformed", "revoked"):
        await comes(await in_database(spoil, token, how))
    assert token[tokens.SHOWN :] not in caplog.text


async def test_a_user_sees_by_a_token_what_the_user_sees_and_nothing_of_others(
    process: Process, owned: Chat, token: str
) -> None:
    other = await in_database(Chat)
    socket = Socket(process, authorization=f"Bearer {token}", origin="")
    await socket.open()
    assert (await socket.do("update", thread=owned.id, title="mine"))["version"] == 2
    for stranger in (other.id, uuid4()):
        refused = await socket.do("update", thread=stranger, title="not mine")
        assert refused["code"] == "not_found"
        await socket.command("attach", thread=stranger)
        assert (await socket.until("gone"))[-1]["code"] == "not_found"
    await socket.wire.disconnect()


# --------------------------------------------------------------------------------------------------------- websockets


@pytest.mark.parametrize("how", ["revoked", "expired", "of a user who may not sign in"])
async def test_an_open_socket_is_closed_when_its_token_does_not_stand_any_more(
    process: Process, token: str, how: str
) -> None:
    socket = Socket(process, authorization=f"Bearer {token}", origin="")
    await socket.open()
    await in_database(spoil, token, how)
    socket.tick(61)
    assert (await socket.until("close"))[-1]["code"] == CLOSE_SIGN_IN


async def test_an_open_socket_stays_open_while_its_token_stands(process: Process, owned: Chat, token: str) -> None:
    """However its user's sessions end: the token is what it came by."""
    cookie = await sync_to_async(sign_in)(owned.owner)
    socket = Socket(process, cookie, authorization=f"Bearer {token}", origin="")
    await socket.open()
    await in_database(lambda: Session.objects.all().delete())
    [watching] = process.connections
    await watching._check_session()  # type: ignore[attr-defined]
    assert (await socket.do("update", thread=owned.id, title="here"))["version"] == 2
    await socket.wire.disconnect()


@pytest.mark.parametrize("offered", [["bearer.{}"], ["rejoin.v9", "bearer.{}"]])
async def test_a_socket_that_offers_a_token_and_no_protocol_is_closed_and_the_token_not_echoed(
    process: Process, token: str, offered: list[str]
) -> None:
    socket = Socket(process)
    socket.wire.scope["subprotocols"] = [name.format(token) for name in offered]
    assert await socket.wire.connect(timeout=10) == (True, None)
    assert (await socket.next())["code"] == CLOSE_BAD_FRAMES


@pytest.mark.parametrize("same", [True, False])
async def test_a_token_that_comes_both_ways_is_one_and_two_that_differ_are_none(
    process: Process, owned: Chat, token: str, same: bool
) -> None:
    other = token if same else await in_database(tokens.make, owned.owner.pk, "another", None)
    socket = Socket(process, authorization=f"Bearer {token}")
    socket.wire.scope["subprotocols"] = [PROTOCOL, f"bearer.{other}"]
    assert await _come(socket) == (str(owned.owner.pk) if same else None)


@pytest.mark.parametrize("header", ["Basic {}", "bearer.{}", "{}", ""])
async def test_a_page_from_elsewhere_gets_past_the_origin_only_with_a_bearer_token(
    process: Process, owned: Chat, token: str, header: str
) -> None:
    """Nothing else that a header may hold stands for one: it would open the visitor's session to any page."""
    cookie = await sync_to_async(sign_in)(owned.owner)
    evil = Socket(process, cookie, authorization=header.format(token), origin="http://evil.example")
    assert await evil.refused() == 403


async def test_a_token_in_the_query_string_is_none(process: Process, token: str) -> None:
    socket = Socket(process)
    socket.wire.scope["query_string"] = f"token={token}&access_token={token}&bearer={token}".encode()
    assert await _come(socket) is None


# --------------------------------------------------------------------------------------------------------------- HTTP


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_the_scheme_is_read_in_any_case(owned: Chat, token: str, scheme: str) -> None:
    assert (await identity.of_request(in_database, asked(Authorization=f"{scheme} {token}"))).pk == owned.owner.pk


async def test_another_scheme_is_a_proxys_business_and_the_session_counts(owned: Chat, token: str) -> None:
    cookie = await sync_to_async(sign_in)(owned.owner)
    viewer = await identity.of_request(in_database, asked(cookie, Authorization="Basic YW5uOnNlY3JldA=="))
    assert viewer == Viewer(owned.owner.pk, owned.owner.username, guest=False, by_token=False)
    with pytest.raises(Unauthenticated):
        await identity.of_request(in_database, asked(Authorization=f"Basic {token}"))


async def test_who_brings_nothing_is_nobody(process: Process) -> None:
    for cookie in ("", "x"):
        with pytest.raises(Unauthenticated):
            await identity.of_request(in_database, asked(cookie))


@pytest.mark.parametrize("by", ["token", "session"])
async def test_a_request_that_goes_on_can_ask_again_whether_its_viewer_still_stands(
    owned: Chat, token: str, by: str
) -> None:
    cookie = await sync_to_async(sign_in)(owned.owner)
    request = asked(Authorization=f"Bearer {token}") if by == "token" else asked(cookie)
    assert (await identity.of_request(in_database, request)).by_token == (by == "token")
    await in_database(tokens.revoke, ApiToken.objects.all())
    await in_database(lambda: Session.objects.all().delete())
    with pytest.raises(Unauthenticated):
        await identity.of_request(in_database, request)


async def test_a_session_outlives_a_new_secret_key_however_often_it_is_looked_at(owned: Chat, settings: Any) -> None:
    cookie = await sync_to_async(sign_in)(owned.owner)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    for _ in range(2):
        assert (await identity.of_request(in_database, asked(cookie))).pk == owned.owner.pk
