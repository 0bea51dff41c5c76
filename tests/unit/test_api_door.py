"""The JSON API's door: who comes in, and how every refusal goes out."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User

from chat import guests, tokens
from chat.errors import Internal
from chat.models import Command
from chat.process import Process
from chat.protocol import MAX_COMMANDS_BODY, MAX_FRAME
from tests.unit.caller import Caller, operations
from tests.unit.chats import Chat, in_database, make_user
from tests.unit.test_api import ids


@pytest.fixture
async def caller(process: Process, owned: Chat) -> Caller:
    """The thread's owner, signed in."""
    return await Caller.of(process, owned.owner)


async def bearer(process: Process, user: User, **options: Any) -> Caller:
    """A program with a token of this user's."""
    token = await in_database(tokens.make, user.pk, "a program", None)
    return Caller(process, checks_csrf=True, Authorization=f"Bearer {token}", **options)


def fitting(name: str, chat: Chat) -> dict[str, Any]:
    """Arguments with which this operation gets as far as looking for what it is about."""
    _, address, operation = operations()[name]
    turn = chat.turn()
    known = {"thread": chat.id, "message": turn.message, "of": turn.answer, "run": turn.run}
    path = {field: value for field, value in known.items() if f"{{{field}}}" in address}
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return {"query": ids("id") if name == "delete" else {}, **path}
    body = content["example"]
    return {"body": [body] if name == "commands" and isinstance(body, dict) else body, **path}


# ------------------------------------------------------------------------------------------------------- who comes in


async def test_a_stranger_is_told_to_sign_in(process: Process, owned: Chat) -> None:
    stranger = Caller(process)
    for name in operations():
        error = await stranger.refused(name, **await in_database(fitting, name, owned))
        assert error["code"] == "unauthenticated", name
        assert stranger.response["WWW-Authenticate"] == "Bearer"


async def test_what_is_anothers_is_not_found_in_the_same_words_as_what_is_not_there(
    process: Process, owned: Chat
) -> None:
    other = await Caller.of(process, await in_database(make_user))
    for name in operations().keys() - {"me", "threads", "create", "commands"}:
        given = await in_database(fitting, name, owned)
        absent = {**given, **{field: uuid4() for field in ("thread", "message", "of", "run") if field in given}}
        theirs, nothing = await other.refused(name, **given), await other.refused(name, **absent)
        assert theirs == nothing, name
        assert theirs["code"] == "not_found", name


async def test_a_list_of_commands_on_anothers_thread_finds_nothing(process: Process, owned: Chat) -> None:
    other = await Caller.of(process, await in_database(make_user))
    given = [{"type": "update", **ids("id"), "title": "mine now"}, {"type": "delete", **ids("id")}]
    assert [reply["code"] for reply in await other("commands", given, thread=owned.id)] == ["not_found"] * 2


async def test_an_id_that_somebody_else_has_taken_is_a_conflict(process: Process, owned: Chat) -> None:
    other = await Caller.of(process, await in_database(make_user))
    error = await other.refused("create", {**ids("id"), "thread": str(owned.id)})
    assert error["code"] == "conflict"
    mine = await in_database(Chat, await in_database(make_user))
    turn = await in_database(mine.turn)
    taken = {**ids("id", "run"), "message": str(turn.message), "text": "hello"}
    theirs = await Caller.of(process, owned.owner)
    assert (await theirs.refused("send", taken, thread=owned.id))["code"] == "conflict"
    assert (await in_database(lambda: mine.message(turn.message).text)) == "hello"


async def test_what_was_deleted_is_not_found(caller: Caller, owned: Chat) -> None:
    turn = await in_database(owned.turn)
    await caller.do("delete", thread=owned.id)
    for name, path in (("thread", {}), ("message", {"message": turn.message}), ("run", {"run": turn.run})):
        assert (await caller.refused(name, thread=owned.id, **path))["code"] == "not_found"
    assert (await caller.refused("update", ids("id"), thread=owned.id))["code"] == "not_found"
    assert (await caller.refused("threads", query={"before": owned.id}))["code"] == "not_found"


async def test_who_has_signed_out_or_was_deactivated_is_a_stranger(process: Process, owned: Chat) -> None:
    caller = await Caller.of(process, owned.owner)
    await caller("me")
    await in_database(lambda: User.objects.filter(pk=owned.owner.pk).update(is_active=False))
    assert (await caller.refused("me"))["code"] == "unauthenticated"
    await in_database(lambda: User.objects.filter(pk=owned.owner.pk).update(is_active=True))
    await caller("me")
    await caller.client.alogout()
    assert (await caller.refused("me"))["code"] == "unauthenticated"


async def test_a_guest_comes_in_by_the_cookie(process: Process) -> None:
    caller = await Caller.of(process, await in_database(guests.make_guest))
    assert (await caller("me"))["user"]["guest"]


# --------------------------------------------------------------------------------------------------------------- CSRF


