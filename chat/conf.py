"""Every setting of Rejoin: its default, its unit, and one line why.

A setting is read from Django's settings under ``REJOIN_<NAME>``, else from the environment variable of that name, else
the default holds. ``conf.NAME`` reads it at each use, so that tests may override it. docs/settings.md is checked
against this table by a test.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True)
class Setting:
    """One setting. ``unit`` is "" for names, flags and counts."""

    default: Any
    unit: str
    why: str


SETTINGS: dict[str, Setting] = {
    # who may use it
    "GUESTS": Setting(False, "", "Let strangers chat without signing in: off, or they spend your key's money."),
    "GUEST_DAYS": Setting(90, "days", "How long a guest without a visit is kept."),
    "SIGNUP": Setting(False, "", "Let visitors make an account."),
    # models
    "PROVIDERS": Setting(
        {}, "", "Providers by name: {name: {path, options}}. Empty: openai when its variables are set, else demo."
    ),
    "PROVIDER": Setting("", "", "The provider that answers. Empty: the first of PROVIDERS."),
    "MODELS": Setting([], "", "The models users may choose, best first. Empty: what the provider lists."),
    "SYSTEM_PROMPT": Setting("", "", "Goes before every chat that has none of its own."),
    "PROMPT_BUDGET": Setting(200_000, "characters", "The prompt's size; the oldest turns are left out first."),
    # limits on users
    "MAX_MESSAGE": Setting(32 * 1024, "bytes", "The longest message a user may send."),
    "MAX_RUNNING": Setting(4, "runs", "Runs one user may have running at once; more wait in the queue."),
    "MAX_QUEUED": Setting(20, "runs", "Runs one user may have queued; a further one is rate_limited."),
    "RATE": Setting(10.0, "commands/s", "Commands and requests of one user, on average …"),
    "BURST": Setting(60, "commands", "… and at once."),
    "MAX_ATTACHED": Setting(50, "threads", "Threads one socket may watch."),
    "MAX_SOCKETS": Setting(100, "sockets", "Websockets one user may have open at a web process."),
    "MAX_STREAMS": Setting(50, "streams", "Event streams and long polls one user may have open at a web process."),
    "COMMAND_DAYS": Setting(30, "days", "How long the replies to commands are kept, so that a repeat changes nothing."),
    # runs
    "LEASE": Setting(15.0, "s", "A worker's right to write a run; a dead worker is noticed when it has run out."),
    "RENEW": Setting(4.0, "s", "How often leases are renewed: well under LEASE."),
    "SWEEP": Setting(5.0, "s", "How often every process looks for lost runs and unheard-of queued ones."),
    "ATTEMPTS": Setting(3, "", "How often a run is begun whose worker dies before it said anything."),
    "WORKER_RUNS": Setting(300, "runs", "Runs one worker process generates at once."),
    "DRAIN": Setting(20.0, "s", "How long a worker that is told to end lets its runs go on."),
    "RUN_TIMEOUT": Setting(3600.0, "s", "The longest a run may take, whatever the provider does."),
    "MAX_ANSWER": Setting(2_000_000, "characters", "The longest answer; a longer one is ended with too_large."),
    "RUN_BUFFER": Setting(
        1024 * 1024,
        "bytes",
        "What a worker keeps of a run that can't be written now; past it, it stops reading the model.",
    ),
    "ON_RUN_END": Setting("", "", "Dotted path of a function(run) called after every final commit, at least once."),
    # the live part
    "EMBEDDED": Setting(None, "", "Worker and run log inside the web process. None: when there is no REDIS_URL."),
    "FLUSH_PAUSE": Setting(0.05, "s", "The longest pause between two flushes of a worker under load."),
    "CHECKPOINT_BYTES": Setting(
        128 * 1024, "bytes", "A run's log may hold so much before a checkpoint is due at once."
    ),
    "LOG_TAIL": Setting(10.0, "s", "What the log keeps behind the last checkpoint, for viewers who come right back."),
    "LOG_TTL": Setting(3600, "s", "When a log that nobody touches goes."),
    "LOG_LINGER": Setting(60, "s", "How long a run's log stays after its end."),
    "REDIS_TIMEOUT": Setting(5.0, "s", "Redis counts as away after so long without an answer."),
    "COMPARE": Setting(5.0, "s", "How often viewers' versions and seqs are compared with the truth: heals lost hints."),
}


DEMO: dict[str, dict[str, Any]] = {
    "demo": {"path": "chat.providers.demo.DemoProvider"},
    "panel": {
        "path": "chat.providers.panel.PanelProvider",
        "options": {"members": {"Ada": "demo/demo", "Grace": "demo/demo-fast", "Alan": "demo/demo-thinker"}},
    },
    "flow": {
        "path": "chat.providers.flow.FlowProvider",
        "options": {
            "phases": {
                "draft": "",
                "critique": "Say what is missing in this draft.",
                "final": "Write the answer anew, with that in mind.",
            },
            "model": "demo/demo-fast",
        },
    },
}
"""The providers of a project that has set none, and has no key."""


def _from_environment(name: str, default: Any) -> Any:
    value = os.environ.get(f"REJOIN_{name}")
    if value is None or not value.strip():  # compose files pass on what is not set as empty
        return default
    try:
        if isinstance(default, bool) or default is None:
            return value.strip().lower() in ("1", "true", "yes", "on")
        if isinstance(default, int):
            return int(value)
        if isinstance(default, float):
            return float(value)
        if isinstance(default, list):
            return [item.strip() for item in value.split(",") if item.strip()]
        if isinstance(default, dict):
            return json.loads(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"REJOIN_{name} must be like {default!r}.") from error
    return value


def __getattr__(name: str) -> Any:
    setting = SETTINGS.get(name)
    if setting is None:
        raise AttributeError(name)
    if hasattr(settings, f"REJOIN_{name}"):
        return getattr(settings, f"REJOIN_{name}")
    return _from_environment(name, setting.default)


def embedded() -> bool:
    """Whether worker and run log live in the web process."""
    chosen = __getattr__("EMBEDDED")
    return not settings.REDIS_URL if chosen is None else bool(chosen)


def guests() -> bool:
    """Whether strangers get a guest's account: with DEBUG, or when switched on."""
    return bool(__getattr__("GUESTS")) or bool(settings.DEBUG)


def providers() -> dict[str, dict[str, Any]]:
    """The providers by name, the one that answers first.

    Without a setting: ``openai`` when OPENAI_API_KEY or OPENAI_BASE_URL is set (a base URL needs no key), else
    ``demo``, with a panel and a flow of demo models to try.
    """
    chosen: dict[str, dict[str, Any]] = dict(__getattr__("PROVIDERS"))
    if not chosen:
        if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
            chosen["openai"] = {"path": "chat.providers.openai.OpenAIProvider"}
        else:
            chosen = {name: dict(entry) for name, entry in DEMO.items()}
    first = __getattr__("PROVIDER")
    if first:
        if first not in chosen:
            raise ImproperlyConfigured(f"REJOIN_PROVIDER names {first!r}, which REJOIN_PROVIDERS does not have.")
        chosen = {first: chosen.pop(first), **chosen}
    return chosen
