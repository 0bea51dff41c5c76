"""Colouring code takes no time that grows without bound, whatever the code is."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from pygments.lexers import get_lexer_by_name

from chat import colours
from tests.servers.process import ROOT

LEXERS = sorted({get_lexer_by_name(name).aliases[0] for name in colours.LANGUAGES})


def end_of_hard_code(name: str) -> int:
    command = [sys.executable, "-m", "tests.markdown.hard_code", name]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("name", LEXERS)
def test_a_language_that_is_coloured_can_not_be_made_to_take_for_ever(name: str) -> None:
    assert end_of_hard_code(name) == 0


def test_one_that_can_be_made_to_would_be_found() -> None:
    assert end_of_hard_code("mcschema") in (-signal.SIGKILL, -signal.SIGXCPU)


def test_every_name_is_one_that_is_known() -> None:
    for name in colours.LANGUAGES:
        assert name in get_lexer_by_name(name).aliases


@pytest.mark.parametrize(
    ("language", "hard", "fine"),
    [
        ("python", "x" * 1_000, "x" * 999 + "\n" + "x" * 999),
        ("python", "x" + " \n" * 50, "x" + " \n" * 49),
        ("python", "x\n" * 5_001, "x\n" * 5_000),
        ("java", "a " * 150, "a(); " * 150),
        ("c#", "a\n" * 150, "a;\n" * 150),
        ("Ruby", "f(<<~A, <<-B, <<C, <<'D')\n", "f(<<~A, <<-B, <<C)\nA\nB\nC\nx << 1 << 2 << 3 << 4\n"),
    ],
)
def test_code_that_is_hard_is_left_without_colours(language: str, hard: str, fine: str) -> None:
    assert colours.coloured(hard, language) is None
    assert "<span" in (colours.coloured(fine, language) or "")
