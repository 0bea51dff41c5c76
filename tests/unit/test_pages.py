"""What is long comes in pages and frames, a window first; together they are everything."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from chat.database import in_database
from chat.models import Run
from chat.protocol import MAX_FRAME, WINDOW, Cursor, text
from chat.replication import catchup, listing
from tests.unit.replica import Replica
from tests.unit.story import Story, kinds, saying


@pytest.mark.parametrize("character", ["x", "漢", '"', "\n", "\x01"])
async def test_a_long_thread_comes_in_frames_each_a_step(story: Story, character: str) -> None:
    size = 9_000 // len(character.encode())
    turns = [await story.do(story.chat.turn, character * size, character * size) for _ in range(12)]
    viewer = await story.catch_up()
    assert kinds(viewer).count("change") > 3
    assert {UUID(pk) for pk in viewer.messages} == {pk for turn in turns for pk in (turn.message, turn.answer)}


async def test_who_leaves_between_two_frames_misses_nothing(story: Story) -> None:
    for _ in range(8):
        await story.do(story.chat.turn, '"' * 8_000, "\n" * 8_000)
    fresh = await story.catch_up()
    page = await catchup.catch_up(in_database, story.log, story.chat.owner.pk, story.chat.id, Cursor(), None)
    viewer = Replica()
    for frame in page.frames[:1]:
        viewer.apply(frame)
    await story.catch_up(viewer)
    assert viewer.view() == fresh.view()


async def test_a_single_row_that_is_larger_than_a_frame_goes_alone(story: Story) -> None:
    await story.do(story.chat.turn, "short", "x" * 200_000)
    await story.do(story.chat.turn, "short", "y" * 200_000)
    viewer = await story.catch_up()
    assert sorted(len(message["text"]) for message in viewer.messages.values()) == [5, 5, 200_000, 200_000]


async def test_what_one_change_did_to_many_long_messages_comes_in_frames(story: Story) -> None:
    turn = await story.do(story.chat.turn)
    for _ in range(8):
        await story.do(story.chat.send, "x" * 20_000)
    viewer, behind = await story.catch_up(), Replica()
    await story.do(story.chat.regenerate, turn.answer)
    for one in (viewer, behind):
        await story.catch_up(one)
        assert [m["status"] for m in one.messages.values()].count("unqueued") == 8
    assert viewer.view() == behind.view()


async def test_two_long_messages_of_a_running_run_come_in_frames(story: Story) -> None:
    await saying(story)
    await story.begin()
    for n in range(2):
        await story.put(*[text(str(story.answers[n]), "漢" * 5_000) for _ in range(3)])
    await story.checkpoint()
    await story.trim()
    await story.say("the end", 1)
    viewer = await story.catch_up()
    assert [len(viewer.messages[str(pk)]["text"]) for pk in story.answers] == [15_000, 15_007]


async def test_a_pages_weight_is_that_of_all_its_rows(story: Story, settings: Any) -> None:
    settings.REJOIN_MAX_QUEUED = 1000
    for _ in range(150):
        await story.do(story.chat.send)
    await story.do(lambda: Run.objects.update(version=story.chat.thread.version))
    viewer = await story.catch_up(everything=False)
    assert len(viewer.runs) == 150


# --------------------------------------------------------------------------------------------------- window, history


async def test_who_opens_a_long_thread_gets_its_end_and_history_brings_the_rest(story: Story) -> None:
    turns = [await story.do(story.chat.turn, f"question {n}", f"answer {n}") for n in range(WINDOW)]
    every = [str(pk) for turn in turns for pk in (turn.message, turn.answer)]
    viewer = await story.catch_up(everything=False)
    assert list(viewer.messages) == every[-WINDOW:]
    found, more = every[-WINDOW:], True
    while more:
        page = await story.do(listing.history, story.chat.owner.pk, story.chat.id, UUID(found[0]), 20)
        assert len(page["messages"]) <= 20
        assert {run["id"] for run in page["runs"]} == {m["run"] for m in page["messages"]}
        found, more = [message["id"] for message in page["messages"]] + found, page["more"]
    assert found == every


async def test_history_before_the_first_message_is_empty(story: Story) -> None:
    turn = await story.do(story.chat.turn)
    page = await story.do(listing.history, story.chat.owner.pk, story.chat.id, turn.message, 20)
    assert page == {"messages": [], "runs": [], "more": False}


@pytest.mark.parametrize("character", ["x", '"', "\x01"])
async def test_a_page_of_history_fits_a_frame_however_long_the_messages(story: Story, character: str) -> None:
    turns = [await story.do(story.chat.turn, character * 8_000, character * 8_000) for _ in range(4)]
    before, count, more = turns[-1].answer, 0, True
    while more:
        page = await story.do(listing.history, story.chat.owner.pk, story.chat.id, before, 50)
        assert len(orjson.dumps(page)) < MAX_FRAME - 200 or len(page["messages"]) == 1
        count += len(page["messages"])
        before, more = UUID(page["messages"][0]["id"]), page["more"]
    assert count == 7


async def test_a_message_that_waits_is_seen_by_who_opens_the_thread(story: Story) -> None:
    for _ in range(3):
        await story.do(story.chat.turn)
    asked = await story.do(story.chat.send, "waiting")
    viewer = await story.catch_up(everything=False)
    assert viewer.messages[str(asked.message)]["status"] == "queued"
    assert viewer.runs[str(asked.run)]["place"] == 1
