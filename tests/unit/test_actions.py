"""The verbs on threads, and that a command is done once. The verbs on runs: test_send, test_regenerate, test_stop."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from chat.actions import Outcome, perform
from chat.announcement import Announcement
from chat.errors import BadRequest, ChatError, Conflict, NotFound
from chat.fold import Fold
from chat.generation import ledger
from chat.models import Command, Inbox, Message, Run, Thread
from chat.protocol import FOUND, Cursor, text
from chat.replication import listing
from chat.replication.inbox import read_inbox
from tests.unit.chats import Chat, make_user
from tests.unit.concurrency import together

# ------------------------------------------------------------------------------------------------------------ once


def test_a_repeated_command_gets_the_first_reply_and_changes_nothing(chat: Chat) -> None:
    command = chat.command("send", message=uuid4(), run=uuid4(), text="once")
    first = perform(chat.owner.pk, command)
    again = perform(chat.owner.pk, command)
    assert again == Outcome(first.result, None)
    assert [chat.thread.version, Message.objects.count(), Run.objects.count()] == [first.result["version"], 1, 1]


def test_a_repeated_id_counts_whatever_the_second_command_says(chat: Chat) -> None:
    command = chat.command("update", title="first")
    perform(chat.owner.pk, command)
    perform(chat.owner.pk, command.model_copy(update={"title": "second"}))
    assert chat.thread.title == "first"


def test_another_users_command_of_the_same_id_is_another_command(chat: Chat) -> None:
    other = Chat()
    command = chat.command("update", title="mine")
    perform(chat.owner.pk, command)
    perform(other.owner.pk, command.model_copy(update={"thread": other.id, "title": "theirs"}))
    assert [chat.thread.title, other.thread.title] == ["mine", "theirs"]


@pytest.mark.parametrize("other", ["another type", "another thread"])
def test_another_command_with_an_id_that_is_taken_is_refused(chat: Chat, other: str) -> None:
    """Its reply would have another thread's version, for which who follows this one would wait in vain."""
    command = chat.command("update", title="mine")
    perform(chat.owner.pk, command)
    second = chat if other == "another type" else Chat(chat.owner)
    wrong = second.command("delete" if other == "another type" else "update").model_copy(update={"id": command.id})
    with pytest.raises(Conflict):
        perform(chat.owner.pk, wrong)
    assert chat.thread.title == "mine"
    assert second.thread.version == (2 if second is chat else 1)


def test_a_refused_command_is_not_kept_and_may_be_sent_again(chat: Chat) -> None:
    first, second = chat.send(), chat.send()
    command = chat.command("send", message=uuid4(), run=uuid4(), text="later", parent=first.message)
    with pytest.raises(BadRequest):
        perform(chat.owner.pk, command)
    assert not Command.objects.filter(command=command.id).exists()
    chat.answered(first.run)
    perform(chat.owner.pk, command)
    assert chat.message(command.message).status == "queued"
    assert chat.run(second.run).state == "queued"


@pytest.mark.parametrize("verb", ["create", "update", "send", "read", "regenerate", "stop", "delete"])
def test_the_same_command_at_the_same_moment_is_done_once_and_all_get_its_reply(
    either_database: str, verb: str
) -> None:
    chat = Chat()
    turn, queued = chat.turn(), chat.send()
    fields: dict[str, dict[str, Any]] = {
        "update": {"title": "new"},
        "send": {"message": uuid4(), "run": uuid4(), "text": "hello"},
        "read": {"message": turn.answer},
        "regenerate": {"of": turn.answer, "run": uuid4()},
        "stop": {"run": queued.run},
    }
    command = chat.command(verb, **fields.get(verb, {}))
    if verb == "create":
        command = command.model_copy(update={"thread": uuid4()})
    version = chat.thread.version
    outcomes = together(*[lambda: perform(chat.owner.pk, command)] * 4)
    done = Outcome(Command.objects.get(command=command.id).reply)
    assert [outcome.result for outcome in outcomes] == [done.result] * 4, outcomes
    assert [outcome.announcement is None for outcome in outcomes].count(False) == 1
    assert chat.thread.version - version <= 1


