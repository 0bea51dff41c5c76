"""The pages of accounts: signing in and up, and one's own with its API tokens. None of them needs JavaScript."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.utils import timezone
from django.views.defaults import server_error

from chat import tokens
from chat.guests import make_guest
from chat.models import ApiToken

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough one"


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", password=PASSWORD)


@pytest.fixture
def browser(ann: User) -> Client:
    """Ann's, signed in."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    return client


@pytest.fixture
def guest() -> Client:
    client = Client()
    client.force_login(make_guest())  # type: ignore[arg-type]
    return client


def csrf(browser: Client) -> dict[str, str]:
    """What the forms of the account's page carry."""
    found = re.search(r'name="(csrfmiddlewaretoken)" value="([^"]+)"', browser.get("/account/").content.decode())
    assert found is not None
    return {found[1]: found[2]}


def submit(browser: Client, form: str = "/account/", **fields: object) -> Any:
    """Fill in a form of the account's page, as a browser without JavaScript."""
    assert form == "/account/" or f'action="{form}"' in browser.get("/account/").content.decode()
    return browser.post(form, {**csrf(browser), **fields})


def made(response: Any) -> str:
    """The token that the page shows."""
    found = re.search(rf">({tokens.FORM.pattern})<", response.content.decode())
    assert found is not None
    return found[1]


# -------------------------------------------------------------------------------------------------- signing in and up


def test_signing_up_is_not_there_unless_it_is_switched_on(settings: Any) -> None:
    client = Client()
    assert client.get("/signup/").status_code == 404
    assert "signup" not in client.get("/login/").content.decode()
    settings.REJOIN_SIGNUP = True
    assert "/signup/" in client.get("/login/").content.decode()
    answer = client.post("/signup/", {"username": "ann", "password1": PASSWORD, "password2": PASSWORD})
    assert answer.status_code == 302 and answer["Location"] == "/"
    assert client.session["_auth_user_id"] == str(get_user_model().objects.get(username="ann").pk)


def test_signing_in_leads_back_and_signing_out_ends_the_session(ann: User) -> None:
    client = Client()
    wrong = client.post("/login/", {"username": "ann", "password": "wrong"})
    assert wrong.status_code == 200 and "Content-Security-Policy" in wrong
    right = client.post("/login/?next=/c/1/", {"username": "ann", "password": PASSWORD, "next": "/c/1/"})
    assert right["Location"] == "/c/1/"
    assert client.post("/logout/").status_code == 302
    assert "_auth_user_id" not in client.session


def test_who_signs_out_takes_leave_of_every_page_that_the_browser_keeps(browser: Client) -> None:
    before = browser.get("/account/").cookies["csrftoken"].value
    response = browser.post("/logout/", {"csrfmiddlewaretoken": before})
    assert response["Clear-Site-Data"] == '"cache"'
    assert response.cookies["csrftoken"].value not in ("", before)


def test_a_guest_is_told_that_chats_do_not_come_along(guest: Client) -> None:
    assert "do not come along" in guest.get("/login/").content.decode()


def test_a_changed_password_keeps_who_changed_it_and_sends_other_devices_to_sign_in(browser: Client, ann: User) -> None:
    other = Client()
    other.force_login(ann)
    new = "another long enough one"
    assert 'href="/account/password/"' in browser.get("/account/").content.decode()
    given = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    wrong = browser.post("/account/password/", {**given, "old_password": new, **csrf(browser)})
    assert 'role="alert"' in wrong.content.decode()
    right = browser.post("/account/password/", {**given, **csrf(browser)})
    assert "Your password is changed." in browser.get(right["Location"]).content.decode()
    assert other.get("/account/").status_code == 302
    assert Client().login(username="ann", password=new)


def test_a_password_like_the_name_is_refused(settings: Any) -> None:
    settings.REJOIN_SIGNUP = True
    given = {"username": "margaret-hamilton", "password1": "margaret.hamilton", "password2": "margaret.hamilton"}
    assert "too similar" in Client().post("/signup/", given).content.decode()


def test_a_form_without_its_csrf_token_is_refused_in_words(browser: Client) -> None:
    response = browser.post("/account/", {"name": "backup", "days": "30"})
    assert response.status_code == 403
    assert "out of date" in response.content.decode() and "Content-Security-Policy" in response


def test_a_fault_of_the_server_is_told_on_a_page_that_needs_nothing() -> None:
    response = server_error(RequestFactory().get("/"))
    assert response.status_code == 500 and "what was said is kept" in response.content.decode()


# --------------------------------------------------------------------------------------------------------- API tokens


def test_a_new_token_is_shown_once_and_works(browser: Client, ann: User) -> None:
    response = submit(browser, name="backup script", days=30)
    assert response.status_code == 200
    token = made(response)
    assert tokens.use(token) == ann
    kept = ApiToken.objects.get()
    assert kept.name == "backup script" and kept.expires_at is not None
    assert timedelta(days=29) < kept.expires_at - timezone.now() <= timedelta(days=30)
    again = browser.get("/account/").content.decode()
    assert token not in again and "backup script" in again and kept.prefix in again


