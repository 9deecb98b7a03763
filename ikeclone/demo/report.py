"""The steps of the demonstration as a table: what was done, what it showed, whether it held, the time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from rich.table import Column, Table
from rich.text import Text


class DoesNotHoldError(Exception):
    """A step showed something else than it should."""


class Result(Enum):
    """What became of a step, and the colour it is shown in."""

    HELD = "green"
    SKIPPED = "yellow"
    FAILED = "red"

    def __str__(self) -> str:
        return f"[{self.value}]{self.name.lower()}"


@dataclass(slots=True)
class Step:
    """One line of the table; `shown` is filled in while it runs. `output` is printed before it, as it is."""

    title: str
    shown: list[str] = field(default_factory=list)
    output: str = ""
    result: Result = Result.HELD
    seconds: float = 0.0

    def show(self, text: str) -> None:
        self.shown.append(text)

    def skip(self, reason: str) -> None:
        """Say that this step cannot be shown here, and why."""
        self.show(reason)
        self.result = Result.SKIPPED


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
        step = Step(title)
        self._steps.append(step)
        begin = time.monotonic()
        try:
            yield step
        except BaseException:
            step.result = Result.FAILED
            raise
        finally:
            step.seconds = time.monotonic() - begin

    def table(self) -> Table:
        table = Table("step", "shown", "result", Column("seconds", justify="right"), show_lines=True)
        for step in self._steps:
            table.add_row(step.title, Text("\n".join(step.shown)), str(step.result), f"{step.seconds:.2f}")
        return table

    def summary(self) -> str:
        """One line about all of them."""
        results = Counter(step.result for step in self._steps)
        seconds = sum(step.seconds for step in self._steps)
        if results[Result.FAILED]:
            return f"failed, {seconds:.1f} s"
        others = f" but {results[Result.SKIPPED]}, skipped" if results[Result.SKIPPED] else ""
        return f"every step held{others}, {seconds:.1f} s"