def test_the_last_place_in_the_queue_goes_to_a_command_that_is_repeated_at_the_same_moment(
    either_database: str, settings: Any
) -> None:
    settings.REJOIN_MAX_QUEUED = 1
    chat = Chat()
    command = chat.command("send", message=uuid4(), run=uuid4(), text="hello")
    outcomes = together(*[lambda: perform(chat.owner.pk, command)] * 4)
    assert [outcome.result for outcome in outcomes] == [{"version": 2}] * 4


# -------------------------------------------------------------------------------------------------------- yours only

VERBS: dict[str, dict[str, Any]] = {
    "update": {"title": "mine now"},
    "delete": {},
    "read": {"message": None},
    "send": {"message": uuid4(), "run": uuid4(), "text": "hello"},
    "regenerate": {"of": None, "run": uuid4()},
    "stop": {"run": None},
}


def refusal(user: Any, command: Any) -> dict[str, Any]:
    with pytest.raises(ChatError) as caught:
        perform(user.pk, command)
    return caught.value.as_dict()


@pytest.mark.parametrize("verb", VERBS)
def test_a_thread_of_another_user_a_deleted_one_and_none_at_all_are_the_same_not_found(chat: Chat, verb: str) -> None:
    stranger, deleted = make_user(), Chat()
    turn = chat.turn()
    fields = {name: turn.run if verb == "stop" else value or turn.answer for name, value in VERBS[verb].items()}
    command = chat.command(verb, **fields)
    deleted.do("delete")
    version = chat.thread.version
    found = [
        refusal(stranger, command),
        refusal(deleted.owner, command.model_copy(update={"thread": deleted.id})),
        refusal(stranger, command.model_copy(update={"thread": uuid4()})),
    ]
    assert found == [NotFound().as_dict()] * 3
    assert chat.thread.version == version


@pytest.mark.parametrize("verb", ["read", "regenerate", "stop"])
def test_a_message_or_run_of_another_thread_and_none_at_all_are_the_same_not_found(chat: Chat, verb: str) -> None:
    mine, theirs = Chat(chat.owner).turn(), Chat().turn()
    field = {"read": "message", "regenerate": "of", "stop": "run"}[verb]
    there = [turn.run if verb == "stop" else turn.answer for turn in (mine, theirs)]
    extra = {"run": uuid4()} if verb == "regenerate" else {}
    found = [refusal(chat.owner, chat.command(verb, **extra | {field: pk})) for pk in (*there, uuid4())]
    assert found == [NotFound().as_dict()] * 3


@pytest.mark.parametrize("theirs", [True, False])
def test_a_parent_of_another_thread_and_none_at_all_are_the_same_not_found(chat: Chat, theirs: bool) -> None:
    parent = Chat().turn().answer if theirs else uuid4()
    command = chat.command("send", message=uuid4(), run=uuid4(), text="hello", parent=parent)
    assert refusal(chat.owner, command) == NotFound().as_dict()


@pytest.mark.parametrize("taken", ["thread", "message", "run"])
def test_an_id_that_is_taken_is_a_conflict_and_takes_nothing_from_whom_it_belongs_to(chat: Chat, taken: str) -> None:
    other = Chat()
    turn = other.turn("theirs", "also theirs")
    fields = {"message": uuid4(), "run": uuid4(), "text": "mine"}
    command = chat.command("send", **fields | {taken: getattr(turn, taken)}) if taken != "thread" else None
    command = command or chat.command("create").model_copy(update={"thread": other.id})
    assert refusal(chat.owner, command) == Conflict("An id of this command is taken already.").as_dict()
    assert [other.texts(), other.thread.owner, other.run(turn.run).thread_id] == [
        ["theirs", "also theirs"],
        other.owner,
        other.id,
    ]
    assert chat.thread.version == 1


