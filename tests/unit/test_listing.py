"""Lists and single rows for who reads without following: pages, and what is being said right now."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from chat.database import in_database
from chat.errors import TookTooLong
from chat.models import Message, Run
from chat.protocol import MAX_FRAME, reasoning, text
from chat.replication import listing
from chat.runlog.base import RunLog
from chat.runlog.redis import RedisRunLog
from tests.unit.chats import Chat
from tests.unit.story import Story, saying


def test_archived_threads_are_listed_apart(either_database: str, chat: Chat) -> None:
    Chat(chat.owner).do("update", title="kept", archived=False)
    chat.do("update", title="put away", archived=True)

    def titles(**wanted: Any) -> list[str]:
        return [item["title"] for item in listing.search(chat.owner.pk, "", None, **wanted)["items"]]

    assert titles() == ["put away", "kept"]
    assert titles(archived=True) == ["put away"]
    assert titles(archived=False) == ["kept"]


def test_threads_come_in_pages_as_long_as_told(either_database: str, chat: Chat) -> None:
    for _ in range(4):
        Chat(chat.owner)
    found: list[str] = []
    before, more = None, True
    while more:
        page = listing.search(chat.owner.pk, "", before, limit=2)
        assert len(page["items"]) <= 2
        found += [item["id"] for item in page["items"]]
        before, more = UUID(found[-1]), page["more"]
    assert len(found) == len(set(found)) == 5
    assert found[-1] == str(chat.id)


def test_a_page_of_threads_fits_a_frame(either_database: str, chat: Chat) -> None:
    chat.do("update", title="漢" * 200)
    for _ in range(99):
        Chat(chat.owner).do("update", title="漢" * 200)
    first = listing.search(chat.owner.pk, "", None, limit=100)
    assert len(orjson.dumps(first)) < MAX_FRAME and first["more"]
    rest = listing.search(chat.owner.pk, "", UUID(first["items"][-1]["id"]), limit=100)
    assert len(first["items"]) + len(rest["items"]) == 100 and not rest["more"]


def test_a_search_that_would_take_long_is_ended_and_nothing_else_is(
    either_database: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"thread_id": chat.id, "role": "user", "status": "complete", "text": "a" * 30_000}
    Message.objects.bulk_create([Message(**long) for _ in range(300)])
    monkeypatch.setattr(listing, "MAX_SEARCH", 0.001)
    with pytest.raises(TookTooLong):
        listing.search(chat.owner.pk, "a" * 199 + "b", None)
    assert Message.objects.filter(text__endswith="a").count() == 300
    assert chat.do("update", title="and on")


def test_what_a_message_says_around_the_query_is_shown(either_database: str, chat: Chat) -> None:
    def excerpt(query: str) -> str | None:
        [item] = listing.search(chat.owner.pk, query, None)["items"]
        return item.get("excerpt")

    chat.do("update", title="On rivers")
    chat.send("Where do rivers begin?")
    assert excerpt("RIVERS") == "Where do rivers begin?"
    assert excerpt("on riv") is None, "only the title has it"
    chat.send("mist " * 20 + "and\nthe  Rivers 🏞 " + "fall " * 60)
    found = excerpt("rivers")
    assert found is not None
    assert found.startswith("…mist mist") and "mist and the Rivers 🏞 fall" in found and found.endswith("…")
    assert len(found) <= listing.EXCERPT + 2
    chat.send("100 % sure_ly")
    assert excerpt("0 % sure_") == "100 % sure_ly"


def test_excerpts_cost_one_query_however_much_is_found(chat: Chat, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        other = Chat(chat.owner)
        for _ in range(3):
            other.send("a" * 30_000 + " needle " + "b" * 2_000)
    with django_assert_num_queries(2):
        found = listing.search(chat.owner.pk, "needle", None)["items"]
    assert len(found) == 5
    assert all(len(item["excerpt"]) <= listing.EXCERPT + 2 and "needle" in item["excerpt"] for item in found)


def test_the_path_comes_from_its_end(either_database: str, chat: Chat) -> None:
    turns = [chat.turn() for _ in range(3)]
    last = listing.path(chat.owner.pk, chat.id, None, 2)
    assert [row["id"] for row in last.messages] == [str(turns[2].message), str(turns[2].answer)]
    assert [run["id"] for run in last.runs] == [str(turns[2].run)]
    assert last.more
    rest = listing.path(chat.owner.pk, chat.id, turns[2].message, 10)
    assert [row["id"] for row in rest.messages] == [str(pk) for turn in turns[:2] for pk in (turn.message, turn.answer)]
    assert not rest.more


def test_everything_has_the_branches_too(either_database: str, chat: Chat) -> None:
    turn = chat.turn()
    other = chat.answered(chat.regenerate(turn.answer))
    waiting = chat.send()
    found = listing.everything(chat.owner.pk, chat.id)
    assert {row["id"] for row in found.messages} == {
        str(pk) for pk in (turn.message, turn.answer, other, waiting.message)
    }
    assert len(found.runs) == 3


def test_runs_come_in_pages_the_latest_first(either_database: str, chat: Chat) -> None:
    made = [str(chat.turn().run) for _ in range(5)]
    found: list[str] = []
    before, more = None, True
    while more:
        page = listing.runs(chat.owner.pk, chat.id, before, 2)
        found += [run["id"] for run in page["runs"]]
        before, more = UUID(found[-1]), page["more"]
    assert found == made[::-1]


def test_runs_can_be_asked_for_by_state(either_database: str, chat: Chat) -> None:
    done, waiting = chat.turn(), chat.send()
    assert [run["id"] for run in listing.runs(chat.owner.pk, chat.id, None, 9, [Run.State.QUEUED])["runs"]] == [
        str(waiting.run)
    ]
    assert listing.run(chat.owner.pk, chat.id, done.run)["state"] == "completed"


# ------------------------------------------------------------------------------------------------- being said now


def last(story: Story) -> int:
    """The seq of what was said last."""
    assert story.stream is not None
    return story.stream.fold.seq


async def the_answers(story: Story, log: RunLog | None = None) -> list[dict[str, Any]]:
    log = log or story.log
    found = await listing.current(in_database, log, listing.path, story.chat.owner.pk, story.chat.id, None, 50)
    return [dict(row) for row in found.messages if row["role"] == "assistant"]


async def test_what_is_being_said_is_listed_to_the_last_word(story: Story) -> None:
    await saying(story, "Rivers begin")
    await story.checkpoint()
    await story.say(" in mountains 🏔")
    [row] = await the_answers(story)
    assert row["text"] == "Rivers begin in mountains 🏔"
    assert row["text_length"] == len(row["text"])
    assert row["status"] == "streaming"
    assert row["seq"] == last(story)


async def test_a_single_message_is_listed_to_the_last_word(story: Story) -> None:
    await saying(story, "Rivers begin")
    found = await listing.current(
        in_database, story.log, listing.message, story.chat.owner.pk, story.chat.id, story.answers[0]
    )
    assert found.messages[0]["text"] == "Rivers begin"


async def test_a_log_that_begins_after_the_rows_makes_the_reader_look_again(story: Story, monkeypatch: Any) -> None:
    """Between the two reads a checkpoint is made and the log trimmed behind it."""
    await saying(story, "Rivers begin")
    read, looked = story.log.read, []

    async def overtaken(run: str, after: int) -> Any:
        if not looked:
            await story.checkpoint()
            await story.trim()
            await story.say(" in mountains")
        looked.append(after)
        return await read(run, after)

    monkeypatch.setattr(story.log, "read", overtaken)
    [row] = await the_answers(story)
    assert row["text"] == "Rivers begin in mountains"
    assert len(looked) == 2


async def test_without_the_log_the_checkpoint_must_do(story: Story) -> None:
    await saying(story, "Rivers begin")
    await story.checkpoint()
    await story.say(" in mountains")
    nowhere = RedisRunLog("redis://127.0.0.1:1", timeout=5)
    [row] = await the_answers(story, nowhere)
    assert row["text"] == "Rivers begin"
    assert row["seq"] < last(story)
    await nowhere.close()


async def test_reasoning_is_listed_apart_from_the_text(story: Story) -> None:
    await saying(story, "So: ")
    await story.put(reasoning(str(story.answers[0]), "hm"), text(str(story.answers[0]), "mountains"))
    [row] = await the_answers(story)
    assert (row["text"], row["reasoning"], row["reasoning_length"]) == ("So: mountains", "hm", 2)