async def test_what_a_cookie_changes_needs_the_csrf_token(process: Process, owned: Chat) -> None:
    caller = await Caller.of(process, owned.owner, checks_csrf=True)
    for name in (name for name, (method, *_) in operations().items() if method != "GET"):
        given = await in_database(fitting, name, owned)
        before = await in_database(lambda: owned.thread.version)
        assert (await caller.refused(name, **given))["code"] == "forbidden", name
        assert (await in_database(lambda: owned.thread.version)) == before, name


async def test_with_the_csrf_token_a_cookie_may(process: Process, owned: Chat) -> None:
    token = "a" * 32
    caller = await Caller.of(process, owned.owner, checks_csrf=True, **{"X-CSRFToken": token})
    caller.client.cookies[django_settings.CSRF_COOKIE_NAME] = token
    await caller.do("update", {"title": "Rivers"}, thread=owned.id)
    caller.client.cookies[django_settings.CSRF_COOKIE_NAME] = "b" * 32
    assert (await caller.refused("update", ids("id"), thread=owned.id))["code"] == "forbidden"


async def test_reading_needs_no_csrf_token(process: Process, owned: Chat) -> None:
    caller = await Caller.of(process, owned.owner, checks_csrf=True)
    await caller("thread", thread=owned.id)


async def test_a_program_with_a_token_needs_no_csrf_token(process: Process, owned: Chat) -> None:
    program = await bearer(process, owned.owner)
    await program.do("update", {"title": "Rivers"}, thread=owned.id)
    assert (await program("thread", thread=owned.id))["thread"]["title"] == "Rivers"


async def test_a_bad_token_is_refused_whatever_the_cookie(process: Process, owned: Chat) -> None:
    caller = await Caller.of(process, owned.owner, Authorization="Bearer rejoin_nonsense")
    assert (await caller.refused("me"))["code"] == "unauthenticated"
    assert (await caller.refused("update", ids("id"), thread=owned.id))["code"] == "unauthenticated"


async def test_another_kind_of_authorization_does_not_spare_a_cookie_its_csrf_token(
    process: Process, owned: Chat
) -> None:
    caller = await Caller.of(process, owned.owner, checks_csrf=True, Authorization="Basic YTpi")
    assert (await caller.refused("update", ids("id"), thread=owned.id))["code"] == "forbidden"


# ------------------------------------------------------------------------------------------------------------- limits


async def test_too_many_requests_are_told_when_to_come_back(caller: Caller, settings: Any) -> None:
    settings.REJOIN_RATE, settings.REJOIN_BURST = 0.5, 2
    for _ in range(2):
        await caller("me")
    error = await caller.refused("me")
    assert error["code"] == "rate_limited"
    assert 0 < error["retry_after"] <= 2
    assert caller.response["Retry-After"] in ("1", "2")


async def test_a_user_has_one_allowance_whichever_way_he_comes(process: Process, owned: Chat, settings: Any) -> None:
    settings.REJOIN_RATE, settings.REJOIN_BURST = 0.001, 1
    await (await Caller.of(process, owned.owner))("me")
    assert (await (await bearer(process, owned.owner)).refused("me"))["code"] == "rate_limited"
    await (await Caller.of(process, await in_database(make_user)))("me")


async def test_a_body_that_is_too_large_is_refused_unread(caller: Caller, owned: Chat) -> None:
    error = await caller.refused("update", b"[" * (MAX_FRAME + 1), thread=owned.id)
    assert (error["code"], error["detail"]) == ("too_large", {"limit": MAX_FRAME})
    for size in (MAX_COMMANDS_BODY + 1, 3 * 1024 * 1024):  # above Django's own limit, too
        error = await caller.refused("commands", b"[" * size, thread=owned.id)
        assert (error["code"], error["detail"]) == ("too_large", {"limit": MAX_COMMANDS_BODY})


async def test_a_message_that_is_too_long_is_refused(caller: Caller, owned: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_MESSAGE = 10
    body = {**ids("id", "message", "run"), "text": "漢字漢字"}
    error = await caller.refused("send", body, thread=owned.id)
    assert (error["code"], error["detail"]) == ("too_large", {"limit": 10})


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "id"),
        ({"id": "seven"}, "id"),
        ({"id": str(uuid4()), "title": 7}, "title"),
        ({"id": str(uuid4()), "title": "x" * 201}, "title"),
        ({"id": str(uuid4()), "archived": "perhaps"}, "archived"),
        ({"id": str(uuid4()), "cursor": "yesterday"}, "cursor"),
        ({"id": str(uuid4()), "cursor": "1" * 101}, "cursor"),
        ({"id": str(uuid4()), "model": "unheard-of"}, "model"),
        ([], "body"),
        ("text", "body"),
        (None, "body"),
    ],
)
async def test_a_field_that_is_wrong_is_named(caller: Caller, owned: Chat, body: Any, field: str) -> None:
    body = json.dumps(body) if isinstance(body, str) else body
    error = await caller.refused("update", body, thread=owned.id)
    assert (error["code"], error["detail"]) == ("bad_request", {"field": field})