# ----------------------------------------------------------------------------------------------------------- threads


def test_create_makes_an_empty_thread_and_an_item_in_the_inbox(db: None) -> None:
    user, thread = make_user(), uuid4()
    chat = Chat(user)
    command = chat.command("create", title="Rivers", model="m", system_prompt="Be brief.")
    outcome = perform(user.pk, command.model_copy(update={"thread": thread}))
    made = Thread.objects.get(pk=thread)
    assert (made.owner, made.title, made.model, made.system_prompt) == (user, "Rivers", "m", "Be brief.")
    assert (made.version, made.inbox_version, made.head) == (1, 2, None)
    assert outcome.announcement == Announcement(thread, 1, user.pk, 2)


def test_update_changes_only_the_fields_that_are_there(chat: Chat) -> None:
    chat.do("update", title="Rivers", system_prompt="Be brief.", pinned=True)
    chat.do("update", title="Seas", archived=True)
    thread = chat.thread
    assert (thread.title, thread.system_prompt, thread.pinned, thread.archived) == ("Seas", "Be brief.", True, True)


def test_update_can_empty_a_field(chat: Chat) -> None:
    chat.do("update", title="Rivers", model="m")
    chat.do("update", title="", model="", pinned=False)
    assert (chat.thread.title, chat.thread.model, chat.thread.pinned) == ("", "", False)


def test_each_change_raises_the_threads_version_by_one(chat: Chat) -> None:
    versions = [chat.thread.version]
    asked = chat.send()
    versions.append(chat.thread.version)
    chat.do("update", title="new")
    versions.append(chat.thread.version)
    claim = chat.claim(asked.run)
    versions.append(chat.thread.version)
    answer = chat.begin(claim)
    versions.append(chat.thread.version)
    chat.finish(claim, {answer: "said"})
    versions.append(chat.thread.version)
    chat.regenerate(answer)
    versions.append(chat.thread.version)
    assert versions == list(range(1, 8))


def test_delete_leaves_an_empty_tombstone(chat: Chat) -> None:
    chat.turn()
    chat.do("update", title="secret", system_prompt="secret", model="secret")
    version, inbox = chat.thread.version, Inbox.objects.get(user=chat.owner).version
    outcome = chat.do("delete")
    tombstone = chat.thread
    assert (tombstone.title, tombstone.system_prompt, tombstone.model, tombstone.head) == ("", "", "", None)
    assert tombstone.deleted_at is not None
    assert (tombstone.version, tombstone.inbox_version) == (version + 1, inbox + 1)
    assert outcome.result == {"version": version + 1}
    assert not Message.objects.exists()
    assert not Run.objects.exists()


def test_an_old_inbox_cursor_learns_of_a_deletion(chat: Chat) -> None:
    before = Inbox.objects.get(user=chat.owner).version
    chat.do("delete")
    [frame] = read_inbox(chat.owner.pk, Cursor(before), False).frames
    assert f'"removed":["{chat.id}"]' in frame


def test_a_worker_whose_thread_was_deleted_writes_nothing_more(chat: Chat) -> None:
    claim = chat.claim(chat.send().run)
    answer = chat.begin(claim)
    outcome = chat.do("delete")
    assert outcome.announcement is not None
    assert outcome.announcement.stop == claim.run
    assert ledger.begin(claim.run, claim.lease, uuid4(), None, "") is None
    with pytest.raises(AssertionError):
        chat.finish(claim, {answer: "too late"})
    assert not Message.objects.exists()


def test_a_deletion_and_a_final_commit_at_the_same_moment_leave_nothing_behind(either_database: str) -> None:
    for _ in range(5):
        chat = Chat()
        claim = chat.claim(chat.send().run)
        answer = chat.begin(claim)
        fold = Fold(claim.first)
        fold.add([text(str(answer), "said")], claim.first + 1)
        together(
            lambda chat=chat: chat.do("delete"),
            lambda claim=claim, fold=fold: ledger.finish(claim.run, claim.lease, fold, Run.State.COMPLETED),
        )
        assert chat.thread.deleted_at is not None
        assert not Message.objects.filter(thread=chat.id).exists()


