"""The pages of one's own data: what is downloaded, and what is left after an account is deleted."""

from __future__ import annotations

import json
import random
import re
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import AsyncClient

from chat import tokens
from chat.announcement import Announcement
from chat.database import in_database
from chat.guests import make_guest
from chat.lanes import Lane
from chat.limits import Limits
from chat.models import ApiToken, Command, Guest, Inbox, Message, Run, Thread
from chat.protocol import start, text
from chat.replication.attachment import Sources
from chat.runlog.base import Append, Batch
from chat.runlog.memory import MemoryRunLog
from tests.unit.chats import Chat

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "a long enough one"
PAGE, DOWNLOAD = "/account/data/", "/account/data/download/"


class Browser(AsyncClient):
    """Somebody's, signed in; of a server that notes what it announces."""

    def __init__(self, user: Any = None) -> None:
        super().__init__(enforce_csrf_checks=True)
        self.log = MemoryRunLog()
        self.announced: list[Announcement] = []
        self.limits = Limits()
        if user is not None:
            async_to_sync(self.aforce_login)(user)

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        sources = Sources(in_database, self.log, None, random.Random())  # type: ignore[arg-type]
        process = SimpleNamespace(sources=sources, announce=self._announce, reading=Lane(1), limits=self.limits)
        return {**super()._base_scope(**request), "rejoin": process}

    async def _announce(self, announcement: Announcement) -> None:
        self.announced.append(announcement)

    def look(self, path: str = PAGE) -> Any:
        return async_to_sync(self.get)(path)

    def submit(self, **fields: str) -> Any:
        """Fill in the page's form."""
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.look().text)
        assert found is not None
        return async_to_sync(self.post)(PAGE, {"csrfmiddlewaretoken": found[1], **fields})

    def download(self) -> dict[str, Any]:
        async def all_of_it() -> bytes:
            response = await self.get(DOWNLOAD)
            assert response.status_code == 200 and response.streaming
            assert response["Content-Type"] == "application/json"
            assert response["Content-Disposition"] == 'attachment; filename="rejoin.json"'
            assert "no-store" in response["Cache-Control"]
            return b"".join([piece async for piece in response.streaming_content])

        found: dict[str, Any] = json.loads(async_to_sync(all_of_it)())
        return found


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", password=PASSWORD)


@pytest.fixture
def bob() -> Chat:
    """Somebody else, with everything that one can have."""
    chat = Chat(User.objects.create_user("bob", password=PASSWORD))
    chat.turn("bobs question", "bobs answer")
    tokens.make(chat.owner.pk, "bobs own", None)
    Browser(chat.owner)
    return chat


def left_of(user_id: Any) -> int:
    """Rows of any kind that are a user's."""
    owned = [
        Thread.objects.filter(owner=user_id),
        Message.objects.filter(thread__owner=user_id),
        Run.objects.filter(thread__owner=user_id),
        Inbox.objects.filter(user=user_id),
        ApiToken.objects.filter(user=user_id),
        Command.objects.filter(user=user_id),
        Guest.objects.filter(user=user_id),
        User.objects.filter(pk=user_id),
    ]
    return sum(rows.count() for rows in owned)


# ------------------------------------------------------------------------------------------------------- downloading


def test_a_download_has_every_thread_with_every_branch_and_nothing_of_others(ann: User, bob: Chat) -> None:
    first, second, gone = Chat(ann), Chat(ann), Chat(ann)
    turn = first.turn("Where do rivers begin?", "In mountains. 🏔")
    first.answered(first.regenerate(turn.answer))
    second.do("update", title="put away", archived=True)
    gone.turn("deleted words", "and their answer")
    gone.do("delete")
    found = Browser(ann).download()
    assert found["user"] == {"id": str(ann.pk), "name": "ann"}
    assert [one["thread"]["id"] for one in found["threads"]] == [str(first.id), str(second.id)]
    assert len(found["threads"][0]["messages"]) == 3 and len(found["threads"][0]["runs"]) == 2
    assert "In mountains. 🏔" in str(found) and "bobs" not in str(found) and "deleted words" not in str(found)


def test_a_download_has_what_is_being_said(ann: User) -> None:
    chat = Chat(ann)
    claim = chat.claim(chat.send().run)
    answer = chat.begin(claim)
    browser = Browser(ann)
    said = json.dumps([start(str(answer)), text(str(answer), "so far")])

    async def say() -> None:
        await browser.log.open(str(claim.run), claim.lease, claim.first)
        batch = Batch(claim.first, claim.first + 1, said)
        await browser.log.append([Append(str(claim.run), claim.lease, [batch])])

    async_to_sync(say)()
    [thread] = browser.download()["threads"]
    assert [row["text"] for row in thread["messages"]] == ["hello", "so far"]


def test_downloads_and_guesses_of_a_password_count_as_what_a_user_asks_for(ann: User, settings: Any) -> None:
    settings.REJOIN_BURST, settings.REJOIN_RATE = 2, 0.001
    browser = Browser(ann)
    browser.download()
    assert "This is not your password." in browser.submit(proof="a guess").text
    for refused in (browser.submit(proof=PASSWORD), browser.look(DOWNLOAD)):
        assert refused.status_code == 429 and int(refused["Retry-After"]) > 900
    assert User.objects.filter(pk=ann.pk).exists()


