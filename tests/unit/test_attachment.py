"""An attachment: one viewer at one thread or inbox, from start to close, with a real hub, database and run log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import pytest

from chat.database import in_database
from chat.models import Inbox
from chat.protocol import WINDOW, Cursor, Part, end, start, text
from chat.providers.base import Conversation
from chat.replication.attachment import InboxAttachment, Sources
from tests.unit.chats import Chat, make_user, until
from tests.unit.rig import Rig, Scripted, saying
from tests.unit.viewer import Viewer, do, told

# ------------------------------------------------------------------------------------------------------------ following


async def test_a_viewer_is_told_once_that_he_has_everything_that_existed(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    await in_database(chat.turn)
    viewer = await Viewer(rig.sources(), chat).attach()
    assert viewer.kinds == ["change", "caught_up"]
    await do(rig, chat.do, "update", title="later")
    await until(lambda: viewer.row["title"] == "later")
    assert viewer.kinds == ["change", "caught_up", "change"]


async def test_a_viewer_who_is_level_is_told_only_that(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    viewer = await Viewer(rig.sources(), chat, Cursor(1)).attach()
    assert viewer.kinds == ["caught_up"]


async def test_a_viewer_sees_every_token_of_an_answer_as_it_was_said(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    viewer = await Viewer(rig.sources(), chat).attach()
    rig.announce = lambda announcement: told(rig, announcement)  # type: ignore[method-assign]
    await rig.generate(chat, saying(*(f"word {n} " for n in range(200))))
    await until(lambda: all(run["state"] == "completed" for run in viewer.runs.values()) and viewer.runs)
    assert viewer.text() == "".join(f"word {n} " for n in range(200))
    assert viewer.received == len("hello" + viewer.text())


async def test_two_devices_see_the_same(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    rig.announce = lambda announcement: told(rig, announcement)  # type: ignore[method-assign]
    viewers = [await Viewer(rig.sources(), chat).attach() for _ in range(2)]
    await rig.generate(chat, saying("a", "b"))
    for viewer in viewers:
        await until(lambda viewer=viewer: viewer.runs and all(r["state"] == "completed" for r in viewer.runs.values()))
    assert viewers[0].view() == viewers[1].view()


async def test_viewers_at_the_same_place_share_one_reading(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    sources, reads = rig.sources(), 0

    async def counting(function: Callable[..., Any], /, *args: object) -> Any:
        nonlocal reads
        reads += 1
        return await in_database(function, *args)

    counted = Sources(counting, sources.log, sources.hub, sources.rng)
    viewers = [await Viewer(counted, chat).attach() for _ in range(20)]
    reads = 0
    await do(rig, chat.do, "update", title="for all")
    for viewer in viewers:
        await until(lambda viewer=viewer: viewer.row["title"] == "for all")
    assert reads == 1


async def test_all_who_come_back_at_once_and_have_missed_nothing_share_a_few_looks(scene: tuple[Rig, Chat]) -> None:
    """As after a restart of the server."""
    rig, chat = scene
    chats = [chat, *[await in_database(Chat) for _ in range(30)]]
    sources, looks, gate = rig.sources(), [], asyncio.Event()

    async def slow(function: Callable[..., Any], /, *args: object) -> Any:
        looks.append(function.__name__)
        await gate.wait()
        return await in_database(function, *args)

    shared = Sources(slow, sources.log, sources.hub, sources.rng)
    viewers = [Viewer(shared, one, Cursor(1)) for one in chats]
    for viewer in viewers:
        viewer.attachment.start()
    for _ in range(100):  # time for all to ask
        await asyncio.sleep(0)
    gate.set()
    for viewer in viewers:
        await until(lambda viewer=viewer: viewer.caught_up)
        assert viewer.kinds == ["caught_up"]
    assert looks in (["_versions"], ["_versions"] * 2)


async def test_who_comes_back_while_an_answer_goes_on_and_has_all_of_it_reads_nothing(
    scene: tuple[Rig, Chat],
) -> None:
    rig, chat = scene
    go_on = asyncio.Event()

    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer, author="model")
        yield text(answer, "before")
        await go_on.wait()
        yield text(answer, " and after")
        yield end(answer)

    rig.announce = lambda announcement: told(rig, announcement)  # type: ignore[method-assign]
    watching = await Viewer(rig.sources(), chat).attach()
    generating = asyncio.create_task(rig.generate(chat, Scripted(script)))
    await until(lambda: watching.text() == "before")
    sources, looks = rig.sources(), []

    async def counting(function: Callable[..., Any], /, *args: object) -> Any:
        looks.append(function.__name__)
        return await in_database(function, *args)

    counted = Sources(counting, sources.log, sources.hub, sources.rng)
    viewer = await Viewer(counted, chat, watching.attachment.subscription.cursor).attach()
    assert (viewer.kinds, looks) == (["caught_up"], ["_versions"])
    go_on.set()
    await generating
    await until(lambda: viewer.kinds.count("delta") == 1)


# ---------------------------------------------------------------------------------------------------------------- pause


async def test_nothing_is_sent_while_paused_and_nothing_is_held_and_then_all_comes(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    viewer = await Viewer(rig.sources(0.02), chat).attach()
    viewer.attachment.pause()
    count = len(viewer.frames)
    rig.announce = lambda announcement: told(rig, announcement)  # type: ignore[method-assign]
    await rig.generate(chat, saying(*["word "] * 300))
    await asyncio.sleep(0.1)
    assert len(viewer.frames) == count
    assert not viewer.attachment.subscription._held
    viewer.attachment.resume()
    await until(lambda: viewer.text() == "word " * 300)


async def test_who_begins_anew_after_a_long_pause_is_told_when_everything_is_there(scene: tuple[Rig, Chat]) -> None:
    """More has happened than the window shows: what the viewer had is dropped for it."""
    rig, chat = scene
    viewer = await Viewer(rig.sources(), chat, everything=False).attach()
    viewer.attachment.pause()
    before = len(viewer.frames)

    def turns() -> None:
        for _ in range(WINDOW // 2 + 25):
            chat.turn()

    await in_database(turns)
    viewer.attachment.missed()
    viewer.attachment.resume()
    await until(lambda: len(viewer.messages) == WINDOW)
    await until(lambda: viewer.attachment._catching is None)
    assert viewer.kinds[before:] == ["change", "caught_up"]
    assert json.loads(viewer.frames[before])["from"] == 0


async def test_a_catch_up_that_was_under_way_when_the_pause_began_sends_nothing(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    sources, reading, go_on = rig.sources(), asyncio.Event(), asyncio.Event()

    async def slow(function: Callable[..., Any], /, *args: object) -> Any:
        reading.set()
        await go_on.wait()
        return await in_database(function, *args)

    viewer = Viewer(Sources(slow, sources.log, sources.hub, sources.rng), chat)
    viewer.attachment.start()
    await reading.wait()
    viewer.attachment.pause()
    go_on.set()
    await until(lambda: viewer.attachment._catching is None)
    assert viewer.frames == []
    viewer.attachment.resume()
    await until(lambda: viewer.caught_up)


async def test_a_viewer_who_is_paused_at_the_start_is_sent_nothing_until_he_goes_on(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    viewer = Viewer(rig.sources(), chat)
    viewer.attachment.pause()
    viewer.attachment.start()
    await asyncio.sleep(0.05)
    assert viewer.frames == []
    viewer.attachment.resume()
    await until(lambda: viewer.caught_up)


# ---------------------------------------------------------------------------------------------------- reaching, closing


async def test_who_waits_for_a_version_goes_on_when_it_was_sent(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    viewer = await Viewer(rig.sources(), chat).attach()
    outcome = await in_database(lambda: chat.do("update", title="mine"))  # and no hint at all
    await viewer.attachment.reached(outcome.result["version"])
    assert viewer.row["title"] == "mine"


async def test_who_waits_for_what_is_there_already_does_not_wait(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    viewer = await Viewer(rig.sources(), chat).attach()
    count = len(viewer.frames)
    await viewer.attachment.reached(1)
    assert len(viewer.frames) == count


@pytest.mark.parametrize("how", ["close", "delete"])
async def test_who_waits_is_let_go_when_the_attachment_ends(scene: tuple[Rig, Chat], how: str) -> None:
    rig, chat = scene
    viewer = await Viewer(rig.sources(), chat).attach()
    waiting = asyncio.ensure_future(viewer.attachment.reached(10**6))
    await asyncio.sleep(0)
    if how == "close":
        await viewer.attachment.close()
    else:
        await do(rig, chat.do, "delete")
    await waiting


async def test_after_closing_nothing_comes_and_closing_again_is_fine(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    sources = rig.sources()
    viewer = await Viewer(sources, chat).attach()
    await viewer.attachment.close()
    count = len(viewer.frames)
    await do(rig, chat.do, "update", title="unseen")
    viewer.attachment.hint({"type": "changed", "topic": viewer.attachment.topic, "version": 99})
    viewer.attachment.resume()
    await asyncio.sleep(0.05)
    assert len(viewer.frames) == count
    await viewer.attachment.close()
    assert not sources.hub._listeners
    assert not sources.hub._joined
    assert not rig.layer.groups


async def test_closing_in_the_middle_of_a_catch_up_leaves_nothing_behind(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    sources = rig.sources()
    for ticks in range(8):
        viewer = Viewer(sources, chat)
        viewer.attachment.start()
        for _ in range(ticks):
            await asyncio.sleep(0)
        await viewer.attachment.close()
        count = len(viewer.frames)
        await asyncio.sleep(0.02)
        assert len(viewer.frames) == count
    assert not sources.hub._listeners
    assert not rig.layer.groups


async def test_the_hub_stays_for_the_other_viewers_when_one_leaves(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    sources = rig.sources()
    leaving, staying = await Viewer(sources, chat).attach(), await Viewer(sources, chat).attach()
    await leaving.attachment.close()
    await do(rig, chat.do, "update", title="still seen")
    await until(lambda: staying.row["title"] == "still seen")


async def test_a_listener_that_fails_does_not_make_the_others_deaf(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    sources = rig.sources()
    viewer = await Viewer(sources, chat).attach()

    class Broken:
        topic = viewer.attachment.topic

        def hint(self, message: dict[str, Any]) -> None:
            raise KeyError("a hint of another version of the program")

        def missed(self) -> None: ...

        def compare(self, truth: Any) -> None: ...

        def overdue(self) -> bool:
            return False

    await sources.hub.join(Broken())
    for n in range(3):
        await do(rig, chat.do, "update", title=f"change {n}")
        await until(lambda n=n: viewer.row["title"] == f"change {n}")


# ---------------------------------------------------------------------------------------------------------------- inbox


async def test_an_inbox_follows_its_users_threads_and_nobody_elses(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    events: list[dict[str, Any]] = []
    attachment = InboxAttachment(
        rig.sources(), chat.owner.pk, Cursor(), lambda frame: events.append(json.loads(frame)), everything=False
    )
    attachment.start()
    await until(lambda: events and events[-1]["type"] == "caught_up")
    assert events[-1] == {"type": "caught_up", "inbox": True, "cursor": "1"}
    other = await in_database(Chat)
    await do(rig, other.do, "update", title="theirs")
    await do(rig, chat.do, "update", title="mine")
    await until(lambda: events[-1]["type"] == "inbox")
    assert [item["title"] for item in events[-1]["items"]] == ["mine"]
    await do(rig, chat.do, "delete")
    await until(lambda: events[-1].get("removed") == [str(chat.id)])


async def test_a_hint_that_an_inbox_missed_is_found_by_comparison(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    titles: list[str] = []

    def take(frame: str) -> None:
        titles.extend(item["title"] for item in json.loads(frame).get("items", ()))

    InboxAttachment(rig.sources(0.02), chat.owner.pk, Cursor(), take).start()
    await until(lambda: titles)
    await in_database(lambda: chat.do("update", title="unannounced"))
    await until(lambda: "unannounced" in titles)


async def test_the_inbox_of_who_never_had_a_thread_is_empty_and_begins_with_the_first(rig: Rig) -> None:
    user = await in_database(make_user)
    events: list[dict[str, Any]] = []
    InboxAttachment(rig.sources(0.02), user.pk, Cursor(), lambda frame: events.append(json.loads(frame))).start()
    await until(lambda: events)
    assert events == [{"type": "caught_up", "inbox": True, "cursor": "0"}]
    assert not await in_database(Inbox.objects.exists)
    chat = await in_database(Chat, user)
    await until(lambda: len(events) > 1)
    assert [UUID(item["id"]) for item in events[1]["items"]] == [chat.id]