# -------------------------------------------------------------------------------------------------------------- read


def test_an_answer_makes_the_thread_unread_and_reading_it_makes_it_read(chat: Chat) -> None:
    turn = chat.turn()
    assert chat.thread.unread
    chat.do("read", message=turn.answer)
    assert not chat.thread.unread


def test_reading_an_earlier_message_leaves_the_newest_answer_unread(chat: Chat) -> None:
    first = chat.turn()
    chat.turn()
    chat.do("read", message=first.answer)
    assert chat.thread.unread


def test_the_read_position_never_goes_back(chat: Chat) -> None:
    first, second = chat.turn(), chat.turn()
    chat.do("read", message=second.answer)
    chat.do("read", message=first.answer)
    assert not chat.thread.unread


def test_a_run_that_failed_without_a_word_can_be_read_at_the_paths_end(chat: Chat) -> None:
    asked = chat.send()
    chat.finish(chat.claim(asked.run), {}, Run.State.FAILED)
    assert chat.thread.unread
    chat.do("read", message=asked.message)
    assert not chat.thread.unread


def test_reading_touches_the_inbox_once_and_the_thread_not_at_all(chat: Chat) -> None:
    turn = chat.turn()
    before = chat.thread
    for _ in range(2):
        chat.do("read", message=turn.answer)
    after = chat.thread
    assert (after.version, after.updated_at) == (before.version, before.updated_at)
    assert after.inbox_version == before.inbox_version + 1 == Inbox.objects.get(user=chat.owner).version


def test_a_name_a_pin_and_putting_away_make_no_chat_the_latest(chat: Chat) -> None:
    before = chat.thread
    chat.do("update", title="named", pinned=True, archived=True)
    after = chat.thread
    assert (after.title, after.pinned, after.archived) == ("named", True, True)
    assert after.updated_at == before.updated_at
    assert after.version == after.row_version == before.version + 1
    assert after.inbox_version == before.inbox_version + 1


# ------------------------------------------------------------------------------------------------------------ search


def titles(chat: Chat, query: str, before: Any = None) -> list[str]:
    return [item["title"] for item in listing.search(chat.owner.pk, query, before)["items"]]


def test_search_finds_titles_and_texts_the_latest_first(chat: Chat) -> None:
    chat.do("update", title="About Rivers")
    other = Chat(chat.owner)
    other.turn("where is the sea?", "At the end of all RIVERS.")
    assert titles(chat, "rivers") == ["where is the sea?", "About Rivers"]
    assert titles(chat, "desert") == []


def test_search_takes_its_query_as_it_is(chat: Chat) -> None:
    chat.do("update", title="100 percent")
    assert titles(chat, "%") == titles(chat, "_") == []
    chat.do("update", title="100 % of_it")
    assert titles(chat, "%") == titles(chat, "_") == ["100 % of_it"]


def test_search_finds_only_ones_own_threads_that_are_not_deleted(chat: Chat) -> None:
    for title in ("mine", "deleted"):
        Chat(chat.owner).do("update", title=f"{title} thread")
    Chat().do("update", title="their thread")
    deleted = Chat(chat.owner)
    deleted.turn("a deleted thread's question")
    deleted.do("delete")
    assert titles(chat, "thread") == ["deleted thread", "mine thread"]


def test_search_comes_in_pages_that_together_are_everything_once(chat: Chat) -> None:
    for n in range(45):
        Chat(chat.owner).do("update", title=f"river {n}")
    found: list[str] = []
    before, more = None, True
    while more:
        page = listing.search(chat.owner.pk, "river", before)
        found += [item["title"] for item in page["items"]]
        before, more = page["items"][-1]["id"], page["more"]
        assert len(page["items"]) <= FOUND
    assert found == [f"river {n}" for n in reversed(range(45))]
