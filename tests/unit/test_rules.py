"""The rules that break_rules.py breaks are where it looks for them."""

from __future__ import annotations

import pytest

from tests.servers.process import ROOT
from tests.stateful.break_rules import RULES


@pytest.mark.parametrize("rule", RULES)
def test_the_code_of_each_rule_is_there(rule: str) -> None:
    for name, old, new in RULES[rule]:
        assert old in (ROOT / name).read_text(), name
        assert old != new
