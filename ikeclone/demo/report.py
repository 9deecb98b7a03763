"""The steps of the demonstration as a table: what was done, what it showed, whether it held, the time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.table import Column, Table
from rich.text import Text


class DoesNotHoldError(Exception):
    """A step showed something else than it should."""


@dataclass(slots=True)
class Step:
    """One line of the table; `shown` is filled in while it runs."""

    title: str
    shown: list[str] = field(default_factory=list)
    result: str = "not run"
    seconds: float = 0.0

    def show(self, text: str) -> None:
        self.shown.append(text)


def check(holds: bool, otherwise: str) -> None:
    """Raise DoesNotHoldError, saying `otherwise`, unless it holds."""
    if not holds:
        raise DoesNotHoldError(otherwise)


class Steps:
    """The steps in order. Those after a failed one are not run."""

    def __init__(self) -> None:
        self._steps: list[Step] = []

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run the body as a step: it holds unless the body raises something, which goes on upwards."""
        step = Step(title, result="[red]failed")
        self._steps.append(step)
        begin = time.monotonic()
        try:
            yield step
            step.result = "[green]held"
        finally:
            step.seconds = time.monotonic() - begin

    def table(self) -> Table:
        table = Table("step", "shown", "result", Column("seconds", justify="right"), show_lines=True)
        for step in self._steps:
            table.add_row(step.title, Text("\n".join(step.shown)), step.result, f"{step.seconds:.2f}")
        return table

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self._steps)
