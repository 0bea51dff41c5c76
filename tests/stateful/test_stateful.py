"""Any interleaving of faults and users keeps the invariants: real edges (websocket, event streams, long polls, JSON
API), subscription, catch-up, hub, verbs, writer, engine, worker and sweep, in virtual time. ``REJOIN_CASES`` says how
many cases (default 30)."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from chat.generation import stream
from chat.models import threads
from chat.replication import catchup
from chat.tasks import end
from tests.stateful import virtual
from tests.stateful.devices import PollViewer, SocketViewer, StreamViewer
from tests.stateful.viewer import Viewer
from tests.stateful.virtual import VirtualLoop, in_database_thread
from tests.stateful.world import World

CASES = int(os.environ.get("REJOIN_CASES", "30"))
PHASES = [phase for phase in Phase if phase != Phase.shrink or os.environ.get("REJOIN_SHRINK", "1") == "1"]
ON_BUSY = st.sampled_from(["queue", "queue", "interrupt", "reject"])
SHORT = st.sampled_from([0.0, 0.01, 0.05, 0.2, 1.0, 3.0])
PROFILES = {
    "everything": [
        "worker_killed",
        "worker_stalls",
        "log_emptied",
        "log_fails_over",
        "log_away",
        "log_restarts_empty",
        "database_away",
        "answers_get_lost",
        "everything_crashes",
        "web_restarts",
        "web_killed",
        "clock_is_set",
    ],
    "processes": ["worker_killed", "worker_killed", "worker_stalls", "web_restarts", "web_killed"],
    "clock": ["clock_is_set", "clock_is_set", "worker_killed"],
    "log": ["log_emptied", "log_fails_over", "log_away", "log_restarts_empty"],
    "database": ["database_away", "answers_get_lost"],
    "silence": ["nothing"],
}
"""What may break in a case. Faults of one kind show what faults of all kinds together would excuse; in silence every
hint gets lost."""
TRANSPORTS = (SocketViewer, StreamViewer, PollViewer)
WRONG = {0.3: -60.0, 3.0: 90.0, 16.0: 0.0}
"""Seconds by which the clock is wrong then."""
PATIENCE = 90
"""Times five seconds, within which all must come to rest by itself once nothing is wrong any more."""


class Conversations(RuleBasedStateMachine):
    """Three viewers of one thread, each on a transport of its own, in a world where things go wrong."""

    @initialize(
        seed=st.integers(0, 2**32),
        tail=st.sampled_from([0.0, 0.5]),
        profile=st.sampled_from(sorted(PROFILES)),
        selects=st.sampled_from([True, True, False]),
        window=st.integers(0, 3),
    )
    def begin(self, seed: int, tail: float, profile: str, selects: bool, window: int) -> None:
        """``selects``: whether anybody looks at another path. Where nobody does, all that waits stays on the one.
        ``window``: who has asked only for what is seen first (3: nobody)."""
        settings.REJOIN_LOG_TAIL = tail
        self.profile, self.selects = profile, selects
        self.said = 0
        self.atomic = in_database_thread(self._begin_transaction)
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.world = World(self.loop, seed)
        if profile == "silence":
            self.world.faults.drop = 1.0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(timezone, "now", lambda: self.world.now.value)
        self.window = window
        self.viewers = self.three("viewer")
        self.run(self._begin())

    def three(self, name: str) -> list[Viewer]:
        """One on each transport."""
        numbered = enumerate(TRANSPORTS)
        return [kind(f"{name}{n} ({kind.__name__})", self.world, whole=n != self.window) for n, kind in numbered]

    def _begin_transaction(self) -> transaction.Atomic:
        atomic = transaction.atomic()
        atomic.__enter__()
        return atomic

    def _roll_back(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    async def _begin(self) -> None:
        await self.world.build()
        for viewer in self.viewers:
            await viewer.connect()
        await asyncio.sleep(0.1)

    def run(self, coroutine: Any) -> None:
        self.loop.run_until_complete(coroutine)
        for viewer in self.viewers:
            viewer.look()

    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def words(self, kind: str) -> str:
        """A text that nobody has said before."""
        self.said += 1
        return f"{kind} {self.said}"

    # users -----------------------------------------------------------------------------------------------------

    @rule(n=st.integers(0, 2), on_busy=ON_BUSY, less=st.sampled_from([0, 3]), dt=SHORT)
    def send(self, n: int, on_busy: str, less: int, dt: float) -> None:
        viewer = self.viewers[n]
        fields = {} if on_busy == "queue" else {"on_busy": on_busy, "seen": viewer.seen(less)}
        viewer.command("send", message=str(uuid4()), run=str(uuid4()), text=self.words("question"), **fields)
        self.wait(dt)

    @rule(n=st.integers(0, 2), which=st.integers(-3, -1), less=st.sampled_from([0, 3]), dt=SHORT)
    def edit(self, n: int, which: int, less: int, dt: float) -> None:
        viewer = self.viewers[n]
        questions = viewer.ids("user", "queued", "complete")
        if questions:
            of = questions[max(which, -len(questions))]
            new = {"message": str(uuid4()), "run": str(uuid4()), "text": self.words("edited")}
            viewer.command("edit", of=of, seen=viewer.seen(less), **new)
        self.wait(dt)

    @rule(n=st.integers(0, 2), dt=SHORT)
    def go_on(self, n: int, dt: float) -> None:
        viewer = self.viewers[n]
        for run in viewer.runs("queued", "running"):
            viewer.command("stop", run=run, seen=viewer.seen())
        self.wait(2)
        broken_off = viewer.ids("assistant", "cut", "failed")
        head = (viewer.copy.row or {}).get("head")
        if broken_off:
            viewer.command("continue", of=head if head in broken_off else broken_off[-1], run=str(uuid4()))
        self.wait(dt)

    @rule(n=st.integers(0, 2), which=st.integers(0, 9), dt=SHORT)
    def select(self, n: int, which: int, dt: float) -> None:
        viewer = self.viewers[n]
        placed = viewer.placed()
        if placed and self.selects:
            viewer.command("select", message=placed[which % len(placed)])
        self.wait(dt)

    @rule(n=st.integers(0, 2), which=st.integers(0, 9), dt=SHORT)
    def go_to_another_path(self, n: int, which: int, dt: float) -> None:
        viewer = self.viewers[n]
        path = {message.id for message in viewer.copy.path}
        elsewhere = [message for message in viewer.placed() if message not in path]
        if elsewhere and self.selects:
            viewer.command("select", message=elsewhere[which % len(elsewhere)])
        self.wait(dt)

    @rule(n=st.integers(0, 2), less=st.sampled_from([0, 0, 3, 50]), twice=st.booleans(), dt=SHORT)
    def stop(self, n: int, less: int, twice: bool, dt: float) -> None:
        viewer = self.viewers[n]
        running = viewer.runs("queued", "running")
        if running:
            for _ in range(1 + twice):
                viewer.command("stop", run=running[0], seen=viewer.seen(less))
        self.wait(dt)

    @rule(n=st.integers(0, 2), less=st.sampled_from([0, 5]), dt=SHORT)
    def stop_late(self, n: int, less: int, dt: float) -> None:
        viewer = self.viewers[n]
        ended = viewer.runs("completed", "interrupted")
        if ended:
            viewer.command("stop", run=ended[-1], seen=viewer.seen(less))
        self.wait(dt)

    @rule(n=st.integers(0, 2), dt=SHORT)
    def regenerate(self, n: int, dt: float) -> None:
        viewer = self.viewers[n]
        answers = [message.id for message in viewer.copy.messages.values() if message.role == "assistant"]
        if answers:
            viewer.command("regenerate", of=answers[-1], run=str(uuid4()), seen=viewer.seen())
        self.wait(dt)

    @rule(n=st.integers(0, 2), dt=SHORT)
    def cut_connection(self, n: int, dt: float) -> None:
        self.run(self.viewers[n].disconnect())
        self.wait(dt)

    @rule(n=st.integers(0, 2), forget=st.booleans(), dt=SHORT)
    def come_back(self, n: int, forget: bool, dt: float) -> None:
        viewer = self.viewers[n]
        self.run(viewer.disconnect())
        if forget:
            viewer.forget()
        self.run(viewer.connect())
        self.wait(dt)

    @rule(n=st.integers(0, 2), slow=st.sampled_from([0.0, 0.05, 0.5]), deaf=st.booleans(), dt=SHORT)
    def read_slowly(self, n: int, slow: float, deaf: bool, dt: float) -> None:
        self.viewers[n].read(slow=slow, deaf=deaf)
        self.wait(dt)

    @rule(dt=st.sampled_from([0.5, 2.0, 10.0]))
    def let_time_pass(self, dt: float) -> None:
        self.wait(dt)

    @rule()
    def look_whether_anybody_is_stuck(self) -> None:
        """Whatever hints get lost: what the log has now, every reader who is well has seven seconds later."""
        well = [viewer for viewer in self.viewers if viewer.connected and not (viewer.slow or viewer.deaf)]
        heads = self.world.heads()
        self.wait(7)
        for viewer in well:
            for run, last in heads.items():
                held = viewer.copy
                state = held.runs.get(run, {"state": "unknown"})["state"]
                stuck = state in ("unknown", "queued") or (state == "running" and held.seqs.get(run, 0) < last)
                assert not stuck, f"{viewer} is stuck: {run} is {state} at {held.seqs.get(run)}, log at {last}"

    # faults ----------------------------------------------------------------------------------------------------

    @rule(drop=st.sampled_from([0.0, 0.2, 1.0]), double=st.sampled_from([0.0, 0.3]), late=st.sampled_from([0.0, 0.2]))
    def hints_go_wrong(self, drop: float, double: float, late: float) -> None:
        if self.profile == "silence":
            return
        self.world.faults.drop, self.world.faults.double, self.world.faults.late = drop, double, late

    @rule(which=st.integers(0, 8), n=st.integers(0, 1), seconds=st.sampled_from([0.3, 3.0, 16.0]), dt=SHORT)
    def something_breaks(self, which: int, n: int, seconds: float, dt: float) -> None:
        faults = PROFILES[self.profile]
        getattr(self, f"_{faults[which % len(faults)]}")(n, seconds)
        self.wait(dt)

    def _nothing(self, n: int, seconds: float) -> None:
        self.wait(seconds)

    def _worker_killed(self, n: int, seconds: float) -> None:
        owner, _, task = self.world.living()[n]
        self.world.kill(owner, task)
        self.run(self.world.add_worker())

    def _worker_stalls(self, n: int, seconds: float) -> None:
        until = self.loop.time() + 2 * seconds
        self.world.living()[n][0].stalled_until = until
        self.world.worker_failed(until)

    def _log_emptied(self, n: int, seconds: float) -> None:
        virtual.empty(self.world.store)
        self.world.log_failed()

    def _log_fails_over(self, n: int, seconds: float) -> None:
        virtual.fail_over(self.world.store, self.world.rng)
        self.world.log_failed()

    def _log_away(self, n: int, seconds: float) -> None:
        self.world.log_failed()
        self.world.faults.log_away = True
        self.wait(seconds)
        self.world.faults.log_away = False
        self.world.log_failed()

    def _log_restarts_empty(self, n: int, seconds: float) -> None:
        self._log_away(n, seconds)
        self._log_emptied(n, seconds)

    def _database_away(self, n: int, seconds: float) -> None:
        self.world.faults.database_away = True
        self.wait(seconds)
        self.world.faults.database_away = False

    def _answers_get_lost(self, n: int, seconds: float) -> None:
        self.world.faults.lost_answers = 0.1
        self.wait(seconds)
        self.world.faults.lost_answers = 0.0

    def _everything_crashes(self, n: int, seconds: float) -> None:
        """The embedded default: worker and log are one process."""
        for owner, _, task in self.world.living():
            self.world.kill(owner, task)
        self._log_emptied(n, seconds)
        self.world.lossy = True
        for _ in range(2):
            self.run(self.world.add_worker())

    def _web_restarts(self, n: int, seconds: float) -> None:
        self.run(self.world.restart_web(n))

    def _web_killed(self, n: int, seconds: float) -> None:
        self.world.kill_web(n)

    def _clock_is_set(self, n: int, seconds: float) -> None:
        self.world.set_clock(WRONG[seconds])

    # the end ---------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._come_to_rest()
        finally:
            self.loop.run_until_complete(self._end())
            self.patch.undo()
            self.loop.close()
            asyncio.set_event_loop(None)
            in_database_thread(self._roll_back)

    async def _end(self) -> None:
        await end(asyncio.all_tasks() - {asyncio.current_task()})

    def _come_to_rest(self) -> None:
        faults = self.world.faults
        faults.drop = faults.double = faults.late = faults.lost_answers = 0.0
        for viewer in self.viewers:
            viewer.read(slow=0.0, deaf=False)
            self.run(viewer.connect())
        for _ in range(PATIENCE):
            self.wait(5)
            if in_database_thread(self.world.at_rest, self.viewers):
                break
        self.viewers += self.three("fresh")
        for viewer in self.viewers:
            self.run(viewer.connect())
        self.wait(2)
        for viewer in self.viewers:
            self.run(viewer.load_path())
        in_database_thread(self.world.check_at_rest, self.viewers)


@pytest.fixture
def _small_answers(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers here are short: to be checkpointed, trimmed and bounded like long ones they need small limits. So do
    paths, to be longer than a window."""
    settings.REJOIN_CHECKPOINT_BYTES = 3000
    settings.REJOIN_RUN_BUFFER = 20_000
    settings.REJOIN_LOG_TAIL = 0.0
    for module in (catchup, threads):
        monkeypatch.setattr(module, "WINDOW", 5)
    monkeypatch.setattr(stream, "GROWTH_LEAST", 300)
    monkeypatch.setattr(stream, "GROWTH_PAUSE", 0.2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@pytest.mark.usefixtures("_small_answers")
def test_any_interleaving_of_faults_and_users_keeps_the_invariants() -> None:
    try:
        run_state_machine_as_test(
            Conversations,
            settings=profile(
                max_examples=CASES,
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=PHASES,
                report_multiple_bugs=False,
                print_blob=True,
            ),
        )
    finally:
        gc.collect()  # while what killed processes leave open is nobody's concern
