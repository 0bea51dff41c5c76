"""Any server of OpenAI's chat completions: OpenAI, vLLM, Ollama, llama.cpp, LiteLLM and their like.

The SDK keeps the connections, authenticates and classes errors. The stream itself is read here, line by line: the SDK's
typed stream costs two to three times the CPU. Retries are made here too, because the SDK's end with the response's
headers, and a stream may well break between those and its first word.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any
from weakref import WeakKeyDictionary

import openai
import orjson

from chat.errors import ProviderProtocol, ProviderRefused, ProviderTimeout, ProviderUnavailable, RunError
from chat.protocol import Part
from chat.providers.authors import named
from chat.providers.base import Conversation, Provider
from chat.providers.openai.answer import Answer
from chat.providers.openai.failures import refusal, retry_after
from chat.providers.openai.sse import Lines

log = logging.getLogger(__name__)

DEFAULT_MODEL = "gpt-5.4-mini"
"""What api.openai.com is asked for when nobody said which: its list names hundreds, in no order."""
USAGE_GRACE = 10.0
"""Seconds after the model's last word within which usage and the end of the stream are expected."""
CLOSE_GRACE = 0.25
"""Seconds after ``[DONE]`` within which the response has to end for its connection to be used again."""
LIST_TIMEOUT = 10.0
"""Seconds within which a server has to list its models …"""
LIST_AGE = 60.0
"""… and for which the list is believed."""
_NO_CHAT = re.compile(r"embed|whisper|tts|dall-e|image|moderation|audio|realtime|transcribe|rerank|sora")


