"""The pages: who gets them, what their first paint holds, and what keeps them safe."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import AsyncClient
from django.utils import timezone

from chat import markdown, views
from chat.database import THREADS, in_database
from chat.guests import expire_guests, make_guest
from chat.lanes import Lane
from chat.models import Guest, Inbox, Message, Run, Thread
from chat.process import RENDERERS
from chat.protocol import LEASE_SPAN, MAX_COSTLY, start, text
from chat.replication.attachment import Sources
from chat.runlog.base import Append, Batch
from chat.runlog.memory import MemoryRunLog
from tests.markdown.reading import shown, text_of

pytestmark = pytest.mark.django_db(transaction=True)

EVIL = "</script><script>alert(1)</script><!-- & \u2028 'quoted' \"twice\""


class Browser(AsyncClient):
    """Looks at pages as one visitor, of a server with this run log."""

    def __init__(self) -> None:
        super().__init__()
        self.log = MemoryRunLog()
        self.rendering = Lane(RENDERERS)

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        sources = Sources(in_database, self.log, None, random.Random())  # type: ignore[arg-type]
        process = SimpleNamespace(sources=sources, rendering=self.rendering)
        return {**super()._base_scope(**request), "rejoin": process}

    def look(self, path: str) -> Any:
        return async_to_sync(self.get)(path)


@pytest.fixture
def browser() -> Iterator[Browser]:
    yield Browser()


@pytest.fixture
def ann(browser: Browser) -> Any:
    user = get_user_model().objects.create_user("ann")
    async_to_sync(browser.aforce_login)(user)
    return user


@pytest.fixture
def guests_allowed(settings: Any) -> None:
    settings.REJOIN_GUESTS = True


def path_of(thread: Thread, *said: str) -> list[Message]:
    """Puts messages at the end of the thread's path, by turns the user's and the model's."""
    made: list[Message] = []
    for words in said:
        role = Message.Role.ASSISTANT if thread.head and thread.head.role == "user" else Message.Role.USER
        thread.version += 1
        thread.row_version = thread.version
        thread.head = Message.objects.create(
            thread=thread, parent=thread.head, role=role, status="complete", text=words, version=thread.version
        )
        made.append(thread.head)
    thread.save()
    return made


def frames_of(response: Any) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="frames">(.*?)</script>', response.text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def texts_of(response: Any) -> list[str]:
    """The texts of the messages as a reader without JavaScript has them."""
    body = response.content.decode().split("<template", 1)[0]
    found = re.findall(r'<div class="text( markdown)?"[^>]*>(.*?)</div>\s*<div class="foot">', body, re.DOTALL)
    return [text_of(html) if formatted else unescape(html) for formatted, html in found]


# ---------------------------------------------------------------------------------------------------------- guests


def test_a_stranger_becomes_a_guest_at_the_first_visit_and_stays_that_guest(
    browser: Browser, guests_allowed: None
) -> None:
    first, second = browser.look("/"), browser.look("/")
    assert first.status_code == second.status_code == 200
    assert Guest.objects.count() == 1
    assert not Guest.objects.get().user.has_usable_password()
    assert f'data-user="{Guest.objects.get().pk}"' in second.text


def test_where_guests_are_not_allowed_a_stranger_is_sent_to_sign_in(browser: Browser) -> None:
    response = browser.look("/")
    assert response.status_code == 302
    assert response["Location"] == "/login/?next=/"
    assert not get_user_model().objects.exists()


def test_looking_at_a_chat_makes_nobody_a_guest(browser: Browser, guests_allowed: None) -> None:
    response = browser.look(f"/c/{uuid4()}/")
    assert response.status_code == 302
    assert response["Location"].startswith("/login/")
    assert not Guest.objects.exists()


def test_guests_who_stay_away_are_deleted_with_their_chats_and_nobody_else_is() -> None:
    gone, here = make_guest(), make_guest()
    user = get_user_model().objects.create_user("ann")
    for owner in (gone, here, user):
        path_of(Thread.objects.create(owner_id=owner.pk), "Hello", "Hi")
    Guest.objects.filter(user=gone.pk).update(updated_at=timezone.now() - timedelta(days=91))
    Guest.objects.filter(user=here.pk).update(updated_at=timezone.now() - timedelta(days=89))
    assert expire_guests() == 1
    assert set(get_user_model().objects.values_list("pk", flat=True)) == {here.pk, user.pk}
    assert set(Thread.objects.values_list("owner", flat=True)) == {here.pk, user.pk}
    assert expire_guests() == 0


