"""Breaks each rule of docs/architecture.md on purpose, in a scratch copy, and tells whether the stateful test notices.

    python -m tests.stateful.break_rules [CASES] [RULE …]

A rule that can be broken without any case failing is one that nothing guards. Not part of the test command: it runs for
minutes, and its answers change only when rules do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_READ_AS_IT_COMES = [("chat/replication/catchup.py", "        if goes_on(log, frm):", "        if True:")]
RULES: dict[str, list[tuple[str, str, str]]] = {
    "1 parts only to whom the log reaches": [
        (
            "chat/replication/catchup.py",
            "partial = mine and (level or goes_on(log, cursor.seq))",
            "partial = mine",
        ),
        # Rule 3 would hide it: the viewer would wait for the run's end.
        *_READ_AS_IT_COMES,
    ],
    "2 one checkpoint covers all messages": [
        (
            "chat/generation/ledger.py",
            "in fold.answers.items():\n            Message",
            "in list(fold.answers.items())[:1]:\n            Message",
        ),
    ],
    "3 a log that begins after the checkpoint is read again": _READ_AS_IT_COMES,
    "4 a gap is read again": [
        ("chat/replication/subscription.py", "if hint.frm != seq or self.paused:", "if hint.frm < seq or self.paused:")
    ],
    "4 an overlap is read again": [
        ("chat/replication/subscription.py", "if hint.frm != seq or self.paused:", "if hint.frm > seq or self.paused:")
    ],
    "4 what is there already is dropped": [
        ("chat/replication/subscription.py", "if hint.to <= seq:\n            return None", "pass"),
        ("chat/replication/subscription.py", "if hint.frm != seq or self.paused:", "if hint.frm > seq or self.paused:"),
    ],
    "4 the cursor is the subscription's own": [
        (
            "chat/replication/subscription.py",
            "self.cursor = Cursor(version, run, hint.to)",
            "self.cursor = Cursor(version + 1, run, hint.to)",
        )
    ],
    "5 versions are compared": [
        ("chat/replication/subscription.py", "late = mine.version < due.version or (", "late = (")
    ],
    "5 seqs are compared": [("chat/replication/subscription.py", "and mine.seq < due.seq", "and False")],
    "6 an append names the seq it follows": [
        ("chat/runlog/memory.py", "if new and new[0].frm != log.last:", "if False:"),
    ],
    "6 what the log has is skipped": [
        ("chat/runlog/memory.py", "if batch.to > log.last]", "]"),
        ("chat/runlog/memory.py", "if new and new[0].frm != log.last:", "if new and new[0].frm > log.last:"),
    ],
    "6 a lost log is seeded from memory": [
        (
            "chat/generation/writer.py",
            "stream.lost_log = True\n                self.written(stream)",
            "stream.appended(append.batches[-1].to, now)",
        ),
        ("chat/generation/worker.py", "engine.stream.lost_log = True", "pass"),
    ],
    "7 nothing is written after the lease's deadline": [
        ("chat/generation/writer.py", "if now >= stream.deadline:", "if False:"),
        ("chat/generation/writer.py", "if not await self._renew(stream):", "if False:"),
        ("chat/runlog/memory.py", "append.fence < log.fence", "False"),
    ],
    "7 seeding needs a renewal": [
        ("chat/generation/writer.py", "if not await self._renew(stream):", "if False:"),
    ],
    "8 a takeover fences the log": [
        ("chat/generation/sweep.py", "await self._log.fence(str(run), taken.lease)", "pass"),
    ],
    "8 a takeover reads the log": [
        ("chat/generation/sweep.py", "settle(taken, await self._log.read(str(run), taken.seq))", "settle(taken, None)")
    ],
    "8 who lost the lease writes no row": [
        (
            "chat/models/runs.py",
            "return self.filter(pk=run, lease=lease, state=Run.State.RUNNING)",
            "return self.filter(pk=run)",
        )
    ],
    "8 seqs never go back": [
        ("chat/generation/ledger.py", "run.seq = run.lease * LEASE_SPAN", "run.seq = LEASE_SPAN"),
        ("chat/generation/ledger.py", "return self.lease * LEASE_SPAN", "return LEASE_SPAN"),
    ],
    "9 the final transaction reads the stop": [
        ("chat/generation/ledger.py", "if run.stop is not None:\n            state", "if False:\n            state"),
        ("chat/generation/ledger.py", 'seen = (run.stop or {}).get("seen")', "seen = None"),
    ],
    "9 the first stop wins": [
        ("chat/actions/stops.py", "if run.stop is not None or (", "if ("),
        ("chat/actions/stops.py", "    if run.stop is None:\n        run.stop =", "    if True:\n        run.stop ="),
    ],
    "9 a late cut ends the run": [
        ("chat/actions/stops.py", 'retry_after = Run.State.STOPPED, "", None', 'retry_after = run.state, "", None'),
        ("chat/actions/stops.py", "run.announced_at = None", "pass"),
        (
            "chat/actions/stops.py",
            "    run.stop = _as_json(seen)\n    run.version",
            "    run.stop = None\n    run.version",
        ),
    ],
    "9 no late cut once the thread has gone on": [
        ("chat/actions/stops.py", "    elif gone_on_from(run):", "    elif False:"),
    ],
    "10 a queued message gets its parent when claimed": [
        (
            "chat/generation/ledger.py",
            "asked.parent_id, asked.after = asked.place(), None",
            "asked.parent_id, asked.after = asked.after_id, None",
        )
    ],
    "10 what leaves the path is unqueued": [
        ("chat/actions/stops.py", "        if leaves:", "        if False:"),
    ],
    "an answer goes on after what it had": [
        ("chat/generation/ledger.py", "held[str(answer.pk)] = _as_checkpointed(answer)", "pass"),
    ],
    "a stop cuts nothing below where its run began": [
        ("chat/models/threads.py", "length = max(seen, self.base_length)", "length = seen"),
    ],
    "11 a repeated command gets its reply again": [
        (
            "chat/actions/__init__.py",
            "if (done := _done(user_id, command)) is not None:",
            "if (done := None) is not None:",
        ),
    ],
    "lengths only for whom followed to the end": [
        ("chat/replication/catchup.py", "and cursor.seq >= message.seq\n", "")
    ],
    "hints may be lost: a change is read, not remembered": [
        ("chat/replication/subscription.py", "or self._heard > self.cursor.version", "")
    ],
}


def broken(copy: Path, changes: list[tuple[str, str, str]]) -> None:
    for name, old, new in changes:
        path = copy / name
        source = path.read_text()
        if old not in source:
            raise SystemExit(f"{name} has no {old!r}: this rule's code has moved")
        path.write_text(source.replace(old, new))


def noticed(changes: list[tuple[str, str, str]], cases: int) -> str:
    """The first line of what the test says, or "" when it says nothing."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "rejoin"
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "var", "node_modules", ".hypothesis")
        )
        broken(copy, changes)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/stateful"],
            cwd=copy,
            env={**os.environ, "REJOIN_CASES": str(cases), "REJOIN_SHRINK": "0"},
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return ""
        errors = [line for line in done.stdout.splitlines() if "Error: " in line or "Violation: " in line]
        return (errors or done.stdout.splitlines()[-3:])[0].strip(" |E")[:150]


def main() -> int:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    chosen = [rule for rule in RULES if not sys.argv[2:] or any(rule.startswith(name) for name in sys.argv[2:])]
    silent = 0
    for rule in chosen:
        said = noticed(RULES[rule], cases)
        silent += not said
        print(f"{'noticed' if said else 'SILENT ':8} {rule:55} {said}", flush=True)
    return 1 if silent else 0


if __name__ == "__main__":
    raise SystemExit(main())
