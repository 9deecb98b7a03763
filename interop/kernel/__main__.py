"""Run the kernel's scenarios alone, in guests: `python -m interop.kernel [--out DIR] [NAME …]`.

Exit code 1: one failed, 2: none can run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from interop.__main__ import report, unable
from interop.kernel import guest
from interop.lab import BUILD, debian_root
from interop.runner import scenarios


def main() -> int:
    known = scenarios(guest.PACKAGE)
    parser = argparse.ArgumentParser(prog="python -m interop.kernel", description="Scenarios with kernel IPsec.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)}; all by default")
    parser.add_argument("--out", type=Path, default=guest.OUT, help="for logs, in the checkout")
    parser.add_argument("--guest", type=Path, metavar="ROOT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    names = arguments.names or known
    if arguments.guest:
        return guest.inside(arguments.guest, arguments.out, names)
    if unable(BUILD, guest.BUILD):
        return 2
    begin = time.monotonic()
    with guest.Guests(debian_root(), arguments.out, names) as guests:
        return report(guests.outcomes(), time.monotonic() - begin, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
