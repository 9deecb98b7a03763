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
from interop import telling

LIMIT = 300  # seconds for a scenario that names no LIMIT of its own
OUTCOME = "outcome.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scenario; `reason` is empty when it passed, else `log` is the end of what tells most of it."""

    package: str
    name: str
    reason: str
    seconds: float
    log: str = ""

    @property
    def title(self) -> str:
        """Its name on the command line."""
        return f"kernel/{self.name}" if ".kernel." in self.package else self.name

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
        """Run those of these scenarios that no other runner has begun; each outcome is shown and kept at once."""
        return [self._run(name) for name in names if self._begin(name)]

    def _begin(self, name: str) -> bool:
        try:
            (self.out / name).mkdir(parents=True)
        except FileExistsError:
            return False
        return True

    def _run(self, name: str) -> Outcome:
        logs, begin, reason = self.out / name, time.monotonic(), ""
        module = _module(self.package, name)
        try:
            with self._lab(logs.resolve()) as lab, telling.keeping(lab, logs), _limit(getattr(module, "LIMIT", LIMIT)):
                module.run(lab)
                self._judge(lab)
        except Exception as error:  # whatever it is, the next scenario runs
            reason = failure(error)
            (logs / "failure.txt").write_text(f"{reason}\n\n{traceback.format_exc()}")
        log = telling.told(logs) if reason else ""
        outcome = Outcome(self.package, name, reason, time.monotonic() - begin, log)
        (logs / OUTCOME).write_text(json.dumps(asdict(outcome)))
        result = f"failed: {reason}\n    its logs: {logs}" if reason else "passed"
        self._console.print(f"{outcome.title}: {result} ({outcome.seconds:.1f} s)", markup=False, highlight=False)
        return outcome


def scenarios(package: str) -> list[str]:
    """The names of all scenarios in a package."""
    return sorted(module.name for module in pkgutil.iter_modules(import_module(package).__path__))


def forget(out: Path, names: list[str]) -> None:
    """Remove what an earlier run left of these scenarios."""
    for name in names:
        shutil.rmtree(out / name, ignore_errors=True)


def recorded(package: str, out: Path, names: list[str], otherwise: str) -> list[Outcome]:
    """The outcomes that runners have kept below `out`; scenarios without one failed for the reason `otherwise`."""
    return [_recorded(out / name) or Outcome(package, name, otherwise, 0.0, telling.told(out / name)) for name in names]


def _recorded(logs: Path) -> Outcome | None:
    kept = logs / OUTCOME
    return Outcome(**json.loads(kept.read_text())) if kept.exists() else None


def table(outcomes: list[Outcome], elapsed: float) -> Table:
    """A line for each scenario: its name, what it shows, the result, the time; below, all took `elapsed` seconds."""
    view = Table("scenario", "shows", "result", "seconds", show_footer=True)
    for outcome in outcomes:
        result = "[red]failed" if outcome.reason else "[green]passed"
        view.add_row(outcome.title, outcome.shows, result, f"{outcome.seconds:.1f}")
    failed = sum(bool(outcome.reason) for outcome in outcomes)
    view.columns[0].footer = f"{len(outcomes)} scenarios"
    view.columns[1].footer = f"{len(outcomes) - failed} passed, {failed} failed, in {elapsed:.0f} s"
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
