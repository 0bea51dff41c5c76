"""Questions asked together: few are asked, and nobody is given an answer that is older than the question."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from chat.replication.together import Together


class Oracle:
    """Answers when it is let, with how many questions there have been."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.gate = asyncio.Event()
        self.fails = False

    async def __call__(self, keys: Collection[str]) -> dict[str, int]:
        self.asked.append(set(keys))
        answer = dict.fromkeys(set(keys) - {"unknown"}, len(self.asked))
        await self.gate.wait()
        if self.fails:
            raise OSError
        return answer


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


@pytest.fixture
def together(oracle: Oracle) -> Together[str, int]:
    return Together(oracle)


async def asking(together: Together[str, int], *keys: str) -> list[asyncio.Task[int | None]]:
    """Tasks that have asked, and wait."""
    tasks = [asyncio.create_task(together.get(key)) for key in keys]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_all_who_ask_at_one_moment_share_a_question(oracle: Oracle, together: Together[str, int]) -> None:
    tasks = await asking(together, "a", "b", "a", "unknown")
    oracle.gate.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1, None]
    assert oracle.asked == [{"a", "b", "unknown"}]


async def test_who_comes_while_a_question_is_asked_gets_the_answer_to_the_next(
    oracle: Oracle, together: Together[str, int]
) -> None:
    first = await asking(together, "a")
    later = [*await asking(together, "a"), *await asking(together, "b")]
    assert oracle.asked == [{"a"}]
    oracle.gate.set()
    assert await asyncio.gather(*first, *later) == [1, 2, 2]
    assert oracle.asked == [{"a"}, {"a", "b"}]


async def test_a_failure_is_told_to_all_who_asked_and_to_nobody_after(
    oracle: Oracle, together: Together[str, int]
) -> None:
    oracle.fails = True
    tasks = await asking(together, "a", "b")
    oracle.gate.set()
    for task in tasks:
        with pytest.raises(OSError):
            await task
    oracle.fails = False
    assert await together.get("a") == 2


async def test_who_stops_waiting_takes_the_answer_from_nobody(oracle: Oracle, together: Together[str, int]) -> None:
    leaving, staying = await asking(together, "a", "b")
    leaving.cancel()
    await asyncio.wait({leaving})
    oracle.gate.set()
    assert await staying == 1