def test_a_download_travels_as_it_is_for_browsers_unpack_only_its_first_piece(ann: User) -> None:
    Chat(ann).turn("?", "long " * 1000)

    async def all_of_it() -> list[bytes]:
        response = await browser.get(DOWNLOAD, headers={"accept-encoding": "gzip"})
        assert "Content-Encoding" not in response
        return [piece async for piece in response.streaming_content]

    browser = Browser(ann)
    pieces = async_to_sync(all_of_it)()
    assert len(pieces) > 2
    assert len(json.loads(b"".join(pieces))["threads"]) == 1


def test_who_has_nothing_downloads_that(ann: User) -> None:
    assert Browser(ann).download()["threads"] == []


def test_a_thread_that_is_deleted_meanwhile_is_left_out(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Chat(ann), Chat(ann)
    browser = Browser(ann)

    async def meanwhile() -> bytes:
        response = await browser.get(DOWNLOAD)
        pieces = response.streaming_content.__aiter__()
        said = [await anext(pieces), await anext(pieces)]
        await in_database(second.do, "delete")
        return b"".join([*said, *[piece async for piece in pieces]])

    found = json.loads(async_to_sync(meanwhile)())
    assert [one["thread"]["id"] for one in found["threads"]] == [str(first.id)]


# ---------------------------------------------------------------------------------------------------------- deleting


def test_deleting_an_account_leaves_nothing_of_it_and_all_of_others(either_database: str, ann: User, bob: Chat) -> None:
    chat = Chat(ann)
    chat.turn()
    chat.send()
    tokens.make(ann.pk, "backup", None)
    others = left_of(bob.owner.pk)
    browser, elsewhere, theirs = Browser(ann), Browser(ann), Browser(bob.owner)
    response = browser.submit(proof=PASSWORD)
    assert response.status_code == 200 and "Your account is deleted" in response.text
    assert f'data-left="{ann.pk}"' in response.text
    assert response["Clear-Site-Data"] == '"cache"'
    assert left_of(ann.pk) == 0
    assert left_of(bob.owner.pk) == others
    for device in (browser, elsewhere):
        assert device.look()["Location"] == f"/login/?next={PAGE}"
    assert theirs.look().status_code == 200


def test_an_answer_that_is_written_ends_and_other_devices_are_told(ann: User) -> None:
    chat = Chat(ann)
    claim = chat.claim(chat.send().run)
    chat.begin(claim)
    version = Inbox.objects.get(user=ann).version
    browser = Browser(ann)
    browser.submit(proof=PASSWORD)
    assert [said.stop for said in browser.announced if said.stop] == [claim.run]
    assert [(said.user, said.inbox_version) for said in browser.announced if said.user] == [(ann.pk, version + 1)]


@pytest.mark.parametrize("proof", ["", "wrong", "ann"])
def test_without_the_password_nothing_is_deleted(ann: User, proof: str) -> None:
    Chat(ann).turn()
    before = left_of(ann.pk)
    browser = Browser(ann)
    response = browser.submit(proof=proof)
    assert 'role="alert"' in response.text and left_of(ann.pk) == before
    assert browser.look().status_code == 200 and browser.announced == []


def test_who_has_no_password_writes_their_name(ann: User) -> None:
    ann.set_unusable_password()
    ann.save()
    browser = Browser(ann)
    assert "Write ann to confirm" in browser.look().text
    assert 'role="alert"' in browser.submit(proof="bob").text
    assert left_of(ann.pk) == 1
    browser.submit(proof="ann")
    assert left_of(ann.pk) == 0


def test_a_name_that_looks_like_html_is_a_name() -> None:
    user = User(username="<b onclick=x>")
    user.set_unusable_password()
    user.save()
    shown = Browser(user).look().text
    assert "Write &lt;b onclick=x&gt; to confirm" in shown and "<b onclick" not in shown


def test_a_guest_needs_no_more_than_the_button(bob: Chat) -> None:
    guest: Any = make_guest()
    Chat(guest).turn()
    browser = Browser(guest)
    assert "as a guest" in browser.look().text and "password" not in browser.look().text
    assert browser.download()["threads"]
    assert "Everything is deleted" in browser.submit().text
    assert left_of(guest.pk) == 0
    assert Session.objects.count() == 1, "that of somebody else"


def test_a_form_from_elsewhere_deletes_nothing(ann: User) -> None:
    browser = Browser(ann)
    response = async_to_sync(browser.post)(PAGE, {"proof": PASSWORD})
    assert response.status_code == 403 and left_of(ann.pk) == 1


def test_a_stranger_and_a_token_have_no_such_page(ann: User) -> None:
    headers = {"Authorization": f"Bearer {tokens.make(ann.pk, 'backup', None)}"}
    for path in (PAGE, DOWNLOAD):
        for response in (Browser().look(path), async_to_sync(Browser().get)(path, headers=headers)):
            assert response["Location"] == f"/login/?next={path}"


def test_nothing_inline_stands_in_the_pages(ann: User) -> None:
    browser = Browser(ann)
    for response in (browser.look(), browser.submit(proof=PASSWORD)):
        assert "default-src 'none'" in response["Content-Security-Policy"]
        assert not re.search(r"<[^>]*\s(?:style|on\w+)=|<script(?![^>]*\ssrc=)", response.text)