def test_a_new_token_is_in_no_address_session_cache_or_log(browser: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    response = submit(browser, name="backup", days="")
    secret = made(response)[tokens.SHOWN :]
    assert "no-store" in response["Cache-Control"]
    assert "Location" not in response
    assert secret not in str(dict(browser.session.items())) + str(browser.cookies) + caplog.text


def test_a_token_that_never_expires_has_to_be_chosen(browser: Client) -> None:
    assert re.search(r'<option value="90" selected>', browser.get("/account/").content.decode())
    submit(browser, name="for ever", days="")
    assert ApiToken.objects.get().expires_at is None
    assert "never expires" in browser.get("/account/").content.decode()


@pytest.mark.parametrize("fields", [{"name": ""}, {"name": "x" * 101}, {"days": "100000"}, {"days": "x"}])
def test_a_form_that_is_wrong_makes_nothing_and_says_why(browser: Client, fields: dict[str, str]) -> None:
    response = submit(browser, **{"name": "backup", "days": "30", **fields})
    assert 'role="alert"' in response.content.decode()
    assert not ApiToken.objects.exists()


def test_one_token_too_many_is_refused_in_words(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKENS", 1)
    submit(browser, name="first", days="30")
    assert "Revoke one first" in submit(browser, name="second", days="30").content.decode()
    assert ApiToken.objects.get().name == "first"


def test_the_page_says_when_a_token_was_used_and_when_it_expires(browser: Client, ann: User) -> None:
    token = tokens.make(ann.pk, "backup", None)
    assert "never used" in browser.get("/account/").content.decode()
    tokens.use(token)
    page = browser.get("/account/").content.decode()
    assert "never used" not in page and "last used <time" in page
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert "expired" in browser.get("/account/").content.decode()


def test_a_revoked_token_opens_nothing_and_leaves_the_page(browser: Client, ann: User) -> None:
    token, other = tokens.make(ann.pk, "backup", None), tokens.make(ann.pk, "another", None)
    revoked = ApiToken.objects.get(name="backup")
    response = submit(browser, f"/account/tokens/{revoked.pk}/revoke/")
    assert (response.status_code, response["Location"]) == (302, "/account/")
    assert tokens.use(token) is None and tokens.use(other) == ann
    page = browser.get("/account/").content.decode()
    assert "another" in page and "backup" not in page


def test_tokens_of_others_are_neither_shown_nor_revoked(browser: Client, ann: User) -> None:
    bob = User.objects.create_user("bob")
    token = tokens.make(bob.pk, "bobs own", None)
    tokens.make(ann.pk, "anns own", None)
    assert "bobs own" not in browser.get("/account/").content.decode()
    csrf = browser.cookies["csrftoken"].value
    theirs, nobodys = ApiToken.objects.get(user=bob).pk, "00000000-0000-4000-8000-000000000000"
    answers = [browser.post(f"/account/tokens/{pk}/revoke/", headers={"X-CSRFToken": csrf}) for pk in (theirs, nobodys)]
    assert {(answer.status_code, answer["Location"]) for answer in answers} == {(302, "/account/")}
    assert tokens.use(token) == bob


def test_a_form_from_elsewhere_makes_and_revokes_nothing(browser: Client, ann: User) -> None:
    token = tokens.make(ann.pk, "backup", None)
    kept = ApiToken.objects.get()
    assert browser.post("/account/", {"name": "evil", "days": ""}).status_code == 403
    assert browser.post(f"/account/tokens/{kept.pk}/revoke/").status_code == 403
    assert ApiToken.objects.get() == kept and tokens.use(token) == ann


def test_revoking_takes_a_form_and_no_link(browser: Client, ann: User) -> None:
    token = tokens.make(ann.pk, "backup", None)
    assert browser.get(f"/account/tokens/{ApiToken.objects.get().pk}/revoke/").status_code == 405
    assert tokens.use(token) == ann


@pytest.mark.parametrize("signup", [True, False])
def test_a_guest_has_no_tokens_and_is_sent_to_get_an_account(guest: Client, settings: Any, signup: bool) -> None:
    settings.REJOIN_SIGNUP = signup
    page = f"/{'signup' if signup else 'login'}/?next=/account/"
    assert guest.get("/account/")["Location"] == page
    assert guest.post("/account/", {"name": "mine", "days": ""})["Location"] == page
    assert not ApiToken.objects.exists()


def test_a_stranger_is_sent_to_sign_in(ann: User) -> None:
    token = tokens.make(ann.pk, "backup", None)
    kept = ApiToken.objects.get()
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        assert Client().get("/account/", headers=headers)["Location"] == "/login/?next=/account/"
        assert Client().post(f"/account/tokens/{kept.pk}/revoke/", headers=headers)["Location"].startswith("/login/")
    assert tokens.use(token) == ann


def test_nothing_inline_stands_in_the_page(browser: Client) -> None:
    response = submit(browser, name="backup", days="30")
    page = response.content.decode()
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "<script" not in page and not re.search(r"<[^>]*\s(?:style|on\w+)=", page)


def test_a_name_stays_in_its_place(browser: Client) -> None:
    page = submit(browser, name='"><script>alert(1)</script>', days="30").content.decode()
    assert "<script" not in page
    assert page.count("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;") == 2
