"""``make bench``: measures, and prints the figures of docs/benchmarks.md.

    make bench ARGS="--window 3 --only streams"

It takes about twenty minutes and a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import resource
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from benchmarks import attach, catchup, idle, page, restart, stop, streams
from benchmarks.deployment import REJOIN, STOCK, Machine
from benchmarks.streams import Figures, Line
from tests.browser.site import first_visit

LINES = (Line(1), Line(50), Line(200), Line(1, viewers=200), Line(50, http=True))
SYSTEMS = dict(zip(("rejoin", "pubsub", "core"), (REJOIN, *STOCK), strict=True))
IDLE = 1000
TIMES = 50
"""Attaches of each kind."""
STOPS = 100
BESIDE = 50
"""Streams that go on while somebody stops, or while the web server is restarted."""
BACK = 500
RESTARTS = 5
RATES = (400, 2_000)
"""Characters a second that the page gets."""
PACKAGES = ("Django", "channels", "channels-redis", "redis", "uvicorn", "websockets")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--window", type=float, default=8.0, help="seconds that are measured of each line of streams")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part of it, or several")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="not all of them")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the processes inherit it
    print(about(), flush=True)
    with Machine() as machine:
        sessions = machine.people(IDLE)
        for part in options.only or PARTS:
            PARTS[part](machine, sessions, options)


def about() -> str:
    """The machine and what runs on it, in a line."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{processor()}, {os.cpu_count()} cores, {load}, Python {platform.python_version()}, {packages}\n"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def print_streams(machine: Machine, sessions: list[str], options: argparse.Namespace) -> None:
    systems = [SYSTEMS[name] for name in options.system or SYSTEMS]
    print("CPU in µs per token that was delivered; latency in ms from when a token was due to when it was read.\n")
    print_head("", "", columns=("delivered", "worker", "web", "both", "", "Redis", "p50", "p99"))
    for line in LINES:
        first = 0.0
        for system in systems:
            with machine.deploy(system) as deployment:
                figures = asyncio.run(streams.measure(deployment, line, sessions, options.window))
            first = first or figures.worker + figures.web
            print_row(["" if system != systems[0] else str(line), system, *cells(figures, first)])
    print()


def cells(figures: Figures, first: float) -> list[str]:
    """``first``: what the line's first system takes, to compare with."""
    both = figures.worker + figures.web
    return [
        "100 %" if figures.delivered == 1 else f"{figures.delivered:.1%}",
        *(f"{seconds * 1e6:,.0f}" for seconds in (figures.worker, figures.web, both)),
        "" if both == first else f"{both / first:.1f} ×",
        f"{figures.redis * 1e6:,.0f}",
        *(f"{seconds * 1e3:,.1f}" for seconds in (figures.p50, figures.p99)),
    ]


def print_transports(machine: Machine, sessions: list[str], options: argparse.Namespace) -> None:
    print("CPU in µs per token that was delivered; latency in ms.\n")
    print_head(f"{Line(BESIDE)}, by", columns=("delivered", "worker", "web", "both", "", "Redis", "p50", "p99"))
    first = 0.0
    for name, line in (("websocket", Line(BESIDE)), ("server-sent events", Line(BESIDE, sse=True))):
        with machine.deploy(REJOIN) as deployment:
            figures = asyncio.run(streams.measure(deployment, line, sessions, options.window))
        first = first or figures.worker + figures.web
        print_row([name, *cells(figures, first)])
    print()


def print_attach(machine: Machine, sessions: list[str], options: argparse.Namespace) -> None:
    with machine.deploy(REJOIN) as deployment:
        found = asyncio.run(attach.measure(deployment, sessions[0]))
    columns = ("p50", "p99", "bytes sent", "of the missing text")
    print_head("attach to an answer of 100 kB that is being said", columns=columns)
    for name, sum_ in (("from nothing", found.from_nothing), ("from a cursor in the middle", found.from_middle)):
        times = [f"{seconds * 1e3:.1f} ms" for seconds in (sum_.p50, sum_.p99)]
        print_row([name, *times, f"{sum_.bytes / len(sum_.seconds):,.0f}", f"{sum_.ratio:.2f} ×"])
    print(f"\nRedis held at most {found.redis / 1000:.0f} kB for that answer at any time.\n")


