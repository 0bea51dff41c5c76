"""Asking in a chat of its own, and holding the answer to what the model said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from chat.protocol import clean
from tests.client import Client
from tests.servers.process import await_true
from tests.servers.script import expected_reasoning, expected_text, full_text
from tests.servers.stack import Stack, Worker

VARIANTS = ("postgres+redis+uvicorn", "sqlite+redis+daphne", "sqlite+embedded+daphne")


@dataclass(frozen=True)
class Question:
    """What was asked. ``text`` is the whole of what the model says to it, ``said`` only up to where the script breaks
    or waits for ever."""

    thread: str
    message: str
    run: str
    script: dict[str, Any]

    @property
    def text(self) -> str:
        return clean(full_text(self.script))

    @property
    def said(self) -> str:
        return clean(expected_text(self.script))

    @property
    def reasoning(self) -> str:
        return clean(expected_reasoning(self.script))

    def held_by(self, client: Client) -> str:
        """What a client holds of the answer. It is what the model said, as far as it goes."""
        text = client.thread(self.thread).text(self.run)
        assert self.text.startswith(text), f"not what the model said: {text[-200:]!r}"
        return text


async def ask(client: Client, thread: str = "", **script: Any) -> Question:
    """Ask the scripted model, in a new chat that the client follows unless a thread is named."""
    if not thread:
        thread = await client.create()
        await client.follow(thread)
    message, run = await client.send(thread, json.dumps(script))
    return Question(thread, message, run, script)


async def check_answer(
    client: Client, question: Question, state: str = "completed", *, text: str | None = None
) -> None:
    """Wait for the answer's end: the client holds it to the byte."""
    await client.ended(question.thread, question.run)
    # A stop that came late makes something else of a run that had ended.
    await client.wait_until(
        lambda: client.thread(question.thread).runs.get(question.run, {}).get("state") == state, f"it to be {state}"
    )
    [answer] = client.thread(question.thread).answers(question.run)
    assert answer.text == (question.text if text is None else text)
    assert answer.reasoning == question.reasoning
    assert client.counts.duplicates == 0


async def check_fresh(client: Client, thread: str) -> None:
    """Nothing runs any more in the chat: the client holds what one does that has just opened it."""
    async with Client(client.url, client.session) as other:
        await other.follow(thread, all=True)
        await client.wait_until(
            lambda: client.thread(thread).version >= other.thread(thread).version, "the last change"
        )
        assert held(client, thread) == held(other, thread)


def held(client: Client, thread: str) -> dict[str, Any]:
    """All that a client holds, but for the time of the chat's own row: that row comes only when it has changed, the
    time moves with every change in the chat."""
    state = client.thread(thread).state()
    return {**state, "row": {**state["row"], "updated_at": None}}


def who_runs(stack: Stack, run: str) -> Worker:
    """The worker that has claimed the run last."""
    return find(stack, f"action=run_claimed run={run}")


def find(stack: Stack, words: str) -> Worker:
    """The worker that says this."""
    await_true(lambda: any(worker.has_said(words) for worker in stack.workers), words, 30)
    return next(worker for worker in stack.workers if worker.has_said(words))


def prompt_of(stack: Stack, question: Question) -> list[str]:
    """The texts of the prompt that the model was given with this question, the question last."""
    asked = json.dumps(question.script)
    prompts = [[turn["content"] for turn in request["messages"]] for request in stack.model.requests()]
    [prompt] = [prompt for prompt in prompts if prompt[-1] == asked]
    return prompt
