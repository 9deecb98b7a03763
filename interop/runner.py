"""Runs scenarios, each in a lab of its own and in limited time, and says what became of them."""

from __future__ import annotations

import json
import pkgutil
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

from ikeclone.demo.daemons import failure

LIMIT = 180  # seconds for a scenario that names no LIMIT of its own
OUTCOMES = "outcomes.jsonl"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scenario; `reason` is empty when it passed."""

    package: str
    name: str
    reason: str
    seconds: float

    @property
    def shows(self) -> str:
        """The first line of what the scenario says of itself."""
        return (_module(self.package, self.name).__doc__ or "").strip().splitlines()[0]


class Runner:
    """The scenarios of one package, in labs that `lab` makes for a directory of logs; all files go below `out`.

    `judge` looks at the lab of each scenario at its end, and raises what it finds wrong.
    """

    def __init__(
        self,
        package: str,
        out: Path,
        lab: Callable[[Path], AbstractContextManager[Any]],
        judge: Callable[[Any], object] = lambda _: None,
    ) -> None:
        self.package, self.out, self._lab, self._judge = package, out, lab, judge
        self._console = Console(width=140)

    def run(self, names: list[str]) -> list[Outcome]:
        """Run these scenarios; each outcome is shown and written down as soon as it is known."""
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / OUTCOMES).open("w") as record:
            outcomes = []
            for name in names:
                outcome = self._run(name)
                outcomes.append(outcome)
                print(json.dumps(asdict(outcome)), file=record, flush=True)
        return outcomes

    def _run(self, name: str) -> Outcome:
        logs, begin, reason = self.out / name, time.monotonic(), ""
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        module = _module(self.package, name)
        try:
            with self._lab(logs.resolve()) as lab, _limit(getattr(module, "LIMIT", LIMIT)):
                module.run(lab)
                self._judge(lab)
        except Exception as error:  # whatever it is, the next scenario runs
            reason = failure(error)
            (logs / "failure.txt").write_text(f"{reason}\n\n{traceback.format_exc()}")
        outcome = Outcome(self.package, name, reason, time.monotonic() - begin)
        result = f"failed: {reason}\n    its logs: {logs}" if reason else "passed"
        self._console.print(f"{name}: {result} ({outcome.seconds:.1f} s)", markup=False, highlight=False)
        return outcome


def scenarios(package: str) -> list[str]:
    """The names of all scenarios in a package."""
    return sorted(module.name for module in pkgutil.iter_modules(import_module(package).__path__))


def recorded(package: str, out: Path, names: list[str], otherwise: str) -> list[Outcome]:
    """The outcomes that a runner wrote down below `out`; scenarios without one failed for the reason `otherwise`."""
    record = out / OUTCOMES
    lines = record.read_text().splitlines() if record.exists() else []
    known = {outcome.name: outcome for outcome in (Outcome(**json.loads(line)) for line in lines)}
    return [known.get(name, Outcome(package, name, otherwise, 0.0)) for name in names]


def table(outcomes: list[Outcome]) -> Table:
    """A line for each scenario: its name, what it shows, the result, the time."""
    view = Table("scenario", "shows", "result", "seconds", show_footer=True)
    for outcome in outcomes:
        where = "kernel/" if ".kernel." in outcome.package else ""
        result = "[red]failed" if outcome.reason else "[green]passed"
        view.add_row(where + outcome.name, outcome.shows, result, f"{outcome.seconds:.1f}")
    failed = sum(bool(outcome.reason) for outcome in outcomes)
    view.columns[0].footer = f"{len(outcomes)} scenarios"
    view.columns[1].footer = f"{len(outcomes) - failed} passed, {failed} failed"
    view.columns[3].footer = f"{sum(outcome.seconds for outcome in outcomes):.0f}"
    return view


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block when it takes longer."""

    def end(_: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the scenario was ended after {seconds:.0f} s")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _module(package: str, name: str) -> ModuleType:
    return import_module(f"{package}.{name}")