def print_catchup(machine: Machine, sessions: list[str], options: argparse.Namespace) -> None:
    with machine.deploy(REJOIN) as deployment:
        found = asyncio.run(catchup.measure(machine, deployment, sessions[0], TIMES))
    print_head(f"come back to a chat of {catchup.TURNS:,} turns", columns=("p50", "p99", "bytes sent"))
    for each in found:
        print_row([each.name, f"{each.p50 * 1e3:.1f} ms", f"{each.p99 * 1e3:.1f} ms", f"{each.bytes:,}"])
    print()


def print_stop(machine: Machine, sessions: list[str], options: argparse.Namespace) -> None:
    names = ("stop kept", "model's connection closed", "cut, and shown so")
    columns = [f"{name}, {percent}" for name in names for percent in ("p50", "p99")]
    print_head(f"{STOPS} stops, ms from the command", columns=columns)
    for beside in (0, BESIDE):
        with machine.deploy(REJOIN) as deployment:
            found = asyncio.run(stop.measure(machine, deployment, sessions, beside, STOPS))
        name = f"beside {beside} streams" if beside else "nothing else"
        print_row([name, *(f"{seconds * 1e3:.1f}" for seconds in found.percentiles())])
    print()


def print_restart(machine: Machine, sessions: list[str], options: argparse.Namespace) -> None:
    with machine.deploy(REJOIN) as deployment:
        found = asyncio.run(restart.measure(deployment, sessions[:BACK], BESIDE, RESTARTS))
    columns = ("half are back", "all are back", "CPU of web", "away before")
    print_head(f"{BACK} clients come back at once", columns=columns)
    for number, each in enumerate(found, 1):
        seconds = (each.p50, each.last, each.cpu, each.away)
        print_row([f"restart {number}", *(f"{value:.2f} s" for value in seconds)])
    print()


def print_idle(machine: Machine, sessions: list[str], options: argparse.Namespace) -> None:
    with machine.deploy(REJOIN) as deployment:
        each = asyncio.run(idle.measure(deployment, sessions))
    print(f"{len(sessions):,} attached clients that wait: {each / 1000:.0f} kB each in the web server.\n")


def print_page(machine: Machine, sessions: list[str], options: argparse.Namespace) -> None:
    columns = ("characters/s", "wall", "main thread", "script", "layout", "longest task", "memory")
    print_head("an answer of 100 kB", columns=columns)
    with page.site() as (site, browser):
        for name, text in page.KINDS.items():
            for rate in RATES if name == "mixed" else RATES[-1:]:
                found = page.stream(site, browser, text, rate)
                times = [f"{seconds:.1f} s" for seconds in (found.wall, found.main, found.script, found.layout)]
                print_row([name, f"{rate:,}", *times, f"{found.longest * 1e3:.0f} ms", f"{found.memory / 1e6:.0f} MB"])
        print(f"\nA thread of {page.MESSAGES:,} messages: {page.long_thread(site, browser):.2f} s to its last message.")
        visit = first_visit(site, browser)
        contents, whole = (f"{size / 1000:.0f} kB" for size in (visit.contents, visit.whole))
        print(f"A first visit: {contents} in {visit.files} files, with the heads of the responses {whole}.\n")


PARTS = {
    "streams": print_streams,
    "transports": print_transports,
    "attach": print_attach,
    "catchup": print_catchup,
    "stop": print_stop,
    "restart": print_restart,
    "idle": print_idle,
    "page": print_page,
}


def print_head(*names: str, columns: Iterable[str]) -> None:
    """``names`` are words, ``columns`` figures."""
    columns = list(columns)
    print_row([*names, *columns])
    print_row(["---"] * len(names) + ["---:"] * len(columns))


def print_row(row: Iterable[str]) -> None:
    print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
