"""A whole deployment in virtual time: two web processes, two workers, their database, run log and channel layer."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import RequestAborted

from chat import actions, frames, tokens
from chat.errors import ChatError, ProviderTimeout
from chat.generation import ledger
from chat.generation.worker import Worker
from chat.live.hub import Hub
from chat.models import Message, Run, Thread
from chat.protocol import LEASE_SPAN, clean, end, reasoning, start, text
from chat.providers.base import Conversation, Provider
from chat.runlog.memory import MemoryRunLog
from tests.stateful.viewer import Viewer, Violation
from tests.stateful.virtual import (
    Faults,
    FaultyDatabase,
    FaultyLayer,
    FaultyLog,
    Owner,
    VirtualLoop,
    VirtualNow,
    in_database_thread,
)
from tests.stateful.web import Web


class Talker(Provider):
    """Says something of random length and speed, and tells the world what it said."""

    def __init__(self, world: World, owner: Owner) -> None:
        self._world, self._owner = world, owner

    async def stream(self, conversation: Conversation) -> Any:
        world, rng = self._world, self._world.rng
        run = str(conversation.run)
        world.prompts[run] = conversation
        attempt = world.attempts[run] = world.attempts[run] + 1
        await self._owner.gate(rng.choice((0.02, 0.3, 1.5)))
        answers = [conversation.answer_id(n) for n in range(rng.choice((1, 1, 2)))]
        mine = {answer: len(world.lineage[answer]) for answer in answers}  # an earlier attempt may still be talking
        for answer in answers:
            world.writers[answer].add(run)
            world.lineage[answer].append(conversation.turns[-1].text if answer == conversation.continues else "")
            if answer != conversation.continues:
                yield start(answer, author="talker", parent=None)
        if rng.random() < 0.3:
            yield reasoning(answers[0], "hm ")
            await self._owner.gate(rng.choice((0.05, 1.5)))
        for n in range(rng.randint(0, 120)):
            if len(answers) > 1 and rng.random() < 0.03:  # one has ended, or failed, and the other goes on
                yield end(answers.pop(rng.randrange(2)), rng.choice((None, ProviderTimeout())))
            for _ in range(rng.choice((1, 1, 1, 5))):
                answer = rng.choice(answers)
                token = f"{run[:4]}.{attempt}.{n}{rng.choice(TOKENS)}"
                world.lineage[answer][mine[answer]] += clean(token)
                yield text(answer, token)
            await self._owner.gate(rng.choice((0.01, 0.05, 0.1, 0.3)) if rng.random() > 0.03 else rng.uniform(1, 7))
        for answer in answers:
            yield end(answer)


SETTLED = 40.0
"""Seconds after a worker's death within which its runs are settled: until then the log alone has their last words."""
SEEDED = 10.0
"""Seconds after a fault of the log within which it has been seeded again."""
TOKENS = (" ", " ", "\n", " é", " 😀", " שלום", "x" * 300 + " ")


