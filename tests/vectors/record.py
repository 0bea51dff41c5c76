"""Records what a real server sends, into tests/vectors/recorded_*.json: ``python -m tests.vectors.record``.

Needed anew when the protocol changes. A deployment is started, with a scripted model; one client does things, another
one's frames are what is recorded. What is expected comes from a third one, which opens the thread when all is done: the
rule is that who followed along holds what that one gets.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from chat.client import Transcript
from tests.client import Client, guest
from tests.servers.stack import Stack, Templates
from tests.vectors import VECTORS

SLOW = {"chunks": 12, "pause": 0.005}


class Recorder(Client):
    """The client whose events are recorded."""

    def __init__(self, url: str, session: str) -> None:
        super().__init__(url, session)
        self.frames: list[dict[str, Any]] = []
        self.effects: list[str] = []

    def apply(self, topic: str, event: dict[str, Any]) -> None:
        self.frames.append(event)
        super().apply(topic, event)


class Scene:
    """Two clients at one thread. ``doer`` acts, ``recorder`` looks on."""

    def __init__(self, stack: Stack, doer: Client, recorder: Recorder, thread: str) -> None:
        self.stack, self.doer, self.recorder, self.thread = stack, doer, recorder, thread

    @property
    def seen(self) -> Transcript:
        return self.recorder.thread(self.thread)

    async def ask(self, **script: Any) -> str:
        """The run of a question to the scripted model."""
        _, run = await self.doer.send(self.thread, json.dumps(script))
        return run

    async def says(self, run: str, length: int) -> None:
        """Everybody has so much of it."""
        for client in (self.doer, self.recorder):
            await client.text_of(self.thread, run, length)

    async def ends(self, run: str) -> None:
        for client in (self.doer, self.recorder):
            await client.ended(self.thread, run)

    async def whole(self, **script: Any) -> str:
        run = await self.ask(**script)
        await self.ends(run)
        return run


# ------------------------------------------------------------------------------------------------------------- scenes


async def answers(scene: Scene) -> None:
    """Two answers are followed from their first part to their last, with what the model thinks."""
    await scene.whole(**SLOW, reasoning=5, seed="first")
    await scene.whole(**SLOW, seed="second")


async def stop(scene: Scene) -> None:
    """An answer full of odd characters is stopped where somebody has read it; the next one goes on from there."""
    run = await scene.ask(chunks=30, gate="never", after=25, size=2, seed="stop", reasoning=3)
    await scene.says(run, 40)
    [answer] = scene.doer.thread(scene.thread).answers(run)
    await scene.doer.stop(scene.thread, run, seen={answer.id: 37})
    await scene.ends(run)
    await scene.whole(**SLOW, seed="next")


async def reconnects(scene: Scene) -> None:
    """The connection is lost again and again while an answer is written; each time what is missing comes, no more."""
    run = await scene.ask(chunks=100, pause=0.01, seed="reconnects")
    for length in (50, 150, 250):
        await scene.says(run, length)
        await scene.recorder.reconnect()
    await scene.ends(run)


async def away(scene: Scene) -> None:
    """The connection is lost in mid-answer and comes back after its end and another one's."""
    run = await scene.ask(chunks=40, gate="away", after=20, seed="away")
    await scene.says(run, 50)
    await scene.recorder.disconnect()
    scene.stack.model.open_gate("away")
    await scene.doer.ended(scene.thread, run)
    run = await scene.ask(**SLOW, seed="unheard")
    await scene.doer.ended(scene.thread, run)
    await scene.recorder.connect()
    await scene.recorder.ended(scene.thread, run)


async def queue(scene: Scene) -> None:
    """Questions wait behind an answer; one of them is taken back, the others have their turn."""
    first = await scene.ask(chunks=20, gate="queue", after=10, seed="queue")
    await scene.says(first, 20)
    runs = [await scene.ask(**SLOW, seed=f"waiting {n}") for n in range(3)]
    await scene.doer.do("stop", thread=scene.thread, run=runs[1])
    scene.stack.model.open_gate("queue")
    await scene.ends(runs[2])


async def versions(scene: Scene) -> None:
    """A question is edited, its answer asked for again, and the first version selected in the end."""
    await scene.whole(**SLOW, seed="versions")
    transcript = scene.doer.thread(scene.thread)
    question, answer = transcript.path
    edited = await scene.doer.edit(scene.thread, question.id, json.dumps({**SLOW, "seed": "edited"}))
    await scene.ends(edited.run)
    await scene.ends(await scene.doer.regenerate(scene.thread, transcript.path[-1].id))
    await scene.doer.select(scene.thread, answer.id)
    await scene.recorder.wait_until(lambda: scene.seen.path[-1].id == answer.id)


async def continued(scene: Scene) -> None:
    """An answer is stopped, and goes on in the same message."""
    run = await scene.ask(chunks=30, gate="continued", after=20, seed="continued")
    await scene.says(run, 50)
    await scene.doer.stop(scene.thread, run)
    await scene.ends(run)
    scene.stack.model.open_gate("continued")
    await scene.ends(await scene.doer.continue_(scene.thread, scene.doer.thread(scene.thread).path[-1].id))


async def failure(scene: Scene) -> None:
    """The model's server fails in mid-answer; what was said is kept."""
    await scene.whole(chunks=20, after=10, error={"message": "Overloaded", "code": 503}, seed="failure")


SCENES: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    answers,
    stop,
    reconnects,
    away,
    queue,
    versions,
    continued,
    failure,
)


# ----------------------------------------------------------------------------------------------------------- recording


async def record(stack: Stack, scene: Callable[[Scene], Awaitable[None]]) -> None:
    """Play the scene, and write its vector."""
    session = await guest(stack.url)
    async with Client(stack.url, session) as doer, Recorder(stack.url, session) as recorder:
        thread = await doer.create()
        await doer.follow(thread)
        await recorder.follow(thread)
        await scene(Scene(stack, doer, recorder, thread))
        async with Client(stack.url, session) as fresh:
            transcript = await fresh.follow(thread)
            await recorder.wait_until(lambda: recorder.thread(thread).version == transcript.version)
            write(f"recorded_{scene.__name__}", scene.__doc__ or "", thread, recorder.frames, transcript)


def write(name: str, about: str, thread: str, frames: list[dict[str, Any]], held: Transcript) -> None:
    """One frame a line: it is read by people, too."""
    shown = ("id", "role", "status", "text", "reasoning", "reasoning_ms")
    expected = {
        "path": [{field: getattr(message, field) for field in shown} for message in held.path],
        "queued": [message.id for message in held.queued],
        "version": held.version,
        "cursor": held.cursor,
        "gone": held.gone,
        "resync": False,
    }
    head = {"name": name, "about": about, "thread": thread}
    lines = [f"  {compact(key)}: {compact(value)}," for key, value in head.items()]
    lines += ['  "frames": [', ",\n".join(f"    {compact(frame)}" for frame in frames), "  ],"]
    lines += [f'  "effects": {compact(["applied"] * len(frames))},', f'  "expected": {compact(expected)}']
    (VECTORS / f"{name}.json").write_text("\n".join(["{", *lines, "}", ""]), "utf-8")


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        templates = Templates(Path(directory) / "templates")
        (Path(directory) / "templates").mkdir()
        (Path(directory) / "stack").mkdir()
        with Stack("sqlite+embedded+daphne", directory=Path(directory) / "stack", templates=templates) as stack:
            for scene in SCENES:
                asyncio.run(record(stack, scene))
                print(scene.__name__)


if __name__ == "__main__":
    main()
