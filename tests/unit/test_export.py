"""A thread to take away: what its reader sees as Markdown, all there is as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from chat import export
from chat.frames import MessageRow, RunRow, ThreadRow
from chat.process import Process
from chat.replication import listing
from tests.unit.caller import Caller
from tests.unit.chats import Chat, in_database
from tests.unit.story import Story, saying


def whole(chat: Chat) -> listing.Listing:
    return listing.everything(chat.owner.pk, chat.id)


def without_moments(markdown: str) -> list[str]:
    """Its paragraphs, but for when things were said."""
    return [part.partition(" · ")[0] for part in markdown.rstrip("\n").split("\n\n")]


def test_markdown_has_the_path_and_nothing_beside_it(chat: Chat) -> None:
    turn = chat.turn("Where do rivers begin?", "In the sea.")
    chat.answered(chat.regenerate(turn.answer), "# Mountains\n\n* and *springs*")
    chat.send("What waits is not on the path.")
    assert without_moments(export.markdown(whole(chat))) == [
        "# Where do rivers begin?",
        "**You**",
        "Where do rivers begin?",
        "**model**",
        "# Mountains",
        "* and *springs*",
    ]


def test_markdown_says_which_answers_are_not_whole(chat: Chat) -> None:
    asked = chat.send()
    answer = chat.answered(asked.run, "In mountains and springs")
    chat.stop(asked.run, seen={answer: 12})
    assert without_moments(export.markdown(whole(chat)))[-2:] == ["**model** (stopped)", "In mountains"]


def test_a_title_is_one_line(chat: Chat) -> None:
    chat.do("update", title="a\n\nb  c")
    assert export.markdown(whole(chat)) == "# a b c\n"
    chat.do("update", title="")
    assert export.markdown(whole(chat)) == "# Untitled\n"


def test_json_has_every_branch_as_the_protocol_shows_it(chat: Chat) -> None:
    turn = chat.turn()
    other = chat.answered(chat.regenerate(turn.answer))
    waiting = chat.send()
    document = export.document(whole(chat))
    assert {row["id"] for row in document["messages"]} == {
        str(pk) for pk in (turn.message, turn.answer, other, waiting.message)
    }
    assert document["thread"]["head"] == str(other)
    for kind, rows in (
        (ThreadRow, [document["thread"]]),
        (MessageRow, document["messages"]),
        (RunRow, document["runs"]),
    ):
        assert all(row.keys() == kind.__annotations__.keys() for row in rows)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Rivers", "Rivers.md"),
        ("", "chat.md"),
        ("../../etc/passwd", "etc passwd.md"),
        ("..", "chat.md"),
        ('a"b;c\r\nSet-Cookie: x', "a b c Set-Cookie x.md"),
        ("Flüsse & 河流 🏔", "Flüsse 河流.md"),
        ("x" * 200, "x" * 80 + ".md"),
    ],
)
def test_a_files_name_is_safe_whatever_the_title(chat: Chat, title: str, name: str) -> None:
    chat.do("update", title=title)
    assert export.file_name(whole(chat), "md") == name


async def test_an_export_is_a_file(process: Process, owned: Chat) -> None:
    caller = await Caller.of(process, owned.owner)
    await in_database(owned.turn, "Where do rivers begin?", "In mountains 🏔")
    await caller.do("update", {"title": "Flüsse"}, thread=owned.id)
    words = await caller("export", thread=owned.id)
    assert caller.response["Content-Type"] == "text/markdown; charset=utf-8"
    assert caller.response["Content-Disposition"] == "attachment; filename*=utf-8''Fl%C3%BCsse.md"
    assert "In mountains 🏔" in words
    rows = await caller("export", thread=owned.id, query={"format": "json"})
    assert caller.response["Content-Disposition"] == "attachment; filename*=utf-8''Fl%C3%BCsse.json"
    assert [row["text"] for row in rows["messages"]] == ["Where do rivers begin?", "In mountains 🏔"]


async def test_an_answer_that_is_being_written_is_exported_to_its_last_word(story: Story) -> None:
    await saying(story, "Rivers begin")
    await story.checkpoint()
    await story.say(" in mountains")
    found: Any = await listing.current(in_database, story.log, listing.everything, story.chat.owner.pk, story.chat.id)
    assert without_moments(export.markdown(found))[-2:] == ["**model** (being written)", "Rivers begin in mountains"]
