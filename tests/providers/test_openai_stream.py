"""The OpenAI provider against the scripted server: what is asked, what comes back, and what is closed."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from chat.errors import ProviderRefused
from chat.protocol import clean
from chat.providers.authors import NOTE
from chat.providers.base import Conversation, Turn
from chat.providers.openai import DEFAULT_MODEL, OpenAIProvider
from tests.providers.conftest import KEY, ask, conversation, said
from tests.servers.script import expected_reasoning, expected_text, full_text

MANNERS = {
    "plain": {},
    "carriage returns": {"crlf": True},
    "no space after the colon": {"tight": True},
    "comments": {"comments": True},
    "escapes": {"ascii": True},
    "bytes one by one": {"pieces": 1},
    "three bytes at once, with comments": {"pieces": 3, "crlf": True, "comments": True},
    "reasoning": {"reasoning": 7},
    "reasoning under its other name": {"reasoning": 7, "reasoning_field": "reasoning"},
    "pieces of three characters": {"size": 3},
    "a huge chunk": {"huge": 1_000_000},
    "NUL": {"nul": True},
    "other choices and tool calls": {"extras": True},
    "no [DONE]": {"done": False},
    "no reason for the end": {"finish": None},
    "cut by its own limit": {"finish": "length"},
}


@pytest.mark.parametrize("manner", MANNERS)
async def test_the_text_is_what_the_model_said_whatever_the_manner(openai_provider, manner):
    script = {"chunks": 40, "seed": manner} | MANNERS[manner]
    parts = await ask(openai_provider(), script)
    assert said(parts) == expected_text(script)
    assert said(parts, "reasoning") == expected_reasoning(script)
    assert expected_text(script)


async def test_surrogate_pairs_split_over_two_chunks_are_whole_again_when_joined(openai_provider):
    script = {"chunks": 60, "seed": "pairs", "surrogates": True}
    parts = await ask(openai_provider(), script)
    assert any(part[2].endswith("\ud83d") for part in parts if part[0] == "text")
    assert clean(said(parts)) == expected_text(script)


async def test_each_chunk_is_given_out_before_the_next_one_is_there(openai_provider, model_server):
    stream = openai_provider().stream(conversation({"chunks": 4, "after": 1, "gate": "on"}))
    assert (await anext(stream))[0] == "start"
    assert (await anext(stream))[0] == "text"
    await asyncio.to_thread(model_server.open_gate, "on")
    assert [part[0] async for part in stream] == ["text", "text", "text", "usage", "end"]


async def test_of_several_authors_each_answer_is_sent_with_its_authors_name(openai_provider, model_server):
    turns = [
        Turn("user", "one"),
        Turn("assistant", "two", "ada"),
        Turn("assistant", "three", "bob"),
        Turn("user", "four"),
    ]
    asked = Conversation(run=uuid.uuid4(), model="", turns=turns)
    assert said([part async for part in openai_provider().stream(asked)])
    (request,) = model_server.requests()
    assert [(message["role"], message["content"]) for message in request["messages"]] == [
        ("system", NOTE),
        ("user", "one"),
        ("assistant", "[ada]\ntwo\n\n[bob]\nthree"),
        ("user", "four"),
    ]


async def test_the_path_the_system_prompt_the_model_and_the_parameters_are_sent(openai_provider, model_server):
    provider = openai_provider(body={"temperature": 0.5, "seed": 3})
    await ask(
        provider, "one", "two", "", "four", "five", model="special", system_prompt="Be brief.", parameters={"seed": 4}
    )
    (request,) = model_server.requests()
    assert request["model"] == "special"
    assert request["authorization"] == f"Bearer {KEY}"
    assert [(message["role"], message["content"]) for message in request["messages"]] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "two\n\nfour"),
        ("user", "five"),
    ]
    assert request["body"] == {
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "seed": 4,
    }


async def test_parameters_do_not_replace_what_a_request_is(openai_provider, model_server):
    script = {"chunks": 3}
    parts = await ask(openai_provider(), script, parameters={"stream": False, "model": "dear", "messages": []})
    assert said(parts) == expected_text(script)
    assert model_server.requests()[0]["model"] == "scripted"


async def test_a_base_url_needs_no_key_and_sends_none(openai_provider, model_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "of another server")
    parts = await ask(openai_provider(api_key=""), {"chunks": 3})
    assert said(parts) == expected_text({"chunks": 3})
    assert model_server.requests()[0]["authorization"] is None


async def test_address_key_and_model_come_from_the_environment(openai_provider, model_server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "from outside")
    monkeypatch.setenv("OPENAI_MODEL", "llama")
    await ask(openai_provider(base_url="", api_key="", model=""), {"chunks": 3})
    request = model_server.requests()[0]
    assert request["authorization"] == "Bearer from outside"
    assert request["model"] == "llama"


async def test_the_key_of_a_named_variable_is_sent(openai_provider, model_server, monkeypatch):
    monkeypatch.setenv("ITS_KEY", "its own")
    await ask(openai_provider(api_key="", api_key_env="ITS_KEY"), {"chunks": 3})
    assert model_server.requests()[0]["authorization"] == "Bearer its own"


@pytest.mark.parametrize("usage", ["asked", "always"])
async def test_tokens_are_counted_by_the_server(openai_provider, usage):
    parts = await ask(openai_provider(), {"chunks": 5, "usage": usage})
    assert [part[2] for part in parts if part[0] == "usage"] == [{"input": 7, "output": 5}]


async def test_a_count_that_comes_well_after_the_last_word_is_waited_for(openai_provider):
    parts = await ask(openai_provider(), {"chunks": 2, "pause": 0.2})
    assert [part[0] for part in parts] == ["start", "text", "text", "usage", "end"]


async def test_a_server_that_counts_no_tokens_is_none_the_worse(openai_provider):
    parts = await ask(openai_provider(), {"chunks": 5, "usage": "never"})
    assert [part[0] for part in parts] == ["start", *["text"] * 5, "end"]


async def test_a_server_that_knows_no_stream_options_is_asked_again_without_and_then_left_alone(
    openai_provider, model_server
):
    provider, script = openai_provider(), {"chunks": 5, "usage": "rejected"}
    assert said(await ask(provider, script)) == expected_text(script)
    assert said(await ask(provider, script)) == expected_text(script)
    assert ["stream_options" in request["body"] for request in model_server.requests()] == [True, False, False]


async def test_usage_can_be_switched_off(openai_provider, model_server):
    await ask(openai_provider(usage=False), {"chunks": 5})
    assert "stream_options" not in model_server.requests()[0]["body"]


async def test_an_answer_that_goes_on_is_a_prefix_the_server_continues(openai_provider, model_server):
    script = {"chunks": 9, "seed": "continued"}
    text = full_text(script)
    provider = openai_provider(continue_body={"continue_final_message": True}, continue_turn={"prefix": True})
    parts = await ask(provider, script, text[:20], continues="an-old-message")
    assert text[:20] + said(parts) == text
    assert [part[0] for part in parts if part[0] != "text"] == ["usage", "end"]
    assert {part[1] for part in parts} == {"an-old-message"}
    (request,) = model_server.requests()
    assert request["messages"][-1] == {"role": "assistant", "content": text[:20], "prefix": True}
    assert request["body"]["continue_final_message"] is True


async def test_a_new_answer_carries_nothing_that_is_for_continuing(openai_provider, model_server):
    await ask(openai_provider(continue_body={"add_generation_prompt": False}), {"chunks": 3})
    assert "add_generation_prompt" not in model_server.requests()[0]["body"]


async def test_a_whole_answer_in_one_piece_serves_too(openai_provider):
    body = {"choices": [{"index": 0, "message": {"content": "All at once."}, "finish_reason": "stop"}]}
    parts = await ask(openai_provider(), {"body": body})
    assert [part[0] for part in parts] == ["start", "text", "end"]
    assert said(parts) == "All at once."


async def test_cancelling_closes_the_connection_to_the_model(openai_provider, model_server):
    stream = openai_provider().stream(conversation({"chunks": 5, "after": 2, "gate": "never"}))
    reading = asyncio.create_task(_drain(stream))
    await asyncio.to_thread(model_server.await_event, 0, "waiting")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.to_thread(model_server.await_event, 0, "closed")


async def test_cancelling_before_the_first_byte_closes_the_connection_too(openai_provider, model_server):
    reading = asyncio.create_task(ask(openai_provider(), {"delay": 3600}))
    await asyncio.to_thread(model_server.await_event, 0, "open")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.to_thread(model_server.await_event, 0, "closed")


async def test_closing_the_stream_closes_the_connection_to_the_model(openai_provider, model_server):
    stream = openai_provider().stream(conversation({"chunks": 5, "after": 2, "gate": "never"}))
    await anext(stream)
    await stream.aclose()
    await asyncio.to_thread(model_server.await_event, 0, "closed")


async def test_a_reader_that_pauses_is_not_taken_for_a_silent_model(openai_provider, clock):
    script = {"chunks": 50, "pause": 0.001}
    stream = openai_provider(total_timeout=1e9).stream(conversation(script))
    parts = [await anext(stream), await anext(stream)]
    clock.advance(3600)
    await asyncio.sleep(0)
    parts += [part async for part in stream]
    assert said(parts) == expected_text(script)


async def test_a_connection_is_used_again(openai_provider, model_server):
    provider = openai_provider()
    for _ in range(3):
        await ask(provider, {"chunks": 3})
    assert model_server.control("requests")["connections"] == 1


async def test_two_runs_at_once_do_not_mix(openai_provider):
    provider = openai_provider()
    scripts = [{"chunks": 30, "seed": str(number), "pause": 0.001} for number in range(8)]
    for script, parts in zip(
        scripts, await asyncio.gather(*(ask(provider, script) for script in scripts)), strict=True
    ):
        assert said(parts) == expected_text(script)


async def test_the_models_are_asked_from_the_server_the_default_first_and_what_cannot_chat_left_out(
    openai_provider, model_server
):
    model_server.control("models", {"models": ["a", "text-embedding-3", "whisper-1", "b"]})
    assert await openai_provider(model="b").models() == ["b", "a"]


async def test_a_model_that_is_not_among_those_that_are_named_is_refused_before_anybody_is_asked(
    openai_provider, model_server
):
    provider = openai_provider(models=["x", "y"], model="z")
    with pytest.raises(ProviderRefused):
        await ask(provider, "Hi", model="dear")
    assert model_server.requests() == []
    for model in ("", "y", "z"):
        assert await ask(provider, "Hi", model=model)
    assert await ask(openai_provider(), "Hi", model="any")


async def test_the_first_of_the_models_that_are_named_is_asked_for_when_nobody_chose(monkeypatch):
    for variable in ("OPENAI_MODEL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    provider = OpenAIProvider(models=["x", "y"])
    assert (provider._model or await provider._first_model()) == "x"
    assert OpenAIProvider()._model == DEFAULT_MODEL


async def test_the_models_of_the_setting_are_not_asked_for(openai_provider, model_server):
    model_server.control("models", {"status": 500})
    assert await openai_provider(models=["x", "y"]).models() == ["x", "y"]


async def test_without_a_model_the_first_of_the_server_answers(openai_provider, model_server):
    model_server.control("models", {"models": ["first", "second"]})
    parts = await ask(openai_provider(model=""), {"chunks": 2})
    assert parts[0][2]["author"] == "first"
    assert model_server.requests()[0]["model"] == "first"


def test_one_provider_serves_several_event_loops(model_server):
    provider = OpenAIProvider(base_url=model_server.url, model="scripted")
    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one, other):
            assert said(runner.run(ask(provider, {"chunks": 3}))) == expected_text({"chunks": 3})
        for runner in (one, other):
            runner.run(provider.close())


async def _drain(stream):
    async for _ in stream:
        pass
