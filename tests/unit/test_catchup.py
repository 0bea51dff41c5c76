"""catch_up(cursor): whatever the cursor, what comes is what is missing, and state and events equal a fresh view."""

from __future__ import annotations

import copy
from uuid import UUID

import orjson
import pytest

from chat.database import in_database
from chat.fold import Fold
from chat.generation import ledger
from chat.models import Run
from chat.protocol import LEASE_SPAN, Cursor, text
from chat.replication import batches, catchup, listing
from chat.replication.catchup import Ahead
from chat.runlog.base import Batch, Log, RunLogUnavailable
from chat.runlog.memory import MemoryRunLog
from tests.unit.chats import LATER, Chat
from tests.unit.replica import Replica
from tests.unit.story import Story, everything_that_happens, kinds, said, saying


async def test_who_followed_along_equals_who_just_opened_the_thread_at_every_point(story: Story) -> None:
    follower = Replica()
    async for step in everything_that_happens(story):
        await story.catch_up(follower)
        fresh = await story.catch_up()
        assert follower.view() == fresh.view(), step


async def test_who_comes_back_from_any_earlier_point_equals_who_just_opened_the_thread(story: Story) -> None:
    away: list[Replica] = []
    async for _ in everything_that_happens(story):
        away.append(await story.catch_up())
    fresh = await story.catch_up()
    for n, replica in enumerate(away):
        await story.catch_up(replica)
        assert replica.view() == fresh.view(), n