def test_a_guest_who_comes_back_is_kept(browser: Browser, guests_allowed: None) -> None:
    browser.look("/")
    Guest.objects.update(updated_at=timezone.now() - timedelta(days=89))
    browser.look("/")
    Guest.objects.update(created_at=timezone.now() - timedelta(days=400))
    assert expire_guests() == 0
    assert Guest.objects.get().updated_at > timezone.now() - timedelta(days=1)


# ----------------------------------------------------------------------------------------------------- first paint


def test_the_first_paint_of_a_chat_holds_its_messages_and_the_state_to_go_on_from(browser: Browser, ann: Any) -> None:
    thread = Thread.objects.create(owner=ann, title="Weather", inbox_version=1)
    Inbox.objects.create(user=ann, version=1)
    path_of(thread, "Will it rain?", "A little.\nTake a coat.")
    response = browser.look(f"/c/{thread.pk}/")
    assert texts_of(response) == ["Will it rain?", shown("A little.\nTake a coat.")]
    assert "<title>Weather · Rejoin</title>" in response.text
    frames = frames_of(response)
    assert [frame["type"] for frame in frames] == ["inbox", "change", "caught_up"]
    assert [row["text"] for row in frames[1]["messages"]] == ["Will it rain?", "A little.\nTake a coat."]
    assert frames[-1]["cursor"] == str(thread.version)


def test_the_first_paint_of_a_running_answer_holds_all_that_was_said_by_now(browser: Browser, ann: Any) -> None:
    thread = Thread.objects.create(owner=ann)
    (question,) = path_of(thread, "Why?")
    seq = LEASE_SPAN
    held = {"state": "running", "lease": 1, "lease_owner": "w", "lease_expires_at": timezone.now()}
    run = Run.objects.create(thread=thread, prompt=question, seq=seq + 1, version=2, **held)
    answer = Message.objects.create(
        thread=thread, parent=question, role="assistant", status="streaming", run=run, text="Be", seq=seq + 1, version=2
    )
    thread.head, thread.version, thread.row_version = answer, 2, 2
    thread.save()
    said = [[start(str(answer.pk)), text(str(answer.pk), "Be")], [text(str(answer.pk), "cause 🙂")]]
    batches = [Batch(seq + number, seq + number + 1, json.dumps(parts)) for number, parts in enumerate(said)]

    async def say() -> None:
        await browser.log.open(str(run.pk), 1, seq)
        await browser.log.append([Append(str(run.pk), 1, batches)])

    async_to_sync(say)()
    response = browser.look(f"/c/{thread.pk}/")
    assert texts_of(response) == ["Why?", shown("Because 🙂")]
    assert frames_of(response)[-1]["cursor"] == f"2.{run.pk}.{seq + 2}"


def test_nothing_that_was_said_can_get_out_of_its_place(browser: Browser, ann: Any) -> None:
    thread = Thread.objects.create(owner=ann, title=EVIL[:200], inbox_version=1)
    path_of(thread, EVIL, EVIL)
    response = browser.look(f"/c/{thread.pk}/")
    assert texts_of(response) == [EVIL, shown(EVIL)]
    assert "<script>alert" not in response.text
    assert [row["text"] for frame in frames_of(response) for row in frame.get("messages", [])] == [EVIL, EVIL]


def test_how_an_answer_ended_can_be_read_without_javascript(browser: Browser, ann: Any) -> None:
    thread = Thread.objects.create(owner=ann)
    question, answer = path_of(thread, "Why?", "Bec")
    ended = {"state": "failed", "error_code": "provider_timeout", "finished_at": timezone.now()}
    run = Run.objects.create(thread=thread, prompt=question, version=1, **ended)
    Message.objects.filter(pk=answer.pk).update(run=run, status="failed")
    assert "The model did not answer in time." in browser.look(f"/c/{thread.pk}/").text


def test_a_long_chat_opens_at_its_end_and_goes_back_page_by_page(browser: Browser, ann: Any) -> None:
    thread = Thread.objects.create(owner=ann, title="Long")
    said = [f"message {number}" for number in range(120)]
    path_of(thread, *said)
    response = browser.look(f"/c/{thread.pk}/")
    assert [text.strip() for text in texts_of(response)] == said[70:]
    read = texts_of(response)
    while back := re.search(r'href="(\?before=[^"]+)"', response.text):
        response = browser.look(f"/c/{thread.pk}/{back[1]}")
        assert all(frame["type"] == "inbox" for frame in frames_of(response)), "a page for reading has no state"
        read = texts_of(response) + read
    assert [text.strip() for text in read] == said


