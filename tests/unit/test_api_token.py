"""``manage.py api_token``: what an operator and a script do with tokens."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from chat import tokens
from chat.guests import make_guest
from chat.models import ApiToken

pytestmark = pytest.mark.django_db


def api_token(*words: str) -> str:
    out = io.StringIO()
    call_command("api_token", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


def test_create_prints_the_token_and_nothing_else(ann: User) -> None:
    printed = api_token("create", "ann", "--name", "backup", "--days", "30")
    assert tokens.FORM.fullmatch(printed.removesuffix("\n"))
    assert tokens.use(printed.strip()) == ann
    kept = ApiToken.objects.get()
    assert kept.name == "backup" and kept.expires_at is not None
    assert timedelta(days=29) < kept.expires_at - timezone.now() <= timedelta(days=30)
    api_token("create", "ann", "--name", "for ever")
    assert ApiToken.objects.get(name="for ever").expires_at is None


def test_list_tells_of_all_or_of_one_users_and_shows_no_token(ann: User) -> None:
    User.objects.create_user("bob")
    anns = api_token("create", "ann", "--name", "backup").strip()
    bobs = api_token("create", "bob", "--name", "mirror", "--days", "30").strip()
    tokens.use(anns)
    tokens.revoke(ApiToken.objects.filter(name="mirror"))
    both, one = api_token("list"), api_token("list", "ann")
    assert len(both.splitlines()) == 2 and len(one.splitlines()) == 1
    today = f"{timezone.now():%Y-%m-%d}"
    assert one.split("  ")[0] == anns[: tokens.SHOWN]
    assert "standing" in one and f"used {today}" in one and "until –" in one and one.rstrip().endswith("ann  backup")
    assert "revoked" in both and "used –" in both
    assert anns[tokens.SHOWN :] not in both and bobs[tokens.SHOWN :] not in both


@pytest.mark.parametrize("said", [tokens.SHOWN, None], ids=["its beginning", "all of it"])
def test_revoke_ends_the_token_that_begins_so_and_no_other(ann: User, said: int | None) -> None:
    token, other = (api_token("create", "ann", "--name", name).strip() for name in ("one", "other"))
    assert api_token("revoke", token[:said]) == ""
    assert tokens.use(token) is None and tokens.use(other) == ann
    with pytest.raises(CommandError, match="revoked before"):
        api_token("revoke", token[:said])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["create", "nobody", "--name", "x"], "no user 'nobody'"),
        (["create", "ann", "--name", ""], "1 to 100 characters"),
        (["create", "ann", "--name", "x" * 101], "1 to 100 characters"),
        (["create", "ann", "--name", "x", "--days", "0"], "1 to 36,500"),
        (["create", "ann", "--name", "x", "--days", "999999999"], "1 to 36,500"),
        (["create", "ann", "--days", "x"], "invalid int value"),
        (["create", "ann"], "--name"),
        (["list", "nobody"], "no user 'nobody'"),
        (["revoke", "rejoin_"], "first 15 characters"),
        (["revoke", "rejoin_12345678"], "no such token"),
        ([], "verb"),
    ],
)
def test_what_can_not_be_done_is_refused_in_words(ann: User, words: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        api_token(*words)
    assert not ApiToken.objects.exists()


def test_a_guest_gets_none_and_a_user_only_so_many(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    guest: Any = make_guest()
    with pytest.raises(CommandError, match="guest"):
        api_token("create", guest.username, "--name", "x")
    monkeypatch.setattr(tokens, "MAX_TOKENS", 1)
    api_token("create", "ann", "--name", "one")
    with pytest.raises(CommandError, match="Revoke one first"):
        api_token("create", "ann", "--name", "one too many")
