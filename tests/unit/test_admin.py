"""The admin: for looking only, linked through, and as fast with a thread of 3,000 messages as with one of 3."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from chat import tokens
from chat.models import ApiToken, Command, Message, Run, Thread, Worker

pytestmark = pytest.mark.django_db

LONG = "The beginning of a long text. " + 500 * "and more " + "Its very end."
T0 = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = (Thread, Message, Run, Worker, Command, ApiToken)


@dataclass
class Talk:
    """A thread with some turns: each a question, a run and its answer."""

    thread: Thread
    question: Message
    run: Run
    answer: Message


def talk(owner: User, title: str, turns: int = 1) -> Talk:
    thread = Thread.objects.create(owner=owner, title=title, version=7, row_version=1)
    messages, runs, parent = [], [], None
    for _ in range(turns):
        run = Run(
            thread=thread,
            model="gpt-test",
            state=Run.State.COMPLETED,
            started_at=T0,
            first_token_at=T0 + timedelta(seconds=1),
            last_token_at=T0 + timedelta(seconds=11),
            finished_at=T0 + timedelta(seconds=12),
            tokens_out=425,
        )
        question = Message(thread=thread, parent=parent, role="user", status="complete", text="Why?", run=run)
        answer = Message(
            thread=thread, parent=question, role="assistant", author="gpt-test", status="complete", text=LONG, run=run
        )
        run.prompt, parent = question, answer
        messages += [question, answer]
        runs.append(run)
    Message.objects.bulk_create(messages)
    Run.objects.bulk_create(runs)
    thread.head = parent
    thread.save()
    return Talk(thread, messages[-2], runs[-1], messages[-1])


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("ada", password="x")


@pytest.fixture
def admin_client(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def list_url(model: Any, **filters: object) -> str:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return reverse(f"admin:chat_{model._meta.model_name}_changelist") + (f"?{query}" if query else "")


def page_url(row: Any, action: str = "change") -> str:
    return reverse(f"admin:chat_{row._meta.model_name}_{action}", args=[row.pk])


def get(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return response.content.decode()


def found(client: Client, url: str) -> set[Any]:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code, response.get("Location"))
    rows = [row.pk for row in response.context["cl"].result_list]
    assert len(rows) == len(set(rows))
    return set(rows)


# ---------------------------------------------------------------------------------------------------------- looking


@pytest.mark.parametrize("model", MODELS)
def test_nobody_may_add_change_or_delete_not_even_a_superuser(admin_client: Client, owner: User, model: Any) -> None:
    one = talk(owner, "A talk")
    Worker.objects.create(name="w1", seen_at=timezone.now())
    Command.objects.create(user=owner, command=uuid.uuid4(), type="send", thread=uuid.uuid4())
    tokens.make(owner.pk, "backup", None)
    row = model.objects.first()
    assert admin_client.get(reverse(f"admin:chat_{model._meta.model_name}_add")).status_code == 403
    assert admin_client.post(page_url(row), {"title": "changed"}).status_code == 403
    assert admin_client.post(page_url(row, "delete"), {"post": "yes"}).status_code == 403
    delete = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    admin_client.post(list_url(model), delete)
    assert model.objects.filter(pk=row.pk).exists()
    page = get(admin_client, page_url(row))
    assert "deletelink" not in page
    assert 'name="_save"' not in page
    assert 'name="action"' not in get(admin_client, list_url(model))
    one.thread.refresh_from_db()
    assert one.thread.title == "A talk"


def test_a_staff_user_without_the_permission_to_view_sees_nothing(client: Client, owner: User) -> None:
    one = talk(owner, "A talk")
    staff = User.objects.create_user("eve", is_staff=True)
    client.force_login(staff)
    assert client.get(list_url(Message)).status_code == 403
    assert client.get(page_url(one.answer)).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_message"))
    assert client.get(list_url(Message)).status_code == 200
    assert client.get(page_url(one.answer)).status_code == 200
    assert client.get(list_url(Thread)).status_code == 403


# ------------------------------------------------------------------------------------------------------------ links


def links(page: str) -> set[str]:
    return {address.replace("&amp;", "&") for address in re.findall(r'href="([^"]+)"', page)}


def test_a_thread_leads_to_its_messages_and_runs_and_its_head(admin_client: Client, owner: User) -> None:
    one, other = talk(owner, "A talk"), talk(owner, "Another")
    for page in (get(admin_client, list_url(Thread)), get(admin_client, page_url(one.thread))):
        assert {list_url(Message, thread=one.thread.pk), list_url(Run, thread=one.thread.pk)} <= links(page)
    assert page_url(one.answer) in links(page)
    assert found(admin_client, list_url(Message, thread=one.thread.pk)) == {one.question.pk, one.answer.pk}
    assert found(admin_client, list_url(Run, thread=other.thread.pk)) == {other.run.pk}


def test_a_message_leads_to_its_run_its_parent_its_thread_and_its_replies(admin_client: Client, owner: User) -> None:
    one = talk(owner, "A talk")
    there = links(get(admin_client, page_url(one.answer)))
    assert {page_url(one.run), page_url(one.question), page_url(one.thread)} <= there
    assert {page_url(one.run), page_url(one.thread)} <= links(get(admin_client, list_url(Message)))
    assert found(admin_client, list_url(Message, parent=one.question.pk)) == {one.answer.pk}


def test_a_run_leads_to_its_question_its_answers_and_its_thread(admin_client: Client, owner: User) -> None:
    one = talk(owner, "A talk")
    there = links(get(admin_client, page_url(one.run)))
    assert {page_url(one.question), page_url(one.answer), page_url(one.thread)} <= there
    assert found(admin_client, list_url(Message, run=one.run.pk)) == {one.question.pk, one.answer.pk}


# ------------------------------------------------------------------------------------------------ search and filters


def test_an_id_finds_what_it_belongs_to(admin_client: Client, owner: User) -> None:
    one, long = talk(owner, "A talk"), talk(owner, "Another", turns=5)
    for wanted in (long.thread, long.question, long.run):
        assert found(admin_client, list_url(Thread, q=wanted.pk)) == {long.thread.pk}
    for wanted in (one.thread, one.run):
        assert found(admin_client, list_url(Message, q=wanted.pk)) == {one.question.pk, one.answer.pk}
    assert found(admin_client, list_url(Message, q=one.question.pk)) == {one.question.pk, one.answer.pk}
    for wanted in (one.thread, one.run, one.question, one.answer):
        assert found(admin_client, list_url(Run, q=wanted.pk)) == {one.run.pk}
    assert found(admin_client, list_url(Thread, q=uuid.uuid4())) == set()


def test_words_find_titles_texts_models_and_owners(admin_client: Client, owner: User) -> None:
    one = talk(owner, "Whales")
    talk(User.objects.create_user("bob"), "Birds")
    assert found(admin_client, list_url(Thread, q="whale")) == {one.thread.pk}
    assert found(admin_client, list_url(Thread, q="ada")) == {one.thread.pk}
    assert found(admin_client, list_url(Run, q="ada")) == {one.run.pk}
    assert one.answer.pk in found(admin_client, list_url(Message, q="very+end"))
    assert one.question.pk not in found(admin_client, list_url(Message, q="very+end"))


def test_threads_are_filtered_by_what_runs_and_waits_in_them(admin_client: Client, owner: User) -> None:
    idle, queued, running = talk(owner, "Idle"), talk(owner, "Queued"), talk(owner, "Running")
    Run.objects.create(thread=queued.thread, prompt=queued.question)
    lease = {"lease": 1, "lease_owner": "w1", "lease_expires_at": timezone.now()}
    Run.objects.create(thread=running.thread, prompt=running.question, state="running", **lease)
    for state, one in (("idle", idle), ("queued", queued), ("running", running)):
        assert found(admin_client, list_url(Thread, state=state)) == {one.thread.pk}
    assert len(found(admin_client, list_url(Thread))) == 3


def test_runs_are_filtered_by_state_and_error(admin_client: Client, owner: User) -> None:
    talk(owner, "Fine")
    bad = talk(owner, "Bad").run
    Run.objects.filter(pk=bad.pk).update(state="failed", error_code="provider_timeout")
    assert found(admin_client, list_url(Run, state__exact="failed")) == {bad.pk}
    for value in ("any", "provider_timeout"):
        assert found(admin_client, list_url(Run, error=value)) == {bad.pk}
    assert found(admin_client, list_url(Run, error="worker_lost")) == set()


def test_deleted_threads_can_be_told_from_the_others(admin_client: Client, owner: User) -> None:
    gone = Thread.objects.create(owner=owner, deleted_at=timezone.now())
    talk(owner, "There")
    assert found(admin_client, list_url(Thread, deleted_at__isempty=0)) == {gone.pk}
    assert "(deleted)" in get(admin_client, page_url(gone))


# ---------------------------------------------------------------------------------------------------------- contents


def test_a_run_shows_its_timings(admin_client: Client, owner: User) -> None:
    one = talk(owner, "A talk")
    Run.objects.filter(pk=one.run.pk).update(created_at=T0 - timedelta(seconds=3))
    for page in (get(admin_client, list_url(Run)), get(admin_client, page_url(one.run))):
        for value in ("3.0 s", "1.0 s", "12.0 s", "42.5"):  # waited, to the first token, in all; tokens/s
            assert value in page, value


def test_a_run_that_waits_shows_no_timings(admin_client: Client, owner: User) -> None:
    one = talk(owner, "A talk")
    Run.objects.filter(pk=one.run.pk).update(
        state="queued", started_at=None, first_token_at=None, last_token_at=None, finished_at=None
    )
    assert " s</" not in get(admin_client, list_url(Run))
    get(admin_client, page_url(one.run))


def test_a_list_shows_and_reads_only_the_beginning_of_a_text(admin_client: Client, owner: User) -> None:
    one = talk(owner, "A talk")
    with CaptureQueriesContext(connection) as queries:
        page = get(admin_client, list_url(Message))
    assert "The beginning of a long text." in page
    assert f"{len(LONG):,}" in page
    assert "Its very end." not in page
    [rows] = [query["sql"] for query in queries if "beginning" in query["sql"]]
    for column in ("text", "reasoning"):
        assert f', "chat_message"."{column}",' not in rows
    assert "Its very end." in get(admin_client, page_url(one.answer))


def test_a_token_is_found_by_its_beginning_and_shows_neither_itself_nor_its_digest(
    admin_client: Client, owner: User
) -> None:
    token, _ = tokens.make(owner.pk, "backup", None), tokens.make(owner.pk, "another", None)
    kept = ApiToken.objects.get(name="backup")
    assert found(admin_client, list_url(ApiToken, q=kept.prefix)) == {kept.pk}
    assert found(admin_client, list_url(ApiToken, q="ada")) == set(ApiToken.objects.values_list("pk", flat=True))
    for page in (get(admin_client, list_url(ApiToken)), get(admin_client, page_url(kept))):
        assert kept.prefix in page and "standing" in page
        assert token[tokens.SHOWN :] not in page and kept.digest not in page
    tokens.revoke(ApiToken.objects.filter(pk=kept.pk))
    assert "revoked" in get(admin_client, page_url(kept))


# --------------------------------------------------------------------------------------------------- 3,000 messages


@pytest.mark.parametrize("at", ["lists", "pages", "filtered lists"])
def test_a_thread_of_3000_messages_costs_no_more_queries_than_one_of_4(
    admin_client: Client, owner: User, at: str
) -> None:
    counts: dict[str, list[int]] = {}
    for name, turns in (("small", 2), ("large", 1500)):
        one = talk(owner, name, turns)
        urls = {
            "lists": [list_url(model) for model in (Thread, Message, Run)],
            "pages": [page_url(row) for row in (one.thread, one.question, one.answer, one.run)],
            "filtered lists": [
                list_url(Message, thread=one.thread.pk),
                list_url(Run, thread=one.thread.pk),
                list_url(Message, q="end", o="2.-5"),
                list_url(Run, o="5.-6.7"),
            ],
        }[at]
        for url in urls:
            get(admin_client, url)  # what is cached by process and session is not counted
        counts[name] = []
        for url in urls:
            with CaptureQueriesContext(connection) as queries:
                get(admin_client, url)
            counts[name].append(len(queries))
    assert counts["large"] == counts["small"]
    assert max(counts["large"]) <= 12