def test_a_browser_shows_the_chat_not_before_the_script_that_puts_it_at_its_end(browser: Browser, ann: Any) -> None:
    page = browser.look("/").text
    expected = re.search(r'<link rel="expect" href="#(\w+)" blocking="render">', page)
    assert expected is not None
    preload, modules, dock, script, awaited = (
        page.index(part)
        for part in (
            '<link rel="preload" href="/static/chat/start.js" as="script">',
            '<link rel="modulepreload"',
            '<div class="dock">',
            '<script src="/static/chat/start.js">',
            f'id="{expected[1]}"',
        )
    )
    assert preload < modules < dock < script < awaited


def test_the_list_of_chats_is_pinned_first_then_latest_without_the_archived(browser: Browser, ann: Any) -> None:
    for version, (title, fields) in enumerate(
        [("old", {}), ("pinned", {"pinned": True}), ("new", {}), ("archived", {"archived": True})], start=1
    ):
        thread = Thread.objects.create(owner=ann, title=title, inbox_version=version, **fields)
        Thread.objects.filter(pk=thread.pk).update(updated_at=timezone.now() + timedelta(seconds=version))
    Inbox.objects.create(user=ann, version=4)
    listed = re.search(r'<ul class="items" id="items".*?</ul>', browser.look("/").text, re.DOTALL)
    assert listed is not None
    assert re.findall(r'<span class="title"[^>]*>(.*?)</span>', listed[0]) == ["pinned", "new", "old"]


def test_long_titles_keep_no_chat_out_of_the_first_paint(browser: Browser, ann: Any) -> None:
    for version in range(1, 121):
        Thread.objects.create(owner=ann, title=f"{version} " + "漢" * 190, inbox_version=version)
    Inbox.objects.create(user=ann, version=120)
    response = browser.look("/")
    shown = {found["id"] for frame in frames_of(response) for found in frame["items"]}
    newest = Thread.objects.order_by("-inbox_version")[:100]
    assert shown == set(re.findall(r'data-id="([^"]+)"', response.text)) == {str(thread.pk) for thread in newest}


def test_a_complete_answer_is_given_as_html_with_its_code_coloured(browser: Browser, ann: Any) -> None:
    thread = Thread.objects.create(owner=ann)
    _, answer = path_of(thread, "How?", "```python\nreturn 1\n```")
    response = browser.look(f"/c/{thread.pk}/html/{answer.pk}/")
    assert response.json() == {"html": markdown.render(answer.text)}
    assert "<span" in response.json()["html"]