class World:
    """See the module's docstring. ``seed`` decides everything that happens."""

    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.loop = loop
        self.rng = random.Random(seed)
        self.faults = Faults(self.rng)
        self.now = VirtualNow(loop)
        self.store = MemoryRunLog()
        self.layer = FaultyLayer(self.faults)
        self.lineage: dict[str, list[str]] = defaultdict(list)
        """By message: what each attempt has said of it, from its first character on."""
        self.writers: dict[str, set[str]] = defaultdict(set)
        """By message: the runs that have written in it."""
        self.prompts: dict[str, Conversation] = {}
        self.attempts: dict[str, int] = defaultdict(int)
        self.lossy = False
        """Whether worker and log may have died together: then text since a checkpoint may be gone."""
        self.set_back = 0.0
        """Seconds by which the clock was set back in all: a dead worker's leases last so much longer."""
        self.death = self.log_fault = -1000.0
        """When a worker last died or will wake, and when the log was last at fault."""
        self.violations: list[str] = []
        self.done: set[UUID] = set()
        """Commands that were done."""
        self.stops: dict[str, dict[str, int]] = {}
        """By run: what the first stop that was answered said had been seen."""
        self.written: dict[UUID, str] = {}
        """The messages that were sent and edited, and answered with a reply."""
        self.parents: dict[UUID, UUID | None] = {}
        """By message that has its place: where."""
        self.selected = False
        """Whether somebody looked at another path: then what waits may go on where nobody looks."""
        self.thread = uuid4()
        self.cookie, self.token = in_database_thread(self._furnish)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.webs: list[Web] = []
        self.workers: list[tuple[Owner, Worker, asyncio.Task[None]]] = []
        loop.set_exception_handler(self._unhandled)

    def _furnish(self) -> tuple[str, str]:
        """A user with a session, an API token and a thread. Returns the session's cookie, and the token."""
        user = get_user_model().objects.create(username=str(uuid4()))
        session = SessionStore()
        session["_auth_user_id"] = str(user.pk)
        session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
        session["_auth_user_hash"] = user.get_session_auth_hash()
        session.create()
        command = frames.command({"type": "create", "id": str(uuid4()), "thread": str(self.thread)})
        actions.perform(user.pk, command)
        return f"sessionid={session.session_key}", tokens.make(user.pk, "HTTP", None)

    def _unhandled(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # Django leaves the task that listens for a client's leaving behind when a killed process takes its request.
        if not isinstance(error, RequestAborted):
            self.violations.append(repr(error or context["message"]))

    async def build(self) -> None:
        for n in range(2):
            self.webs.append(self._web(n))
            await self.add_worker()

    # processes -------------------------------------------------------------------------------------------------

    def parts(self, owner: Owner) -> tuple[FaultyDatabase, FaultyLog]:
        return FaultyDatabase(owner, self.faults, self._judge), FaultyLog(self.store, owner, self.faults)

    def _web(self, n: int) -> Web:
        web = Web(self, f"web{n}")
        web.begin()
        return web

    async def restart_web(self, n: int) -> None:
        """SIGTERM, and another one in its place."""
        await self.webs[n].stop()
        self.webs[n] = self._web(n)

    def kill_web(self, n: int) -> None:
        """SIGKILL, and another one in its place. It may have been about to settle a dead worker's run."""
        self.worker_failed(self.loop.time())
        self.webs[n].kill()
        self.webs[n] = self._web(n)

    async def add_worker(self) -> None:
        owner = Owner(f"worker{len(self.workers)}")
        database, log = self.parts(owner)

        async def nothing(topics: Any) -> dict[str, Any]:
            return {}

        hub = Hub(self.layer, nothing, 5.0)
        provider = Talker(self, owner)
        chosen = SimpleNamespace(choose=lambda model: (provider, model))
        worker = Worker(log, self.layer, hub, database, chosen, self.rng, name=owner.name, now=self.now)
        task = self.keep(worker.run())
        self.workers.append((owner, worker, task))

    def living(self) -> list[tuple[Owner, Worker, asyncio.Task[None]]]:
        return [entry for entry in self.workers if entry[0].alive]

    def log_failed(self) -> None:
        """The log has lost something, or could not be reached until now."""
        self.log_fault = self.loop.time()
        self.lossy = self.lossy or self.log_fault < self.death + SETTLED + self.set_back

    def worker_failed(self, until: float) -> None:
        """A worker writes nothing from now on, or for a while."""
        self.death = until
        self.lossy = self.lossy or self.loop.time() < self.log_fault + SEEDED

    def set_clock(self, wrong: float) -> None:
        """Everybody's wall clock jumps: from now on it is wrong by so many seconds. Forward, and leases run out: a
        worker that was well is as good as dead."""
        self.set_back += max(0.0, self.now.wrong - wrong)
        if wrong > self.now.wrong:
            self.worker_failed(self.loop.time())
        self.now.wrong = wrong

    def kill(self, owner: Owner, task: asyncio.Task[None]) -> None:
        """SIGKILL: from this moment on the process does nothing more."""
        self.worker_failed(self.loop.time())
        owner.alive = False
        task.cancel()

    def keep(self, coroutine: Any) -> asyncio.Task[Any]:
        """Let it run. That it fails is a violation."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.violations.append(repr(task.exception()))

    def serve(self, scope: Any, receive: Any, send: Any) -> asyncio.Task[None]:
        """A connection to one of the web processes."""
        return self.rng.choice(self.webs).serve(scope, receive, send)

    # what must hold at each transaction ------------------------------------------------------------------------

    def _judge(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Do it in the database, and look at what became of it."""
        if function is actions.perform:
            return self._judge_command(*args)
        result = function(*args)
        if function is ledger.claim and result is not None:
            self._judge_claim(result)
        if function in (ledger.claim, ledger.begin):
            for message in Message.objects.filter(thread=self.thread).placed():
                if message.pk not in self.parents:
                    self._judge_place(message)
                elif self.parents[message.pk] != message.parent_id:
                    self.violations.append(f"{message} was moved")
        return result

    def _judge_place(self, message: Message) -> None:
        """A question follows the answer to the one before, wherever there is one."""
        self.parents[message.pk] = message.parent_id
        if message.role == "user" and not message.branch and message.parent is not None:
            answers = Message.objects.filter(parent=message.parent_id, role="assistant")
            if message.parent.role == "user" and answers.exists():
                self.violations.append(f"{message} was put beside the answer that it waited for")

    def _judge_claim(self, claim: ledger.Claim) -> None:
        run = Run.objects.get(pk=claim.run)
        path = [message.pk for message in Message.objects.path(run.thread.head_id)]
        if run.prompt_id not in path and not self.selected:
            self.violations.append(f"{run} was claimed for a message that has left the path")
        last = run.continues_id or run.prompt_id
        shown = [message.text for message in Message.objects.path(last) if message.text or message.pk == last]
        given = [turn.text for turn in claim.conversation.turns]
        if given != shown:
            self.violations.append(f"the prompt of {run} is {given}, the path {shown}")

    def _judge_command(self, user_id: Any, command: Any) -> Any:
        before = self._stopped()
        try:
            outcome = actions.perform(user_id, command)
        except ChatError as error:
            if command.id in self.done:
                self.violations.append(f"{command.type} was done, and answered {error.code} when it was repeated")
            raise
        repeated = command.id in self.done
        self.done.add(command.id)
        if repeated:
            if self._stopped() != before:
                self.violations.append(f"{command.type} stopped something when it was repeated")
            return outcome
        stopped = self._stopped() - before
        if isinstance(command, frames.Stop):
            stopped.add(command.run)
        for run in stopped:
            seen = getattr(command, "seen", None) or {}
            self.stops.setdefault(str(run), {str(key): value for key, value in seen.items()})
        if isinstance(command, (frames.Send, frames.Edit)):
            self.written[command.message] = command.text
        if isinstance(command, frames.Select):
            self.selected = True
            head = Thread.objects.get(pk=self.thread).head_id
            if head != Message.objects.tip(command.message):
                self.violations.append(f"{command.message} was selected, and {head} is shown")
        return outcome

    def _stopped(self) -> set[UUID]:
        return set(Run.objects.filter(thread=self.thread, stop__isnull=False).values_list("pk", flat=True))

    # what must hold at each moment, and at rest ----------------------------------------------------------------

    def said(self, message: str, shown: str) -> bool:
        """Whether what a client shows of an answer is a beginning of what an attempt has said."""
        return not shown or any(lineage.startswith(shown) for lineage in self.lineage[message])

    def may_shorten(self, message: str) -> bool:
        """Whether this text may be cut: by a stop, or because what had not been settled was lost."""
        return self.lossy or any(run in self.stops for run in self.writers[message])

    def check_caught_up(self, viewer: Viewer) -> None:
        """Whoever is told to be level has every row up to its version."""
        for message in in_database_thread(self._rows_up_to, viewer.copy.version):
            shown = viewer.copy.messages.get(str(message.pk))
            if shown.status != message.status if shown is not None else viewer.whole:
                raise Violation(f"{viewer}: version {viewer.copy.version} without {message.pk} as {message.status}")

    def _rows_up_to(self, version: int) -> list[Message]:
        return list(Message.objects.filter(thread=self.thread, version__lte=version))

    def heads(self) -> dict[str, int]:
        """By running run: the last seq that the log has."""
        running = in_database_thread(self._running)
        found = {run: self.store._runs[run].last for run in running if run in self.store._runs}
        return {run: last for run, last in found.items() if last % LEASE_SPAN}  # the others are still empty

    def _running(self) -> list[str]:
        return [str(run.pk) for run in Run.objects.filter(thread=self.thread, state="running")]

    def at_rest(self, viewers: list[Viewer]) -> bool:
        version = Thread.objects.get(pk=self.thread).version
        level = all(viewer.copy.version == version and not viewer.pending for viewer in viewers)
        return level and not Run.objects.filter(thread=self.thread, state__in=("queued", "running")).exists()

    def check_at_rest(self, viewers: list[Viewer]) -> None:
        """All of them hold what the database holds, and so did the prompts."""
        assert not self.violations, self.violations
        thread = Thread.objects.get(pk=self.thread)
        unfinished = [run for run in Run.objects.filter(thread=thread) if run.state not in Run.FINAL]
        assert not unfinished, f"never ended: {unfinished}"
        rows = {
            str(m.pk): (m.text, m.reasoning, m.status, m.reasoning_ms) for m in Message.objects.filter(thread=thread)
        }
        states = {str(run.pk): run.state for run in Run.objects.filter(thread=thread)}
        path = [str(message.pk) for message in Message.objects.path(thread.head_id)]
        for viewer in viewers:
            held = viewer.copy
            assert not viewer.pending, f"{viewer}: never answered: {viewer.pending}"
            assert held.version == thread.version
            assert held.row["head"] == (str(thread.head_id) if thread.head_id else None)
            assert [message.id for message in held.path] == path, f"{viewer} shows another path"
            differs = _differences(held.transcript(), rows, viewer.whole)
            assert not differs, f"{viewer} (version {held.version}) differs: {differs}"
            shown = {run: row["state"] for run, row in held.runs.items()}
            differs = _differences(shown, states, viewer.whole)
            assert not differs, f"{viewer} (version {held.version}) differs in runs: {differs}"
        self._check_versions()
        self._check_answers()
        self._check_prompts()

    def _check_versions(self) -> None:
        """Nothing that was said is overwritten, moved or lost."""
        found = {message.pk: message for message in Message.objects.filter(thread=self.thread)}
        assert {pk: found[pk].text for pk in self.written} == self.written
        assert {pk: found[pk].parent_id for pk in self.parents} == self.parents

    def _check_answers(self) -> None:
        for run in Run.objects.filter(thread=self.thread):
            answers = list(Message.objects.filter(run=run, role="assistant"))
            for answer in answers:
                lineage = self.lineage[str(answer.pk)]
                assert self.said(str(answer.pk), answer.text), f"{answer.pk}: {answer.text[-40:]!r} was never said"
                if run.state == Run.State.COMPLETED:
                    begun_in_vain = answer.status == Message.Status.CUT and not answer.text
                    assert begun_in_vain or answer.text in lineage, f"{answer.pk} is {answer.text[-60:]!r}"
                seen = self.stops.get(str(run.pk))
                if seen is not None and run.state == Run.State.STOPPED:
                    most = max(seen.get(str(answer.pk), 0), answer.base_length)
                    assert len(answer.text) <= most, f"{answer.pk}: {len(answer.text)} characters, seen {most}"
                    if not self.lossy and str(run.pk) in self.writers[str(answer.pk)]:
                        assert len(answer.text) == min(most, len(lineage[-1])), f"{answer.pk}: seen text was lost"

    def _check_prompts(self) -> None:
        for run_id, conversation in self.prompts.items():
            run = Run.objects.filter(pk=UUID(run_id)).first()
            if run is None:
                continue
            last = run.continues_id or run.prompt_id
            path = [message.text for message in Message.objects.path(last) if message.text or message.pk == last]
            given = [turn.text for turn in conversation.turns]
            if run.continues_id is not None and path[-1].startswith(given[-1]):
                path[-1] = given[-1]  # what was said since, in this run or in a later one
            assert path == given, f"the prompt of {run_id} was {given}, the thread holds {path}"


def _differences(shown: dict[str, Any], true: dict[str, Any], whole: bool) -> dict[str, tuple[Any, Any]]:
    """What is shown, and what is true, where that is another thing. Only who wants the ``whole`` has to have all."""
    return {
        key: (shown.get(key), true.get(key))
        for key in (shown | true if whole else shown)
        if shown.get(key) != true.get(key)
    }