class OpenAIProvider(Provider):
    """See the module's docstring. Without ``base_url`` the address is OPENAI_BASE_URL, else OpenAI's own, and the key
    OPENAI_API_KEY; with it the key has to be named too, so that one server's key never goes to another. No key at all
    is fine for servers that want none. Where ``models`` are named, no other is asked for.

    ``body`` is put into every request, ``continue_body`` into those that go on with an answer, and ``continue_turn``
    into their last message. Times are in seconds; ``first_part_timeout`` counts all attempts together.
    """

    name = "openai"

    def __init__(
        self,
        *,
        base_url: str = "",
        api_key: str = "",
        api_key_env: str = "",
        headers: Mapping[str, str] | None = None,
        model: str = "",
        models: Sequence[str] = (),
        body: Mapping[str, Any] | None = None,
        continue_body: Mapping[str, Any] | None = None,
        continue_turn: Mapping[str, Any] | None = None,
        usage: bool = True,
        max_retries: int = 2,
        connect_timeout: float = 10.0,
        first_part_timeout: float = 300.0,
        silence_timeout: float = 60.0,
        total_timeout: float = 1800.0,
    ) -> None:
        if not base_url:
            base_url = os.environ.get("OPENAI_BASE_URL", "")
            api_key_env = api_key_env or "OPENAI_API_KEY"
            model = model or os.environ.get("OPENAI_MODEL", "") or ("" if base_url or models else DEFAULT_MODEL)
        self._base_url = base_url or "https://api.openai.com/v1"
        self._api_key = api_key or os.environ.get(api_key_env, "")
        self._headers = {**(headers or {})}
        self._model = model
        self._models = list(models)
        self._list: list[str] = []
        self._listed = float("-inf")
        self._body = {**(body or {})}
        self._continue_body = {**(continue_body or {})}
        self._continue_turn = {**(continue_turn or {})}
        self._usage = usage
        self._max_retries = max_retries
        self._connect_timeout = connect_timeout
        self._first_part_timeout = first_part_timeout
        self._silence_timeout = silence_timeout
        self._total_timeout = total_timeout
        # Connections belong to the event loop they were opened in.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = WeakKeyDictionary()

    async def stream(self, conversation: Conversation) -> AsyncGenerator[Part]:
        if self._models and conversation.model not in ("", self._model, *self._models):
            raise ProviderRefused("This model is not offered here.")
        loop = asyncio.get_running_loop()
        first = loop.time() + self._first_part_timeout
        total = loop.time() + self._total_timeout
        jitter = random.Random(conversation.run.int)
        for attempt in itertools.count():
            said = False
            try:
                async with aclosing(self._attempt(conversation, min(first, total), total)) as parts:
                    async for part in parts:
                        said = True
                        yield part
                return
            except RunError as error:
                pause = max(error.retry_after or 0.0, 0.5 * 2**attempt * jitter.uniform(0.5, 1.0))
                if said or not error.retryable or attempt >= self._max_retries or loop.time() + pause >= first:
                    raise
                log.info("action=provider_retry run=%s code=%s pause=%.1f", conversation.run, error.code, pause)
            await asyncio.sleep(pause)

    async def models(self) -> list[str]:
        if self._models:
            return list(self._models)
        now = asyncio.get_running_loop().time()
        if now - self._listed >= LIST_AGE:
            self._list = await self._ask_for_models()
            self._listed = now
        return list(self._list)

    async def close(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def _attempt(self, conversation: Conversation, first: float, total: float) -> AsyncGenerator[Part]:
        """One request's parts. Something has to be said by ``first``, all by ``total`` (the loop's times)."""
        model = conversation.model or self._model or await self._first_model()
        answer = Answer(conversation.answer_id(0), model, started=conversation.continues is not None)
        lines = Lines()
        async with AsyncExitStack() as stack:
            chunks = await self._open(stack, conversation, model, first)
            try:
                more = True
                while more:
                    chunk = await _read(chunks, self._deadline(answer, first, total))
                    more = chunk is not None
                    for data in lines.feed(b"\n" if chunk is None else chunk):
                        for part in answer.read(data):
                            yield part
            except RunError:
                if not answer.finished:
                    raise
            for part in answer.close():
                yield part

    def _deadline(self, answer: Answer, first: float, total: float) -> float:
        """The loop's time by which more has to come."""
        if not answer.said and not answer.finished:
            return first
        now = asyncio.get_running_loop().time()
        if answer.finished:
            return now + (CLOSE_GRACE if answer.closed else USAGE_GRACE)
        return min(now + self._silence_timeout, total)

    async def _open(
        self, stack: AsyncExitStack, conversation: Conversation, model: str, deadline: float
    ) -> AsyncIterator[bytes]:
        """Ask, and return the response's bytes as they come. ``stack`` closes the connection."""
        body = self._request(conversation, model)
        try:
            async with asyncio.timeout_at(deadline):
                response = await stack.enter_async_context(
                    self._client().chat.completions.with_streaming_response.create(
                        model=model, messages=[], stream=True, extra_body=body, extra_headers=self._request_headers()
                    )
                )
        except openai.APIStatusError as error:
            if self._usage and error.status_code in (400, 422) and b"stream_options" in error.response.content:
                self._usage = False  # an older server, which counts no tokens in a stream
                return await self._open(stack, conversation, model, deadline)
            log.warning("action=provider_refused run=%s status=%d", conversation.run, error.status_code)
            raise _error(error) from None
        except (openai.APIError, TimeoutError) as error:
            raise _error(error) from None
        return response.http_response.aiter_bytes()

    def _request(self, conversation: Conversation, model: str) -> dict[str, Any]:
        system_prompt, turns = named(conversation)
        messages = [{"role": "system", "content": system_prompt}] if system_prompt else []
        messages += [{"role": turn.role, "content": turn.text} for turn in turns]
        body = {**self._body, **conversation.parameters}
        if conversation.continues is not None and messages and messages[-1]["role"] == "assistant":
            body |= self._continue_body
            messages[-1] |= self._continue_turn
        if self._usage:
            body["stream_options"] = {"include_usage": True}
        return {**body, "model": model, "messages": messages, "stream": True}

    def _request_headers(self) -> dict[str, Any]:
        return self._headers if self._api_key else {"Authorization": openai.Omit(), **self._headers}

    async def _first_model(self) -> str:
        for name in await self.models():
            return name
        raise ProviderRefused()

    async def _ask_for_models(self) -> list[str]:
        try:
            async with asyncio.timeout(LIST_TIMEOUT):
                response = await self._client().models.with_raw_response.list(extra_headers=self._request_headers())
            found = [str(entry["id"]) for entry in orjson.loads(response.content)["data"]]
        except (openai.APIError, TimeoutError) as error:
            raise _error(error) from None
        except (ValueError, KeyError, TypeError):
            raise ProviderProtocol() from None
        chat = [name for name in found if not _NO_CHAT.search(name.lower())] or found
        return [self._model, *(name for name in chat if name != self._model)] if self._model else chat

    def _client(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = openai.AsyncOpenAI(
                api_key=self._api_key or "none",
                base_url=self._base_url,
                timeout=openai.Timeout(None, connect=self._connect_timeout),
                max_retries=0,
            )
        return client


async def _read(chunks: AsyncIterator[bytes], deadline: float) -> bytes | None:
    """The next bytes, or None at the end. Raises ProviderTimeout at ``deadline``, ProviderProtocol when cut."""
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(chunks, None)
    except TimeoutError:
        raise ProviderTimeout() from None
    except Exception:  # whatever the HTTP client calls it, the response broke off
        raise ProviderProtocol() from None


def _error(error: openai.APIError | TimeoutError) -> RunError:
    if isinstance(error, openai.APIStatusError):
        return refusal(error.status_code, error.body, retry_after(error.response.headers))
    if isinstance(error, (openai.APITimeoutError, TimeoutError)):
        return ProviderTimeout()
    return ProviderUnavailable()