def test_answers_that_take_long_keep_nobody_from_the_database_and_who_asks_for_too_many_is_told(
    browser: Browser, ann: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = Thread.objects.create(owner=ann)
    _, answer = path_of(thread, "How?", "So.")
    paths = [f"/c/{thread.pk}/", f"/c/{thread.pk}/html/{answer.pk}/"] * (MAX_COSTLY // 2)
    assert len(paths) > THREADS
    done = Event()
    monkeypatch.setattr(views.markdown, "render", lambda text: f"<p>{done.wait()}</p>")

    async def look() -> list[Any]:
        looks = [asyncio.create_task(browser.get(path)) for path in paths]
        while browser.rendering._there[ann.pk] < MAX_COSTLY:
            await asyncio.sleep(0.01)
        refused = [await browser.get(path) for path in paths[:2]]
        done.set()
        assert {response.status_code for response in await asyncio.gather(*looks)} == {200}
        return refused

    try:
        page, html = async_to_sync(look)()
    finally:
        done.set()
    assert page.status_code == html.status_code == 429
    assert page["Retry-After"] == html["Retry-After"] == "1"
    assert "<h1>Too much at once</h1>" in page.text and "Try again in 1 second." in page.text
    assert html.json()["code"] == "rate_limited"


def test_a_page_that_would_take_long_leaves_the_older_answers_to_its_modules(
    browser: Browser, ann: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = Thread.objects.create(owner=ann)
    path_of(thread, "How?", "*First*", "And?", "*second*", "And?", "*third*")
    made: list[str] = []

    def render(answer: str) -> str:
        made.append(answer)
        monkeypatch.setattr(views, "thread_time", lambda: 10.0 * len(made))
        return "made"

    monkeypatch.setattr(views, "thread_time", lambda: 0.0)
    monkeypatch.setattr(views.markdown, "render", render)
    page = browser.look(f"/c/{thread.pk}/")
    assert texts_of(page) == ["How?", "*First*", "And?", "*second*", "And?", "made"]
    assert made == ["*third*"]
    assert page.text.count("data-length") == 1  # what says to a module that there is nothing to do


def test_the_html_of_anothers_answer_is_not_to_be_had(browser: Browser, ann: Any) -> None:
    other = get_user_model().objects.create_user("bob")
    own, theirs = (Thread.objects.create(owner=owner) for owner in (ann, other))
    path_of(own, "How?", "So.")
    _, answer = path_of(theirs, "How?", "Like this.")
    responses = [browser.look(f"/c/{thread.pk}/html/{answer.pk}/") for thread in (own, theirs)]
    responses.append(browser.look(f"/c/{uuid4()}/html/{uuid4()}/"))
    assert [response.status_code for response in responses] == [404, 404, 404]
    assert len({response.content for response in responses}) == 1


@pytest.mark.parametrize("whose", ["another's", "nobody's", "a deleted one", "a page of another's"])
def test_a_chat_that_is_not_yours_is_the_same_as_one_that_is_not_there(browser: Browser, ann: Any, whose: str) -> None:
    other = get_user_model().objects.create_user("bob")
    thread = Thread.objects.create(owner=other if "another's" in whose else ann, title="secret")
    (message,) = path_of(thread, "secret words")
    if whose == "a deleted one":
        Thread.objects.update(deleted_at=timezone.now())
    address = f"/c/{uuid4() if whose == 'nobody' + chr(39) + 's' else thread.pk}/"
    response = browser.look(address + (f"?before={message.pk}" if "page" in whose else ""))
    assert response.status_code == 404
    assert "This chat is not here" in response.text
    assert "secret" not in response.text.replace(str(thread.pk), "")


@pytest.mark.parametrize("before", ["x", "0", str(UUID(int=0)), ""])
def test_a_page_before_a_message_that_is_not_there_is_not_there(browser: Browser, ann: Any, before: str) -> None:
    thread = Thread.objects.create(owner=ann)
    assert browser.look(f"/c/{thread.pk}/?before={before}").status_code == 404


def test_the_sidebar_leads_who_has_an_account_to_it(browser: Browser, ann: Any) -> None:
    assert re.search(r'<a class="who" href="/account/"[^>]*>ann</a>', browser.look("/").text)


def test_the_sidebar_leads_a_guest_to_sign_in_and_to_the_data_but_to_no_account(
    browser: Browser, guests_allowed: None
) -> None:
    page = browser.look("/").text
    assert 'href="/login/"' in page and 'href="/account/data/"' in page and 'href="/account/"' not in page


def test_a_page_travels_compressed_where_that_is_understood(browser: Browser, ann: Any) -> None:
    packed = async_to_sync(browser.get)("/", headers={"accept-encoding": "gzip, br"})
    assert packed["Content-Encoding"] == "gzip" and "Accept-Encoding" in packed["Vary"]
    assert gzip.decompress(packed.content).startswith(b"<!doctype html>")
    assert "Content-Encoding" not in browser.look("/")


# ---------------------------------------------------------------------------------------------------------- safety


def test_only_what_carries_the_nonce_may_stand_in_the_page(browser: Browser, ann: Any) -> None:
    response = browser.look("/")
    policy = response["Content-Security-Policy"]
    nonce = re.search(r"script-src 'self' 'nonce-([^']+)'", policy)
    assert nonce is not None
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert f'<script type="importmap" nonce="{nonce[1]}">' in response.text
    assert browser.look("/")["Content-Security-Policy"] != policy
    inline = re.findall(r"<script(?![^>]*(?:src=|nonce=|application/json))", response.text)
    assert inline == [] and " style=" not in response.text and not re.search(r"\son\w+=", response.text)


def test_the_import_map_leads_from_every_import_to_a_file_that_is_there(browser: Browser, ann: Any) -> None:
    found = re.search(r'<script type="importmap"[^>]*>(.*?)</script>', browser.look("/").text)
    assert found is not None
    imports = json.loads(found[1])["imports"]
    root = Path(settings.BASE_DIR)
    for source in root.glob("static/chat/*/*.js"):
        for name in re.findall(r'from "(\.[^"]+)"', source.read_text()):
            address = "/" + (source.parent / name).resolve().relative_to(root).as_posix()
            assert (root / imports[address].lstrip("/")).is_file(), f"{source.name} imports {name}"


def test_a_browser_may_keep_a_page_that_goes_on_but_for_the_same_cookies_only(browser: Browser, ann: Any) -> None:
    """``no-store`` would keep a page out of the back-forward cache."""
    thread = Thread.objects.create(owner=ann)
    answer = path_of(thread, "question", "answer")[1]
    thread.save()
    for path in ("/", f"/c/{thread.pk}/", f"/c/{thread.pk}/?before={answer.pk}", f"/c/{uuid4()}/"):
        response = browser.look(path)
        assert set(response["Cache-Control"].split(", ")) == {"private", "no-cache"}
        assert "Cookie" in response["Vary"]
    assert "no-store" in browser.look(f"/c/{thread.pk}/html/{answer.pk}/")["Cache-Control"]