async def test_who_is_cut_off_between_any_two_frames_misses_nothing_afterwards(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    away: list[Replica] = []
    owner, thread = story.chat.owner.pk, story.chat.id
    async for step in everything_that_happens(story):
        fresh = await story.catch_up()
        for n, replica in enumerate([Replica(), *away[-7::3]]):
            with monkeypatch.context() as patch:
                for module in (batches, catchup):
                    patch.setattr(module, "FRAME_ROOM", 1)
                patch.setattr(catchup, "PAGE_SIZE", 5000)
                found = await catchup.catch_up(in_database, story.log, owner, thread, replica.cursor, None)
            for count in sorted({1, len(found.frames) // 2, len(found.frames) - 1} - {0}):
                cut = copy.deepcopy(replica)
                for frame in found.frames[:count]:
                    cut.apply(frame)
                await story.catch_up(cut)
                assert cut.view() == fresh.view(), f"{step}, viewer {n} after {count} frames"
        away.append(fresh)


async def test_who_comes_back_is_sent_no_text_twice_unless_the_log_has_forgotten(story: Story) -> None:
    asked = await story.do(story.chat.send)
    await story.take(asked.run)
    await story.begin()
    viewer = Replica()
    for n in range(10):
        await story.say("x" * 100)
        if n % 3 == 0:
            await story.checkpoint()
        await story.catch_up(viewer)
    await story.finish()
    await story.catch_up(viewer)
    assert viewer.received == len("hello") + 1000


async def test_the_window_and_what_follows_equal_the_end_of_a_fresh_view(story: Story) -> None:
    follower = Replica()
    async for step in everything_that_happens(story):
        await story.catch_up(follower, everything=False)
        fresh = await story.catch_up(everything=False)
        assert set(fresh.messages) <= set(follower.messages), step
        assert {pk: follower.view()["messages"][pk] for pk in fresh.messages} == fresh.view()["messages"], step
        assert {pk: follower.view()["runs"][pk] for pk in fresh.runs} == fresh.view()["runs"], step
        active = {pk for pk, run in follower.runs.items() if run["state"] in ("queued", "running")}
        asked = {pk for pk, run in follower.runs.items() if run["prompt"] in fresh.messages}
        assert active | asked <= set(fresh.runs), step


async def test_a_run_that_failed_without_a_word_is_there_for_who_opens_the_chat_later(story: Story) -> None:
    turn = await story.do(story.chat.turn)
    follower = await story.catch_up(everything=False)
    again = await story.do(story.chat.regenerate, turn.answer)
    claim = await story.do(story.chat.claim, again)
    await story.do(story.chat.finish, claim, {}, Run.State.FAILED, error_code="provider_unavailable")
    await story.catch_up(follower, everything=False)
    fresh = await story.catch_up(everything=False)
    assert set(fresh.runs) == set(follower.runs) == {str(turn.run), str(again)}
    found = await story.do(listing.path, story.chat.owner.pk, story.chat.id, None, 50)
    assert {run["id"] for run in found.runs} == {str(turn.run), str(again)}


# ------------------------------------------------------------------------------------------------ any cursor, one run


async def test_who_has_nothing_gets_the_rows_and_then_what_the_log_has(story: Story) -> None:
    await saying(story, "a", "b")
    viewer = await story.catch_up()
    assert (kinds(viewer), said(viewer)) == (["change", "delta"], "ab")


async def test_who_is_level_gets_nothing(story: Story) -> None:
    await saying(story, "a")
    viewer = await story.catch_up()
    kinds(viewer)
    await story.catch_up(viewer)
    assert kinds(viewer) == []


async def test_who_lacks_only_parts_gets_only_parts(story: Story) -> None:
    await saying(story, "a")
    viewer = await story.catch_up()
    kinds(viewer)
    await story.say("b")
    await story.checkpoint()
    await story.say("c")
    await story.catch_up(viewer)
    assert (kinds(viewer), said(viewer)) == (["delta"], "abc")


async def test_neighbouring_parts_come_as_one_delta(story: Story) -> None:
    await saying(story, *"abcdefgh")
    viewer = await story.catch_up()
    assert kinds(viewer) == ["change", "delta"]


async def test_where_the_log_reaches_no_longer_the_rows_carry_the_text(story: Story) -> None:
    await saying(story, "a")
    viewer = await story.catch_up()
    kinds(viewer)
    await story.say("b")
    await story.checkpoint()
    await story.trim()
    await story.say("c")
    await story.catch_up(viewer)
    assert (kinds(viewer), said(viewer)) == (["change", "delta"], "abc")


async def test_without_a_log_the_rows_carry_the_checkpoint(story: Story) -> None:
    await saying(story, "a", "b")
    await story.checkpoint()
    await story.say("c")
    story.log = MemoryRunLog()
    viewer = await story.catch_up()
    assert (kinds(viewer), said(viewer)) == (["change"], "ab")


async def test_who_has_more_than_the_checkpoint_keeps_it_while_the_log_is_gone(story: Story) -> None:
    run = await saying(story, "a")
    await story.checkpoint()
    await story.say("b")
    viewer = await story.catch_up()
    story.log = MemoryRunLog()
    kinds(viewer)
    await story.do(story.chat.do, "update", title="meanwhile")
    await story.catch_up(viewer)
    assert (kinds(viewer), said(viewer), viewer.row["title"]) == (["change"], "ab", "meanwhile")
    assert viewer.seqs[run] == viewer.cursor.seq


async def test_a_log_that_is_away_is_no_failure(story: Story) -> None:
    class Away(MemoryRunLog):
        async def read(self, run: str, after: int) -> Log | None:
            raise RunLogUnavailable

    await saying(story, "a")
    await story.checkpoint()
    story.log = Away()
    assert said(await story.catch_up()) == "a"


async def test_a_checkpoint_that_comes_between_database_and_log_is_read_again(story: Story) -> None:
    await saying(story, "a")
    log, read = story.log, story.log.read

    async def late(run: str, after: int) -> Log | None:
        log.read = read  # type: ignore[method-assign]
        await story.say("b")
        await story.checkpoint()
        await story.trim()
        await story.say("c")
        return await read(run, after)

    log.read = late  # type: ignore[method-assign]
    assert said(await story.catch_up()) == "abc"


async def test_a_log_that_never_is_in_step_does_not_keep_a_viewer_waiting_for_ever(story: Story) -> None:
    run = await saying(story, "a")
    await story.checkpoint()
    assert story.stream is not None
    seq = story.stream.seq
    hole = [Batch(seq + 5, seq + 6, orjson.dumps([["text", str(story.answers[0]), "z"]]).decode())]
    await story.log.seed(run, 1, seq + 5, hole)
    viewer = await story.catch_up()
    assert (said(viewer), viewer.cursor.seq) == ("a", seq)


async def test_a_cursor_inside_a_batch_is_read_again_from_the_checkpoint(story: Story) -> None:
    await saying(story)
    await story.put(text(str(story.answers[0]), "a"), text(str(story.answers[0]), "b"))
    viewer = await story.catch_up()
    viewer.cursor = viewer.cursor._replace(seq=viewer.cursor.seq - 1)
    kinds(viewer)
    await story.catch_up(viewer)
    assert (kinds(viewer)[0], said(viewer)) == ("change", "ab")


async def test_the_final_change_brings_lengths_to_who_followed_and_text_to_who_did_not(story: Story) -> None:
    await saying(story, "a" * 100)
    followed, behind = await story.catch_up(), await story.catch_up()
    await story.say("b" * 100)
    await story.catch_up(followed)
    await story.finish()
    sizes = [followed.received, behind.received]
    for viewer in (followed, behind):
        kinds(viewer)
        await story.catch_up(viewer)
        assert (kinds(viewer), len(said(viewer))) == (["change"], 200)
    assert [followed.received - sizes[0], behind.received - sizes[1]] == [0, 200]


async def test_who_followed_and_then_missed_a_cut_cuts_by_the_lengths(story: Story) -> None:
    await saying(story, "abcdef")
    viewer = await story.catch_up()
    await story.do(story.chat.stop, UUID(viewer.cursor.run), seen={story.answers[0]: 2})
    await story.finish()
    before = viewer.received
    await story.catch_up(viewer)
    assert (said(viewer), viewer.received) == ("ab", before)


async def test_who_has_more_than_was_kept_is_cut_back(story: Story) -> None:
    run = await saying(story, "kept")
    await story.checkpoint()
    await story.say(" and lost")
    viewer = await story.catch_up()
    taken = await story.do(ledger.take_over, UUID(run), "sweeper", LATER)
    held = Fold(taken.seq, dict(taken.held))
    await story.do(ledger.finish, taken.run, taken.lease, held, Run.State.INTERRUPTED)
    await story.catch_up(viewer)
    assert said(viewer) == "kept"


async def test_nobody_takes_one_attempts_text_for_anothers(story: Story) -> None:
    run = await saying(story)
    viewer = await story.catch_up()
    taken = await story.do(ledger.take_over, UUID(run), "sweeper", LATER)
    await story.do(ledger.requeue, UUID(run), taken.lease)
    await story.take(UUID(run))
    await story.begin()
    await story.say("second attempt")
    await story.catch_up(viewer)
    assert said(viewer) == "second attempt"
    await story.finish()
    stale = await story.catch_up()
    assert said(stale) == "second attempt"


@pytest.mark.parametrize("ended", [False, True])
async def test_a_seq_of_another_lease_says_nothing_about_the_text(story: Story, ended: bool) -> None:
    await saying(story, "a" * 100)
    viewer = await story.catch_up()
    if ended:
        await story.finish()
    await story.do(story.chat.do, "update", title="new")
    for message in viewer.messages.values():
        message["text"] = "of another attempt"
    viewer.cursor = viewer.cursor._replace(seq=viewer.cursor.seq + LEASE_SPAN)
    viewer.seqs = {}
    await story.catch_up(viewer)
    assert said(viewer) == "a" * 100


async def test_who_followed_is_sent_no_text_again_though_the_end_comes_on_a_later_page(story: Story) -> None:
    await saying(story, "a" * 10_000)
    viewer = await story.catch_up()
    for _ in range(4):
        await story.do(story.chat.send, "x" * 20_000)
    await story.finish()
    before = viewer.received
    await story.catch_up(viewer)
    assert kinds(viewer).count("change") > 2
    assert viewer.received - before == 4 * 20_000
    assert said(viewer) == "a" * 10_000


async def test_a_cursor_in_a_run_that_has_ended_since_loses_that_half(story: Story) -> None:
    await saying(story, "a")
    viewer = await story.catch_up()
    assert viewer.cursor.run is not None
    await story.finish()
    await story.catch_up(viewer)
    assert viewer.cursor.run is None


@pytest.mark.parametrize("seq", [0, 1, 10**17])
async def test_a_cursor_in_a_run_of_another_thread_counts_for_nothing(story: Story, seq: int) -> None:
    await saying(story, "a")
    other = Story(await in_database(Chat))
    theirs = await saying(other, "x")
    viewer = await story.catch_up()
    viewer.cursor = Cursor(viewer.cursor.version, theirs, seq)
    await story.catch_up(viewer)
    assert said(viewer) == "a"
    assert viewer.cursor.run != theirs


async def test_a_cursor_ahead_of_the_server_is_noticed(story: Story) -> None:
    version = (await in_database(lambda: story.chat.thread)).version
    with pytest.raises(Ahead):
        await catchup.catch_up(in_database, story.log, story.chat.owner.pk, story.chat.id, Cursor(version + 1), None)
