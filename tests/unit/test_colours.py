"""The page's colours can be read: contrast of at least 4.5 to 1 (WCAG AA), in both schemes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

CSS = (Path(settings.BASE_DIR) / "static" / "chat" / "base.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]
)
GROUNDS = {
    "ground": ["text", "dim", "accent", "danger", "warn"],
    "side": ["text", "dim", "accent", "danger", *(name for name in LIGHT if name.startswith("code-"))],
    "raised": ["text", "dim"],
    "fill": ["text", "dim"],
    "hover": ["text"],
    "accent": ["on-accent"],
    "danger-fill": ["danger"],
}
"""What is written on what."""


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("ground", "ink"), [(ground, ink) for ground, inks in GROUNDS.items() for ink in inks])
def test_what_is_written_can_be_read(scheme: dict[str, str], ground: str, ink: str) -> None:
    assert contrast(scheme[ink], scheme[ground]) >= 4.5
