"""Attachments whose hints, database or channel layer fail them, and viewers who may not watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from channels.layers import InMemoryChannelLayer
from django.db import OperationalError

from chat.announcement import Announcement
from chat.database import in_database
from chat.live.hub import Hub
from chat.models import Thread
from chat.protocol import Cursor, Part, end, start, text
from chat.providers.base import Conversation
from chat.replication.attachment import Sources, compare
from tests.unit.chats import Chat, make_user, until
from tests.unit.rig import Rig, Scripted, saying
from tests.unit.viewer import Viewer, do, told

# ---------------------------------------------------------------------------------------------------------------- hints


class Lossy(InMemoryChannelLayer):
    """A layer that does to each hint what ``fate`` says: how often it arrives, each time after the hints before."""

    fate: Callable[[dict[str, Any]], int] = staticmethod(lambda message: 1)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        for _ in range(self.fate(message)):
            await super().group_send(group, message)


async def watched(
    scene: tuple[Rig, Chat], fate: Callable[[dict[str, Any]], int], *, compare_every: float
) -> tuple[Viewer, str]:
    """Someone watches an answer through a layer like that, and sees its end."""
    rig, chat = scene
    rig.layer = Lossy(capacity=100_000)
    rig.layer.fate = fate
    rig.writer._layer = rig.layer
    rig.announce = lambda announcement: told(rig, announcement)  # type: ignore[method-assign]
    viewer = await Viewer(rig.sources(compare_every), chat).attach()

    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer)
        for n in range(100):
            yield text(answer, f"{n} ")
            await asyncio.sleep(0.001)
        yield end(answer)

    await rig.generate(chat, Scripted(script))
    await until(lambda: viewer.runs and all(run["state"] == "completed" for run in viewer.runs.values()))
    return viewer, "".join(f"{n} " for n in range(100))


async def test_without_a_single_hint_the_regular_comparison_brings_everything(scene: tuple[Rig, Chat]) -> None:
    viewer, said = await watched(scene, lambda message: 0, compare_every=0.05)
    assert viewer.text() == said


async def test_without_a_hint_of_any_change_the_comparison_brings_the_end(scene: tuple[Rig, Chat]) -> None:
    viewer, said = await watched(scene, lambda message: message["type"] == "delta", compare_every=0.05)
    assert viewer.text() == said


async def test_with_every_other_delta_lost_the_gaps_are_read_without_any_comparison(scene: tuple[Rig, Chat]) -> None:
    count = iter(range(10**6))
    viewer, said = await watched(
        scene, lambda message: message["type"] != "delta" or next(count) % 2, compare_every=3600
    )
    assert viewer.text() == said


async def test_hints_that_come_three_times_change_nothing(scene: tuple[Rig, Chat]) -> None:
    viewer, said = await watched(scene, lambda message: 3, compare_every=3600)
    assert viewer.text() == said
    assert viewer.received == len("hello" + said)


async def test_old_deltas_that_come_after_the_end_are_dropped(scene: tuple[Rig, Chat]) -> None:
    deltas: list[dict[str, Any]] = []
    viewer, said = await watched(
        scene,
        lambda message: deltas.append(message) or 1,
        compare_every=3600,  # type: ignore[func-returns-value]
    )
    count = len(viewer.frames)
    for hint in deltas:
        viewer.attachment.hint(hint)
    await asyncio.sleep(0.05)
    assert (viewer.text(), len(viewer.frames)) == (said, count)


async def test_a_layer_that_says_hints_were_lost_is_believed_at_once(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    missed: asyncio.Queue[list[dict[str, Any]]] = asyncio.Queue()

    class Telling(InMemoryChannelLayer):
        async def receive_many(self, channel: str) -> list[dict[str, Any]]:
            return await missed.get()

    rig.layer = Telling()
    viewer = await Viewer(rig.sources(), chat).attach()
    await in_database(lambda: chat.do("update", title="unheard"))
    missed.put_nowait([])
    await until(lambda: viewer.row["title"] == "unheard")


# ------------------------------------------------------------------------------------------------------------ not yours


@pytest.mark.parametrize("version", [0, 1], ids=["who comes", "who comes back"])
@pytest.mark.parametrize("whose", ["nobody's", "another's", "deleted"])
async def test_what_one_may_not_watch_is_gone_in_the_same_words(
    scene: tuple[Rig, Chat], whose: str, version: int
) -> None:
    rig, chat = scene
    if whose == "another's":
        chat.owner = await in_database(make_user)
    if whose == "nobody's":
        chat.id = uuid4()
    if whose == "deleted":
        await in_database(chat.do, "delete")
    viewer = await Viewer(rig.sources(), chat, Cursor(version)).attach()
    [frame] = viewer.frames
    assert json.loads(frame) == {"type": "gone", "thread": str(chat.id), "code": "not_found"}


async def test_a_deletion_ends_the_attachment(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    viewer = await Viewer(rig.sources(), chat).attach()
    await do(rig, chat.do, "delete")
    await until(lambda: viewer.gone)
    assert viewer.attachment.ended


async def test_the_right_to_watch_is_checked_again_while_watching(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    viewer = await Viewer(rig.sources(0.02), chat).attach()
    other = await in_database(make_user)
    await in_database(lambda: Thread.objects.filter(pk=chat.id).update(owner=other))
    await until(lambda: viewer.gone)


# -------------------------------------------------------------------------------------------------------- what fails it


async def test_a_cursor_ahead_of_the_server_begins_anew(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    turn = await in_database(chat.turn)
    viewer = await Viewer(rig.sources(), chat, Cursor(1000)).attach()
    assert json.loads(viewer.frames[0])["from"] == 0
    assert str(turn.answer) in viewer.messages


async def test_a_backup_that_was_restored_meanwhile_is_noticed(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene
    for _ in range(3):
        await in_database(lambda: chat.do("update", title="lost"))
    viewer = await Viewer(rig.sources(0.02), chat).attach()
    await in_database(lambda: Thread.objects.filter(pk=chat.id).update(version=2, row_version=2, title="of the backup"))
    await until(lambda: viewer.row["title"] == "of the backup")
    assert viewer.cursor.version == 2


async def test_while_the_database_is_away_what_is_live_goes_on_and_then_all_is_made_up_for(
    scene: tuple[Rig, Chat],
) -> None:
    rig, chat = scene
    sources, away = rig.sources(), False

    async def sometimes(function: Callable[..., Any], /, *args: object) -> Any:
        if away:
            raise OperationalError("the server closed the connection")
        return await in_database(function, *args)

    viewer = await Viewer(Sources(sometimes, sources.log, sources.hub, sources.rng), chat).attach()
    asked = await in_database(chat.send)
    claim = await in_database(chat.claim, asked.run)
    engine = rig.engine(claim, saying("never used"))
    await rig.log.open(str(asked.run), claim.lease, claim.first)
    rig.writer.add(engine.stream)
    engine.stream.lost_log = False
    rig.write()
    answer = str(await in_database(chat.begin, claim))
    await told(rig, Announcement(chat.id, 100))
    await until(lambda: answer in viewer.messages)
    away = True
    await told(rig, Announcement(chat.id, 200))
    for n in range(20):
        engine.stream.put(text(answer, f"{n} "), 0.0)
        rig.writer.written(engine.stream)
        await asyncio.sleep(0.002)
    await until(lambda: viewer.text() == "".join(f"{n} " for n in range(20)))
    await do(rig, chat.do, "update", title="meanwhile")
    away = False
    await until(lambda: viewer.row["title"] == "meanwhile")


async def test_a_channel_layer_that_never_answers_keeps_nobody_from_opening_a_thread(
    scene: tuple[Rig, Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, chat = scene
    monkeypatch.setattr("chat.replication.attachment.JOIN_PATIENCE", 0.05)

    class Dead(InMemoryChannelLayer):
        async def group_add(self, group: str, channel: str) -> None:
            await asyncio.sleep(3600)

    rig.layer = Dead()
    viewer = await Viewer(rig.sources(), chat).attach()
    assert viewer.kinds == ["change", "caught_up"]
    assert str(chat.id) == viewer.row["id"]


async def test_a_channel_layer_that_fails_is_joined_when_it_works_again(scene: tuple[Rig, Chat]) -> None:
    rig, chat = scene

    class Sick(InMemoryChannelLayer):
        well = False

        async def group_add(self, group: str, channel: str) -> None:
            if not self.well:
                raise ConnectionError
            await super().group_add(group, channel)

    rig.layer = Sick()
    quiet = rig.sources()
    hub = Hub(rig.layer, lambda topics: compare(in_database, rig.log, topics), 0.05)
    sources = Sources(quiet.database, quiet.log, hub, quiet.rng)
    viewer = await Viewer(sources, chat).attach()
    rig.layer.well = True
    await until(lambda: hub._joined)
    await hub.close()
    assert viewer.kinds[-1] == "caught_up"
