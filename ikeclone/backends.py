"""Finding a data plane among the installed ones."""

from __future__ import annotations

from importlib.metadata import entry_points

from ikeclone.backend import Backend
from ikeclone.errors import LocalError

GROUP = "ikeclone.backends"

# What `auto` tries, in this order. The in-memory one carries no packets, so it has to be asked for.
PREFERENCE = ("xfrm", "esp")


def load_backend(name: str) -> Backend:
    """The data plane of that name, or for `auto` the first that is installed; raises LocalError."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    names = [wanted for wanted in PREFERENCE if wanted in found] if name == "auto" else [name]
    if not names or names[0] not in found:
        installed = ", ".join(sorted(found)) or "none"
        raise LocalError(f"the data plane {name} is not installed (there are: {installed})")
    backend: Backend = found[names[0]].load()()
    return backend
