"""Random walks of the stateful tests, others each time: `python -m tests.property --walks 5000`.

The steps of a walk that fails are told, and the walking goes on; `--seed` walks the same way again, `--shrink` looks
for fewer steps that fail, which takes minutes.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from random import SystemRandom

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.property.test_clones import Clones
from tests.property.test_endpoints import TwoEndpoints
from tests.property.test_gateways import Gateways

MACHINES: dict[str, type[RuleBasedStateMachine]] = {
    "endpoints": TwoEndpoints,
    "gateways": Gateways,
    "clones": Clones,
}
# Walks with one seed. The first of them is always the shortest.
BATCH = 50


def failure(machine: type[RuleBasedStateMachine], number: int, walks: int, *, shrink: bool) -> str:
    """What fails in walks with this seed, and how one comes there; nothing if all is well."""
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    how = settings(
        machine.TestCase.settings,
        max_examples=walks,
        phases=phases,
        derandomize=False,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    walker = seed(number)(type(machine.__name__, (machine,), {}))
    try:
        run_state_machine_as_test(walker, settings=how)
    except Exception as error:
        return "".join(traceback.format_exception(error, limit=-3))
    return ""


def campaign(name: str, first: int, walks: int, *, shrink: bool) -> int:
    """Walk so many times; how many batches fail."""
    begun, done, failures = time.monotonic(), 0, 0
    for number in range(first, first + -(-walks // BATCH)):
        size = min(BATCH, walks - done)
        told = failure(MACHINES[name], number, size, shrink=shrink)
        failures += bool(told)
        done += size
        if told:
            sys.stdout.write(f"\n{name}, --seed {number} --walks {size}:\n{told}")
        sys.stdout.write(f"{done} walks of {name} in {time.monotonic() - begun:.0f} s, {failures} failed\n")
        sys.stdout.flush()
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.property")
    parser.add_argument("machine", nargs="?", choices=MACHINES, default="endpoints", help="which test walks")
    parser.add_argument("--walks", type=int, default=1000)
    parser.add_argument("--seed", type=int, help=f"of the first {BATCH} walks; the next ones have the next number")
    parser.add_argument("--shrink", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first = SystemRandom().randrange(2**32) if options.seed is None else options.seed
    return min(campaign(options.machine, first, options.walks, shrink=options.shrink), 1)


if __name__ == "__main__":
    sys.exit(main())
