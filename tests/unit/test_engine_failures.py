"""The engine with providers that fail, break their contract, or do not end: their run fails, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from chat.errors import ContentFiltered, ProviderRateLimited, ProviderUnavailable
from chat.models import Run
from chat.protocol import LEASE_SPAN, Part, start, text
from chat.providers.base import Conversation
from tests.unit.chats import Chat, answers, in_database
from tests.unit.rig import Rig, Scripted, endless, saying, silent

Script = Callable[[Conversation], AsyncIterator[Part]]


@pytest.fixture
async def chat(rig: Rig) -> Chat:
    return await in_database(Chat)


async def ended(rig: Rig, chat: Chat, script: Script) -> tuple[Run, list[Any]]:
    """The run of a provider that does this, and its messages, both as they ended."""
    run = await rig.generate(chat, Scripted(script))
    return run, list(await in_database(answers, run))


# ------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("error", "code", "retry_after"),
    [
        (ProviderUnavailable(), "provider_unavailable", None),
        (ProviderRateLimited(retry_after=7.0), "provider_rate_limited", 7.0),
        (ContentFiltered(), "content_filtered", None),
        (RuntimeError("a secret"), "internal", None),
        (TimeoutError(), "internal", None),
        (ValueError("a secret"), "internal", None),
    ],
)
@pytest.mark.parametrize("said", ["", "half of it"])
async def test_an_error_ends_the_run_with_its_code_and_what_was_said_stays(
    rig: Rig, chat: Chat, error: Exception, code: str, retry_after: float | None, said: str
) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        if said:
            yield start(conversation.answer_id(0))
            yield text(conversation.answer_id(0), said)
        raise error

    run, messages = await ended(rig, chat, script)
    assert (run.state, run.error_code, run.retry_after) == ("failed", code, retry_after)
    assert [(message.text, message.status) for message in messages] == ([(said, "failed")] if said else [])
    assert run.error is not None
    assert "secret" not in str(run.error)


SOME, OTHER = "7ebe2f32-75e5-482a-adbf-f03ee6bd36c1", "0f6c8d0b-3c0e-4a0e-9a3b-55a1f4b9f3d2"
"""Ids of messages: always the same, as the names of tests are."""


def broken(*parts: Any) -> Script:
    """A provider that answers, and in the middle yields what the contract does not allow."""

    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer)
        yield text(answer, "said before")
        for part in parts:
            yield tuple(answer if value == "ANSWER" else value for value in part)  # type: ignore[misc]
        yield text(answer, ", and after")

    return script


@pytest.mark.parametrize(
    "part",
    [
        ("text", SOME, "of a message that never began"),
        ("text", "ANSWER", 5),
        ("text", "ANSWER", None),
        ("text", "ANSWER"),
        ("text", 5, "x"),
        (),
        ("start", "not a uuid", {"parent": None, "author": "", "role": "assistant"}),
        ("start", SOME.upper(), {"parent": None, "author": "", "role": "assistant"}),
        ("start", SOME, {"parent": None, "author": "", "role": "tool"}),
        ("start", SOME, {"parent": "not a uuid", "author": "", "role": "assistant"}),
        ("start", SOME, {"parent": OTHER, "author": "", "role": "assistant"}),
        ("start", SOME, {}),
        ("start", SOME),
        ("usage", "ANSWER", {"input": "many"}),
        ("usage", "ANSWER"),
        ("image", "ANSWER", object()),
        ("image", "ANSWER", "\ud83d"),
        ("image", "ANSWER", "x" * 20_000),
        ("end", SOME),
        ("start", "ANSWER", {"parent": None, "author": "", "role": "assistant"}),
        ("start", SOME, {"parent": None, "author": "", "role": "user"}),
        ("done", ""),
    ],
    ids=lambda part: repr(part)[:40],
)
async def test_a_provider_that_breaks_its_contract_fails_its_own_run_and_nothing_else(
    rig: Rig, chat: Chat, part: Any
) -> None:
    run, messages = await ended(rig, chat, broken(part))
    assert (run.state, run.error_code) == ("failed", "internal")
    assert [message.text for message in messages if message.text] == ["said before"]
    assert rig._writing is not None
    assert not rig._writing.done()
    other = await rig.generate(await in_database(Chat), saying("fine"))
    assert other.state == "completed"


async def test_a_message_id_that_is_taken_fails_the_run(rig: Rig, chat: Chat) -> None:
    taken = str((await in_database(lambda: Chat().turn())).answer)
    run, _ = await ended(rig, chat, broken(start(taken)))
    assert (run.state, run.error_code) == ("failed", "internal")


async def test_a_parent_in_another_thread_fails_the_run(rig: Rig, chat: Chat) -> None:
    other = str((await in_database(lambda: Chat().turn())).answer)
    run, _ = await ended(rig, chat, broken(start(str(uuid4()), parent=other)))
    assert (run.state, run.error_code) == ("failed", "internal")


async def test_text_after_the_end_of_its_message_fails_the_run(rig: Rig, chat: Chat) -> None:
    run, [answer] = await ended(rig, chat, broken(("end", "ANSWER"), ("text", "ANSWER", "too late")))
    assert (run.state, run.error_code) == ("failed", "internal")
    assert (answer.text, answer.status) == ("said before", "complete")


@pytest.mark.parametrize("author", ["x" * 1000, "a\0b", "\ud83d"])
async def test_an_author_that_can_not_be_stored_is_made_fit(rig: Rig, chat: Chat, author: str) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        yield start(conversation.answer_id(0), author=author)
        yield text(conversation.answer_id(0), "said")

    run, [answer] = await ended(rig, chat, script)
    assert (run.state, answer.text) == ("completed", "said")
    assert 0 < len(answer.author) <= 200
    assert "\0" not in answer.author


# --------------------------------------------------------------------------------------------------------------- limits


async def test_an_endless_answer_ends_at_the_limit(rig: Rig, chat: Chat, settings: Any) -> None:
    settings.REJOIN_MAX_ANSWER = 5_000
    run, [answer] = await ended(rig, chat, endless)
    assert (run.state, run.error_code) == ("failed", "too_large")
    assert len(answer.text) == 5_000


async def test_a_run_that_says_nothing_more_ends_at_its_time(rig: Rig, chat: Chat, settings: Any) -> None:
    settings.REJOIN_RUN_TIMEOUT = 0.2
    run, [answer] = await ended(rig, chat, silent)
    assert (run.state, run.error_code, answer.text) == ("failed", "provider_timeout", "a word, and then ")


async def test_no_run_has_more_parts_than_its_lease_has_seqs(rig: Rig, chat: Chat) -> None:
    async def script(conversation: Conversation) -> AsyncIterator[Part]:
        answer = conversation.answer_id(0)
        yield start(answer)
        while True:
            yield ("ping", answer)

    rig.write()
    asked = await in_database(chat.send)
    claim = await in_database(chat.claim, asked.run)
    engine = rig.engine(claim, Scripted(script))
    engine.stream.seq = engine.stream.fold.seq = engine.stream.sent = 2 * LEASE_SPAN - 1100
    await rig.log.seed(str(asked.run), claim.lease, engine.stream.seq, [])
    assert await engine.run()
    run = await in_database(chat.run, asked.run)
    assert (run.state, run.error_code) == ("failed", "too_large")
    assert run.seq < 2 * LEASE_SPAN
