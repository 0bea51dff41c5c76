"""What a field means, in a few words. It stands beside the field's type, and so in each schema that is made of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field


def means(*lines: str) -> Any:
    """For ``Annotated``: what the field means."""
    return Field(description=" ".join(lines))