@pytest.mark.parametrize(
    ("name", "query", "field"),
    [
        ("threads", {"limit": 0}, "limit"),
        ("threads", {"limit": "many"}, "limit"),
        ("threads", {"before": "seven"}, "before"),
        ("threads", {"query": "x" * 201}, "query"),
        ("threads", {"archived": "perhaps"}, "archived"),
        ("messages", {"limit": 201}, "limit"),
        ("runs", {"state": "dancing"}, "state"),
        ("export", {"format": "pdf"}, "format"),
        ("delete", {}, "id"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(
    caller: Caller, owned: Chat, name: str, query: dict[str, Any], field: str
) -> None:
    error = await caller.refused(name, query=query, thread=owned.id)
    assert (error["code"], error["detail"]) == ("bad_request", {"field": field})


async def test_a_query_that_is_too_much_is_refused(caller: Caller) -> None:
    error = await caller.refused("threads", query={f"field{n}": n for n in range(1001)})
    assert error["code"] == "bad_request"


@pytest.mark.parametrize("name", ["thread", "update", "export", "commands"])
async def test_an_address_with_a_bad_id_names_it(caller: Caller, owned: Chat, name: str) -> None:
    body = {"update": ids("id"), "commands": [{}]}.get(name)
    error = await caller.refused(name, body, thread="seven")
    assert (error["code"], error["detail"]) == ("bad_request", {"field": "thread"})


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"id": ', b"[" * 5000, b"1" * 5000])
async def test_a_body_that_is_no_json_is_a_bad_frame(caller: Caller, owned: Chat, body: bytes) -> None:
    assert (await caller.refused("update", body, thread=owned.id))["code"] == "bad_frame"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_form_is_a_bad_frame(caller: Caller, owned: Chat, kind: str) -> None:
    response = await caller.client.generic("PATCH", f"/api/threads/{owned.id}", b"a=b", content_type=kind)
    assert (response.status_code, response.json()["code"]) == (400, "bad_frame")


async def test_text_is_clean_when_it_is_stored(caller: Caller, owned: Chat) -> None:
    body = b'{"id": "%s", "title": "a\\u0000b\\ud83d\\ude00c\\ud83d"}' % str(uuid4()).encode()
    await caller("update", body, thread=owned.id)
    assert (await in_database(lambda: owned.thread.title)) == "a\ufffdb😀c\ufffd"


@pytest.mark.parametrize(
    "address", ["/api", "/api/", "/api/nothing", "/api/threads/", "/api/me/", "/api//me", "/api/a%0Ab"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_address_that_is_not_there_is_not_found_in_json(
    process: Process, owned: Chat, method: str, address: str
) -> None:
    caller = await Caller.of(process, owned.owner, checks_csrf=True)
    response = await caller.ask(method, address)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "OPTIONS"])
@pytest.mark.parametrize("address", ["/api/me", "/api/openapi.json", "/api/docs"])
async def test_a_method_that_is_not_there_is_refused_in_json(
    process: Process, owned: Chat, address: str, method: str
) -> None:
    caller = await Caller.of(process, owned.owner, checks_csrf=address != "/api/me")
    response = await caller.ask(method, address)
    assert (response.status_code, response.json()["code"]) == (405, "bad_method")
    assert response["Allow"] == "GET, HEAD"


async def test_head_is_answered_where_get_is(process: Process, owned: Chat) -> None:
    caller = await Caller.of(process, owned.owner, checks_csrf=True)
    methods: dict[str, set[str]] = {}
    for method, address, _ in operations().values():
        methods.setdefault(address, set()).add(method)
    for name, (method, address, _) in operations().items():
        given = await in_database(fitting, name, owned)
        path = address.format(**{key: value for key, value in given.items() if f"{{{key}}}" in address})
        head = await caller.ask("HEAD", path)
        if method == "GET":
            read = await caller.ask("GET", path)
            assert (head.status_code, head.content) == (200, b""), name
            assert (head["Content-Type"], head["Cache-Control"]) == (read["Content-Type"], "no-store"), name
        elif "GET" not in methods[address]:
            assert (head.status_code, head["Allow"]) == (405, ", ".join(sorted(methods[address]))), name


async def test_a_fault_of_the_server_is_told_in_json_without_its_words(
    caller: Caller, owned: Chat, caplog: Any
) -> None:
    """The reply that was kept for this command is none."""
    spoilt = ids("id")
    await in_database(
        lambda: Command.objects.create(
            user=owned.owner, command=spoilt["id"], type="update", thread=owned.id, reply={"odd": "secret"}
        )
    )
    error = await caller.refused("update", spoilt, thread=owned.id)
    assert error == Internal().as_dict()
    assert "action=api_failed method=PATCH route=api/threads/<thread>" in caplog.text
    found = await caller("commands", [{"type": "update", **spoilt}, {"type": "update", **ids("id")}], thread=owned.id)
    assert found[0] == {"type": "error", **spoilt, **Internal().as_dict()}
    assert found[1]["type"] == "reply"
    assert "action=command_failed type=update" in caplog.text
