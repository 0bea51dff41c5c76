"""Whole conversations on real processes, while users, networks and servers do as a seed says.

When all is quiet again everybody holds the same, to the character: three devices on different transports, one that has
just come, the database, and the model in its prompts. tests/stateful shows this of many more cases, in virtual time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from chat.errors import ChatError
from chat.protocol import clean
from tests.client import Client, guest
from tests.conftest import StartStack
from tests.processes.asking import check_fresh
from tests.processes.conftest import QUICK
from tests.processes.device import HttpDevice
from tests.servers.process import Process
from tests.servers.script import full_text
from tests.servers.stack import Stack

SEEDS = [int(seed) for seed in os.environ.get("REJOIN_SEEDS", "1 2").split()]
"""``REJOIN_SEEDS="3 4 5"`` tries others."""
CASES = [*(("postgres+redis+uvicorn", seed) for seed in SEEDS), ("sqlite+embedded+daphne", SEEDS[0])]
STEPS = 45
FINAL = ("completed", "stopped", "failed", "interrupted")
SETTINGS = {**QUICK, "REJOIN_DRAIN": "0.5", "REJOIN_COMPARE": "1"}
REFUSALS = {"conflict", "bad_request", "busy", "rate_limited"}
"""What a command may be answered that comes from a device which does not know what the others do."""


Device = Client | HttpDevice


class Storm:
    """What happens, and what was said and seen in it."""

    def __init__(self, stack: Stack, clients: list[Device], threads: list[str], rng: random.Random) -> None:
        self.stack, self.clients, self.threads, self.rng = stack, clients, threads, rng
        self.scripts: dict[str, dict[str, Any]] = {}
        """By question."""
        self.seen: defaultdict[str, int] = defaultdict(int)
        """By message: the most that any device said was on its screen when it ended a run."""
        self.done: Counter[str] = Counter()
        """How often each command was done, or refused."""
        self._tasks: list[asyncio.Task[None]] = []
        self._away: set[Device] = set()
        self._down: set[Process] = set()

    async def blow(self) -> None:
        """Go on for STEPS. Then see to it that all are up, online and answered, and that nothing runs any more."""
        users: list[Callable[[Device, str], None]] = [self.ask, self.ask, self.ask, self.stop, self.stop]
        users += [self.regenerate, self.edit, self.go_on, self.select, self.rename, self.read]
        networks: list[Callable[[], Awaitable[None]]] = [
            self.reset,
            self.reset,
            self.swallow,
            self.leave,
            self.come_back,
        ]
        servers: list[Callable[[], Awaitable[None]]] = [self.kill, self.kill, self.terminate, self.empty_redis]
        for client in self.clients:
            self.ask(client, self.rng.choice(self.threads))
        for _ in range(STEPS):
            chance = self.rng.random()
            if chance < 0.65:
                self.rng.choice(users)(self.rng.choice(self.clients), self.rng.choice(self.threads))
            elif chance < 0.9:
                await self.rng.choice(networks)()
            else:
                await self.rng.choice(servers)()
            await asyncio.sleep(self.rng.uniform(0, 0.3))
        await asyncio.gather(*self._tasks)
        for process in self.stack.processes:
            await asyncio.to_thread(process.await_ready)
        for client in self.clients:
            for thread in self.threads:
                await client.caught_up(thread)
                runs = client.thread(thread).runs
                await client.wait_until(
                    lambda runs=runs: all(run["state"] in FINAL for run in runs.values()), "the end"
                )

    # users -----------------------------------------------------------------------------------------------------

    def say(self, client: Device, kind: str, **fields: Any) -> None:
        self._tasks.append(asyncio.create_task(self._say(client, kind, fields)))

    async def _say(self, client: Device, kind: str, fields: dict[str, Any]) -> None:
        try:
            await client.do(kind, **fields)
            self.done[kind] += 1
        except ChatError as error:
            assert error.code in REFUSALS, f"{kind} was answered {error.code}"
            self.done[f"{kind} {error.code}"] += 1

    def ask(self, client: Device, thread: str) -> None:
        fields: dict[str, Any] = {}
        if self.rng.random() < 0.2 and (answers := self._messages(client, thread, "assistant")):
            fields["parent"] = self.rng.choice(answers)
        if self.rng.random() < 0.3:
            fields |= {"on_busy": self.rng.choice(("interrupt", "reject")), "seen": self._screen(client, thread)}
        self.say(client, "send", thread=thread, message=str(uuid4()), text=self._question(), run=str(uuid4()), **fields)

    def stop(self, client: Device, thread: str) -> None:
        """What runs or waits, mostly; any other run now and then."""
        runs = client.thread(thread).runs
        going = [pk for pk, run in runs.items() if run["state"] not in FINAL]
        if found := going or list(runs):
            run = self.rng.choice(found)
            self.say(client, "stop", thread=thread, run=run, seen=self._screen(client, thread))

    def regenerate(self, client: Device, thread: str) -> None:
        if answers := self._messages(client, thread, "assistant"):
            self._leave(client, "regenerate", thread, of=self.rng.choice(answers), run=str(uuid4()))

    def edit(self, client: Device, thread: str) -> None:
        if questions := self._messages(client, thread, "user"):
            fields = {"of": self.rng.choice(questions), "message": str(uuid4()), "run": str(uuid4())}
            self._leave(client, "edit", thread, text=self._question(), **fields)

    def _leave(self, client: Device, kind: str, thread: str, **fields: Any) -> None:
        self.say(client, kind, thread=thread, seen=self._screen(client, thread), **fields)

    def go_on(self, client: Device, thread: str) -> None:
        messages = client.thread(thread).messages
        if cut := [pk for pk in self._messages(client, thread, "assistant") if messages[pk].status == "cut"]:
            self.say(client, "continue", thread=thread, of=cut[-1], run=str(uuid4()))

    def select(self, client: Device, thread: str) -> None:
        if answers := self._messages(client, thread, "assistant"):
            self.say(client, "select", thread=thread, message=self.rng.choice(answers))

    def rename(self, client: Device, thread: str) -> None:
        self.say(client, "update", thread=thread, title=f"Title {self.rng.random()}")

    def read(self, client: Device, thread: str) -> None:
        if answers := self._messages(client, thread, "assistant"):
            self.say(client, "read", thread=thread, message=self.rng.choice(answers))

    def _question(self) -> str:
        rng = self.rng
        script: dict[str, Any] = {"chunks": rng.choice((1, 20, 100)), "seed": f"{len(self.scripts)}"}
        script |= rng.choice(({}, {"reasoning": 5}, {"size": 1}, {"surrogates": True}))
        script |= rng.choice(({}, {"pause": 0.005}, {"pause": 0.02}, {"first": 0.3}))
        if rng.random() < 0.1:
            script |= {"after": 10, "cut": "rst"}
        text = json.dumps(script)
        self.scripts[text] = script
        return text

    def _messages(self, client: Device, thread: str, role: str) -> list[str]:
        messages = client.thread(thread).messages
        return [pk for pk, message in messages.items() if message.row.get("role") == role]

    def _screen(self, client: Device, thread: str) -> dict[str, int]:
        """What a reader may have seen of the answers by now: some of them see a little less than what has come."""
        messages = client.thread(thread).messages
        seen = {}
        for pk in self._messages(client, thread, "assistant"):
            length = len(messages[pk].text)
            seen[pk] = self.rng.choice((length, length, self.rng.randint(0, length)))
            self.seen[pk] = max(self.seen[pk], seen[pk])
        return seen

    # networks --------------------------------------------------------------------------------------------------

    async def reset(self) -> None:
        self.rng.choice(self.stack.web).clients.reset()

    async def swallow(self) -> None:
        line = self.rng.choice(self.stack.web).clients
        line.swallow(True, answers=self.rng.random() < 0.5)
        await asyncio.sleep(self.rng.uniform(0, 0.5))
        line.swallow(False)

    async def leave(self) -> None:
        """A device is offline for a while; what its user says meanwhile is said later."""
        if (client := self.rng.choice(self.clients)) not in self._away:
            self._away.add(client)
            await client.disconnect()
            self._tasks.append(asyncio.create_task(self._return(client, self.rng.uniform(0, 3))))

    async def _return(self, client: Device, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await client.connect()
        self._away.discard(client)

    async def come_back(self) -> None:
        """A refresh, perhaps at another server."""
        if (client := self.rng.choice(self.clients)) not in self._away:
            client.url = self.rng.choice(self.stack.web).url
            await client.refresh()

    # servers ---------------------------------------------------------------------------------------------------

    def _a_process(self) -> Process | None:
        """A worker, mostly; or a web server. None: the one that was chosen is just starting."""
        process: Process = self.rng.choice([*self.stack.workers, *self.stack.workers, *self.stack.web])
        return None if process in self._down or not process.running else process

    async def kill(self) -> None:
        if (process := self._a_process()) is not None:
            process.kill()
            self._start(process)

    async def terminate(self) -> None:
        if (process := self._a_process()) is not None:
            process.terminate()
            self._start(process)

    def _start(self, process: Process) -> None:
        """A new one in its place, when it has ended."""
        self._down.add(process)
        self._tasks.append(asyncio.create_task(self._start_again(process)))

    async def _start_again(self, process: Process) -> None:
        await asyncio.to_thread(process.wait)
        await asyncio.to_thread(process.start)
        self._down.discard(process)

    async def empty_redis(self) -> None:
        redis = self.stack.redis
        if redis is not None:
            await asyncio.to_thread(redis.renew if self.rng.random() < 0.5 else redis.restart_empty)

    # what must hold --------------------------------------------------------------------------------------------

    async def check(self) -> None:
        for thread in self.threads:
            for client in self.clients:
                await check_fresh(client, thread)
            rows = await asyncio.to_thread(self.stack.rows, thread)
            assert rows == self.clients[0].transcript(thread)
        self._check_answers()
        self._check_prompts()
        assert {"send", "stop"} <= {kind.split()[0] for kind in self.done}, self.done

    def _check_answers(self) -> None:
        """Each is what the model said: all of it, or a beginning that somebody has seen, or that was all there was."""
        for thread in self.threads:
            held = self.clients[0].thread(thread)
            for run in held.runs.values():
                for answer in held.answers(run["id"]):
                    said = clean(full_text(self.scripts[held.messages[run["prompt"]].text]))
                    assert said.startswith(answer.text), f"never said: {answer.text[-100:]!r}"
                    if run["state"] == "completed" and answer.status == "complete":
                        assert answer.text == said
                    if run["state"] == "stopped":
                        assert len(answer.text) <= self.seen[answer.row["id"]], "more than anybody has seen"

    def _check_prompts(self) -> None:
        """The model was given what everybody holds: the path down to the question, or to the answer to go on with."""
        asked = {
            message.text: (thread, pk)
            for thread in self.threads
            for pk, message in self.clients[0].thread(thread).messages.items()
            if message.row["role"] == "user"
        }
        requests = self.stack.model.requests()
        for request in requests:
            turns = list(request["messages"])
            so_far = turns.pop()["content"] if turns[-1]["role"] == "assistant" else ""
            thread, at = asked[turns[-1]["content"]]
            messages = self.clients[0].thread(thread).messages
            path: list[str] = []
            question = at
            while at is not None:
                path.insert(0, messages[at].text)
                at = messages[at].row["parent"]
            assert [turn["content"] for turn in turns] == [text for text in path if text]
            answers = [message.text for message in messages.values() if message.row["parent"] == question]
            assert not so_far or any(text.startswith(so_far) for text in answers), "not gone on with what was there"
        assert len(requests) >= len(self.clients)


@pytest.mark.parametrize(("variant", "seed"), CASES)
async def test_whatever_happens_in_between_all_hold_the_same_in_the_end(
    start_stack: StartStack, variant: str, seed: int
) -> None:
    webs = 1 if "embedded" in variant else 2
    stack = start_stack(variant, webs=webs, workers=2, settings=SETTINGS)
    session = await guest(stack.url)
    async with AsyncExitStack() as devices:
        clients: list[Device] = [
            await devices.enter_async_context(Client(stack.web[0].url, session)),
            await devices.enter_async_context(HttpDevice(stack.web[-1].url, session, "events")),
            await devices.enter_async_context(HttpDevice(stack.web[0].url, session, "updates")),
        ]
        threads = [str(uuid4()) for _ in range(2)]
        for thread in threads:
            await clients[0].do("create", thread=thread)
        for client in clients:
            for thread in threads:
                await client.follow(thread, all=True)
        storm = Storm(stack, clients, threads, random.Random(seed))
        await storm.blow()
        await storm.check()
