"""The panel: several models answer at once, each in a message of its own."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.errors import Internal, ProviderRateLimited, ProviderRefused, ProviderTimeout
from chat.protocol import Part
from chat.providers.base import Provider, Turn
from chat.providers.panel import ROOM, PanelProvider
from tests.providers.conftest import ask, conversation
from tests.providers.several import Member, introduced


def panel(**members: Member) -> Provider:
    return introduced(PanelProvider(members={name: f"{name}/model of {name}" for name in members}), **members)


def of(parts: list[Part], message: str) -> list[Part]:
    return [part for part in parts if part[1] == message]


def texts(parts: list[Part]) -> list[str]:
    """The text of each message, in the order in which they began."""
    begun = [part[1] for part in parts if part[0] == "start"]
    return ["".join(part[2] for part in of(parts, message) if part[0] == "text") for message in begun]


def errors(parts: list[Part]) -> list[str | None]:
    """The error of each message, in the order in which they ended."""
    return [part[2]["error"]["code"] if len(part) > 2 else None for part in parts if part[0] == "end"]


async def parts_and_error(provider: Provider, **fields: Any) -> tuple[list[Part], BaseException]:
    parts: list[Part] = []
    try:
        async for part in provider.stream(conversation("why?", **fields)):
            parts.append(part)
    except Exception as error:
        return parts, error
    raise AssertionError("It did not fail.")


# ---------------------------------------------------------------------------------------------------------- all answer


async def test_each_member_answers_in_a_message_of_its_own_under_its_name() -> None:
    ada, bob = Member("A", "da"), Member("Bob")
    parts = await ask(panel(ada=ada, bob=bob), "why?")
    begun = [(part[2]["author"], part[2]["parent"]) for part in parts if part[0] == "start"]
    assert begun == [("ada", None), ("bob", None)]
    assert texts(parts) == ["Ada", "Bob"]
    assert len({part[1] for part in parts}) == 2
    assert [conversation.model for conversation in ada.asked + bob.asked] == ["model of ada", "model of bob"]


async def test_all_messages_have_begun_before_the_slowest_says_a_word() -> None:
    slow, quick = Member("late", stays=True), Member("at once")
    slow.words = ()
    stream = panel(slow=slow, quick=quick).stream(conversation("why?"))
    parts = [await anext(stream) for _ in range(5)]
    assert [part[0] for part in parts if part[1] == parts[0][1]] == ["start"]
    assert texts(parts) == ["", "at once"]
    await stream.aclose()


async def test_all_are_asked_the_same_and_to_say_something_different() -> None:
    ada, bob = Member("A"), Member("B")
    turns = ("one", "two", "three")
    await ask(panel(ada=ada, bob=bob), *turns, system_prompt="Be kind.", others=1, parameters={"rate": 1})
    for member in (ada, bob):
        [asked] = member.asked
        assert [turn.text for turn in asked.turns] == list(turns)
        assert (asked.system_prompt, asked.parameters) == ("Be kind.", {"rate": 1})
    assert [member.asked[0].others for member in (ada, bob)] == [1, 2]
    assert [member.asked[0].author for member in (ada, bob)] == ["ada", "bob"]


@given(
    st.lists(
        st.tuples(st.lists(st.text(max_size=3), max_size=8), st.lists(st.integers(0, 5), max_size=4)),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(0, 3), max_size=6),
)
async def test_whatever_the_order_in_which_they_speak_each_message_is_whole(
    members: list[tuple[list[str], list[int]]], reading: list[int]
) -> None:
    voices = {f"m{n}": Member(*words, pauses=pauses) for n, (words, pauses) in enumerate(members)}
    parts: list[Part] = []
    async for part in panel(**voices).stream(conversation("why?")):
        parts.append(part)
        for _ in range(reading[len(parts) % len(reading)] if reading else 0):  # whoever reads has a pace of his own
            await asyncio.sleep(0)
    begun = [part[1] for part in parts if part[0] == "start"]
    assert len(set(begun)) == len(members)
    for message, (words, _) in zip(begun, members, strict=True):
        kinds = [part[0] for part in of(parts, message)]
        assert kinds == ["start", *["text"] * len(words), "usage", "end"]
        assert [part[2] for part in of(parts, message) if part[0] == "text"] == words


async def test_nobody_is_read_far_ahead_of_the_reader() -> None:
    talker = Member(*["x"] * 10 * ROOM)
    given = 0

    async def counting(conversation: Any) -> Any:
        nonlocal given
        async for part in Member.stream(talker, conversation):
            given += 1
            yield part

    talker.stream = counting  # type: ignore[method-assign]
    stream = panel(talker=talker, other=Member("y")).stream(conversation("why?"))
    await anext(stream)
    for _ in range(3 * ROOM):
        await asyncio.sleep(0)
    assert given <= ROOM + 2
    await stream.aclose()


async def test_a_run_that_is_started_again_writes_the_same_messages() -> None:
    one = panel(ada=Member("A"), bob=Member("B"))
    asked = conversation("why?")
    ids = [{part[1] async for part in one.stream(asked)} for _ in range(2)]
    assert ids[0] == ids[1]
    assert {part[1] async for part in one.stream(conversation("why?"))}.isdisjoint(ids[0])


async def test_a_member_that_forgets_to_begin_or_end_its_message_has_one_all_the_same() -> None:
    parts = await ask(panel(ada=Member(quiet=True), bob=Member("B", quiet=True)), "why?")
    assert texts(parts) == ["", "B"]
    assert errors(parts) == [None, None]


async def test_a_panel_may_sit_on_a_panel() -> None:
    inner = panel(ada=Member("A"), bob=Member("B"))
    outer = introduced(PanelProvider(members={"they": "inner/all", "cyd": "cyd/"}), inner=inner, cyd=Member("C"))
    parts = await ask(outer, "why?")
    assert sorted(texts(parts)) == ["A", "B", "C"]
    assert sorted(part[2]["author"] for part in parts if part[0] == "start") == ["cyd", "they", "they"]
    assert errors(parts) == [None] * 3


# ------------------------------------------------------------------------------------------------------------- choosing


async def test_a_thread_may_ask_some_of_the_members() -> None:
    members = {name: Member(name) for name in ("ada", "bob", "cyd")}
    one = panel(**members)
    assert await one.models() == ["all"]
    for model, names in {"": 3, "all": 3, "cyd+ada": 2, "bob": 1}.items():
        assert len(texts(await ask(one, "why?", model=model))) == names
    assert texts(await ask(one, "why?", model="cyd+ada")) == ["ada", "cyd"]


@pytest.mark.parametrize("model", ["eve", "ada+eve", "ada+", "+", "ada,bob"])
async def test_a_member_that_there_is_not_is_refused(model: str) -> None:
    with pytest.raises(ProviderRefused):
        await ask(panel(ada=Member("A"), bob=Member("B")), "why?", model=model)


@pytest.mark.parametrize("names", [[], [""], ["all"], ["a+b"]])
def test_a_name_that_can_not_be_chosen_is_a_mistake(names: list[str]) -> None:
    with pytest.raises(ValueError):
        PanelProvider(members=dict.fromkeys(names, "demo"))


# -------------------------------------------------------------------------------------------------------------- failing


@pytest.mark.parametrize("words", [(), ("half ", "of")])
async def test_one_that_fails_ends_its_own_message_and_no_other(words: tuple[str, ...]) -> None:
    failing, well = Member(*words, fails=ProviderTimeout()), Member("well", pauses=[20])
    parts = await ask(panel(failing=failing, well=well), "why?")
    assert texts(parts) == ["".join(words), "well"]
    assert errors(parts) == ["provider_timeout", None]


async def test_when_all_fail_the_run_fails_with_the_first_ones_error_and_what_they_said_stays() -> None:
    first, second = Member("one", fails=ProviderRateLimited(retry_after=7), pauses=[9]), Member(fails=ProviderTimeout())
    parts, error = await parts_and_error(panel(first=first, second=second))
    assert isinstance(error, ProviderRateLimited)
    assert error.retry_after == 7
    assert texts(parts) == ["one", ""]
    assert errors(parts) == ["provider_timeout", "provider_rate_limited"]


async def test_a_fault_of_one_member_is_logged_and_shown_as_internal(caplog: Any) -> None:
    secret = "sk-secret"
    with caplog.at_level(logging.INFO, logger="chat"):
        parts = await ask(panel(broken=Member(fails=ZeroDivisionError(secret)), well=Member("well")), "why?")
    assert errors(parts) == [None, "internal"] or errors(parts) == ["internal", None]
    assert secret not in str(parts)
    [record] = caplog.records
    assert (record.levelno, record.getMessage().split()[0]) == (logging.ERROR, "action=member_failed")
    _, error = await parts_and_error(panel(broken=Member(fails=ZeroDivisionError(secret))))
    assert isinstance(error, Internal)


# -------------------------------------------------------------------------------------------------------------- closing


EVERYTHING = 3 * 2 + 4
"""Parts of three members that say a word and stay, and of one that ends."""


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_whoever_stops_listening_closes_the_connections_of_all(how: str) -> None:
    members = {f"m{n}": Member("word", stays=n < 3) for n in range(4)}
    stream = panel(**members).stream(conversation("why?"))
    if how == "closed":
        for _ in range(EVERYTHING):
            await anext(stream)
        await stream.aclose()
    else:
        read: list[Part] = []

        async def reading() -> None:
            async for part in stream:
                read.append(part)

        task = asyncio.create_task(reading())
        while len(read) < EVERYTHING:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stream.aclose()
    assert [(member.connected, member.closed) for member in members.values()] == [(1, 1)] * 4


# ------------------------------------------------------------------------------------------------------------- going on


async def test_only_who_wrote_an_answer_goes_on_with_it_with_no_eye_on_the_others() -> None:
    ada, bob = Member("A"), Member(" on")
    turns = [Turn("user", "q"), Turn("assistant", "Ada's", "ada"), Turn("assistant", "Bob goes", "bob")]
    asked = conversation(continues="its-id")
    object.__setattr__(asked, "turns", turns)
    parts = [part async for part in panel(ada=ada, bob=bob).stream(asked)]
    assert parts == [("text", "its-id", " on"), ("usage", "its-id", {"input": 10, "output": 1}), ("end", "its-id")]
    assert ada.asked == []
    assert [turn.text for turn in bob.asked[0].turns] == ["q", "Bob goes"]


async def test_an_answer_of_somebody_who_has_left_is_the_first_ones_to_go_on_with() -> None:
    ada, bob = Member("A"), Member("B")
    await ask(panel(ada=ada, bob=bob), "q", "so far", continues="its-id")
    assert (len(ada.asked), len(bob.asked)) == (1, 0)
    assert [turn.text for turn in ada.asked[0].turns] == ["q", "so far"]


async def test_a_failure_while_going_on_is_the_runs() -> None:
    parts, error = await parts_and_error(panel(ada=Member(fails=ProviderTimeout())), continues="its-id")
    assert isinstance(error, ProviderTimeout)
    assert errors(parts) == ["provider_timeout"]
