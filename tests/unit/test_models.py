"""What the database itself refuses, and the selections made on the models."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from chat.models import Command, Inbox, Message, Run, Thread
from tests.unit.chats import Chat, make_user


def message(chat: Chat, **fields: object) -> Message:
    values = {"role": Message.Role.USER, "status": Message.Status.COMPLETE, "text": "x"} | fields
    return Message.objects.create(thread=chat.thread, **values)


def run(chat: Chat, **fields: object) -> Run:
    values = {"prompt": message(chat), **fields}
    return Run.objects.create(thread=chat.thread, **values)


RUNNING = {"state": Run.State.RUNNING, "lease": 1, "lease_owner": "worker", "lease_expires_at": timezone.now()}


def test_a_thread_can_not_have_two_running_runs(either_database: str) -> None:
    chat = Chat()
    run(chat, **RUNNING)
    with pytest.raises(IntegrityError, match=r"run_one_running_in_a_thread|chat_run\.thread_id"):
        run(chat, **RUNNING)


def test_two_threads_can_each_have_a_running_run(db: None) -> None:
    assert {run(Chat(), **RUNNING).state, run(Chat(), **RUNNING).state} == {"running"}


@pytest.mark.parametrize("missing", [{"lease": 0}, {"lease_owner": ""}, {"lease_expires_at": None}])
def test_a_running_run_has_a_whole_lease(chat: Chat, missing: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="run_running_has_a_lease"):
        run(chat, **RUNNING | missing)


@pytest.mark.parametrize("state", Run.FINAL)
def test_an_ended_run_says_when_it_ended(chat: Chat, state: str) -> None:
    with pytest.raises(IntegrityError, match="run_finished_at_the_end"):
        run(chat, state=state)


def test_a_queued_run_has_not_ended(chat: Chat) -> None:
    with pytest.raises(IntegrityError, match="run_finished_at_the_end"):
        run(chat, state=Run.State.QUEUED, finished_at=timezone.now())


def test_a_run_has_a_known_state(chat: Chat) -> None:
    with pytest.raises(IntegrityError, match=r"run_state_known|run_finished_at_the_end"):
        run(chat, state="paused")


@pytest.mark.parametrize("fields", [{"role": "tool"}, {"role": "system"}])
def test_a_message_has_a_known_role(chat: Chat, fields: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match="message_role_known"):
        message(chat, **fields)


def test_a_message_has_a_known_status(chat: Chat) -> None:
    with pytest.raises(IntegrityError, match="message_status_known"):
        message(chat, status="edited")


@pytest.mark.parametrize("status", ["queued", "unqueued"])
def test_a_message_that_waits_or_was_taken_back_has_no_place_in_the_tree(chat: Chat, status: str) -> None:
    parent = message(chat)
    with pytest.raises(IntegrityError, match="message_unplaced_has_no_parent"):
        message(chat, status=status, parent=parent)


def test_a_message_is_not_its_own_parent(chat: Chat) -> None:
    pk = uuid4()
    with pytest.raises(IntegrityError, match="message_not_its_own_parent"):
        message(chat, pk=pk, parent_id=pk)


def test_a_threads_row_is_never_newer_than_its_thread(chat: Chat) -> None:
    with pytest.raises(IntegrityError, match="thread_row_version_not_ahead"):
        Thread.objects.filter(pk=chat.id).update(row_version=chat.thread.version + 1)


def test_a_users_command_is_kept_once(db: None) -> None:
    user, command = make_user(), uuid4()
    Command.objects.create(user=user, command=command, type="send", thread=uuid4())
    with pytest.raises(IntegrityError):
        Command.objects.create(user=user, command=command, type="stop", thread=uuid4())


def test_two_users_may_use_the_same_command_id(db: None) -> None:
    command = uuid4()
    for user in (make_user(), make_user()):
        Command.objects.create(user=user, command=command, type="send", thread=uuid4())
    assert Command.objects.filter(command=command).count() == 2


def test_the_path_is_the_ancestors_oldest_first(either_database: str) -> None:
    chat = Chat()
    turns = [chat.turn(), chat.turn(), chat.turn()]
    every = [pk for turn in turns for pk in (turn.message, turn.answer)]
    assert [found.pk for found in Message.objects.path(turns[-1].answer)] == every
    assert [found.pk for found in Message.objects.path(turns[-1].answer, 3)] == every[-3:]


def test_the_path_of_no_head_is_empty(db: None) -> None:
    assert Message.objects.path(None) == []


def test_below_are_the_message_and_its_descendants_on_all_branches(either_database: str) -> None:
    chat = Chat()
    first, second = chat.turn(), chat.turn()
    other = chat.answered(chat.regenerate(second.answer))
    below = {found.pk for found in Message.objects.below(first.answer)}
    assert below == {first.answer, second.message, second.answer, other}


def test_the_tip_is_the_end_of_the_newest_path(either_database: str) -> None:
    chat = Chat()
    first, second = chat.turn(), chat.turn()
    other = chat.answered(chat.regenerate(second.answer))
    assert Message.objects.tip(first.message) == other
    assert Message.objects.tip(second.answer) == second.answer


@pytest.mark.parametrize(
    ("seen", "base", "text", "status"),
    [
        (3, 0, "abc", "cut"),
        (0, 0, "", "cut"),
        (6, 0, "abcdef", "complete"),
        (99, 0, "abcdef", "complete"),
        (1, 4, "abcd", "cut"),
        (5, 4, "abcde", "cut"),
    ],
)
def test_a_cut_keeps_what_was_seen_and_what_was_there_before_the_run(
    seen: int, base: int, text: str, status: str
) -> None:
    cut = Message(text="abcdef", status=Message.Status.COMPLETE, base_length=base)
    assert cut.cut(seen) == (text != "abcdef")
    assert (cut.text, cut.status) == (text, status)


def test_a_cut_counts_code_points() -> None:
    cut = Message(text="a😀b😀c", status=Message.Status.COMPLETE)
    cut.cut(2)
    assert cut.text == "a😀"


def test_an_inboxes_version_rises_by_one_for_each_change(either_database: str) -> None:
    user = make_user()
    assert [Inbox.objects.raise_version(user.pk) for _ in range(3)] == [1, 2, 3]


def test_a_lease_has_run_out_by_the_databases_clock(either_database: str) -> None:
    chat = Chat()
    claim = chat.claim(chat.send().run)
    assert not Run.objects.expired().exists()
    assert Run.objects.expired(Now() + timedelta(seconds=16)).get().pk == claim.run


def test_renewing_reaches_the_owners_running_runs_only(either_database: str) -> None:
    mine, theirs, waiting = Chat(), Chat(), Chat()
    claims = [mine.claim(mine.send().run, "me"), theirs.claim(theirs.send().run, "they")]
    runs = [*(claim.run for claim in claims), waiting.send().run]
    with transaction.atomic():
        assert Run.objects.renew("me", runs, 100) == [claims[0].run]
    assert [found.pk for found in Run.objects.expired(Now() + timedelta(seconds=50))] == [claims[1].run]


def test_all_rows_say_when_they_were_made_and_last_changed() -> None:
    for model in apps.get_app_config("chat").get_models():
        names = {field.name for field in model._meta.get_fields()}
        assert {"created_at", "updated_at"} <= names, model
