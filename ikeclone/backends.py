"""Finding a data plane among the installed ones."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint, entry_points

from ikeclone.backend import Backend
from ikeclone.errors import BackendError, LocalError

GROUP = "ikeclone.backends"

# What `auto` tries, in this order. The in-memory one carries no packets, so it has to be asked for.
PREFERENCE = ("xfrm", "esp")

log = logging.getLogger(__name__)


async def start_backend(name: str) -> Backend:
    """Start the data plane of that name, or for `auto` the first that works here; raises LocalError."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name == "auto":
        return await _start_first([found[wanted] for wanted in PREFERENCE if wanted in found])
    if name not in found:
        installed = ", ".join(sorted(found)) or "none"
        raise LocalError(f"the data plane {name} is not installed (there are: {installed})")
    return await _start(found[name])


async def _start_first(candidates: list[EntryPoint]) -> Backend:
    reasons = []
    for candidate in candidates:
        try:
            return await _start(candidate)
        except BackendError as error:
            log.info("the data plane %s does not work here: %s", candidate.name, error)
            reasons.append(f"{candidate.name}: {error}")
    raise LocalError(f"no data plane works here: {'; '.join(reasons) or 'none is installed'}")


async def _start(candidate: EntryPoint) -> Backend:
    backend: Backend = candidate.load()()
    await backend.start()
    return backend
