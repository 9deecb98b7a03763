"""What all sets of keywords have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


def _dashed(name: str) -> str:
    return name.replace("_", "-")


class Keyworded(BaseModel):
    """A set of keywords; every value comes as text."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_dashed)
