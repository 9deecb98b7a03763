"""Layers look down only, and the core knows no clock, no network and no randomness."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A module may import those named with it, itself and what lies within it.
ALLOWED: dict[str, set[str]] = {
    "ikeclone.numbers": set(),
    "ikeclone.selectors": set(),
    "ikeclone.errors": {"ikeclone.numbers"},
    "ikeclone.handling": set(),
    "ikeclone.limits": set(),
    "ikeclone.backend": {
        "ikeclone.numbers",
        "ikeclone.errors",
        "ikeclone.selectors",
        "ikeclone.handling",
        "ikeclone.limits",
    },
    "ikeclone.bpf": set(),
    "ikeclone.route_news": {"ikeclone.bpf"},
    "ikeclone.steering": {"ikeclone.backend", "ikeclone.errors"},
    "ikeclone.updown": {"ikeclone.backend"},
    "ikeclone.resolver": {"ikeclone.backend"},
    "ikeclone.wire": {"ikeclone.numbers", "ikeclone.errors", "ikeclone.selectors"},
    "ikeclone.crypto": {"ikeclone.numbers", "ikeclone.errors", "ikeclone.wire", "ikeclone.backend"},
    "ikeclone.eap": {"ikeclone.numbers", "ikeclone.errors", "ikeclone.wire.reader", "ikeclone.crypto"},
    "ikeclone.connection": {
        "ikeclone.handling",
        "ikeclone.numbers",
        "ikeclone.selectors",
        "ikeclone.wire",
        "ikeclone.backend",
        "ikeclone.crypto",
        "ikeclone.pki.dn",
    },
    "ikeclone.pki": {"ikeclone.numbers", "ikeclone.errors", "ikeclone.crypto", "ikeclone.connection"},
    "ikeclone.credentials": {"ikeclone.connection", "ikeclone.crypto.signature", "ikeclone.pki"},
    "ikeclone.ike": {
        "ikeclone.numbers",
        "ikeclone.errors",
        "ikeclone.selectors",
        "ikeclone.backend",
        "ikeclone.wire",
        "ikeclone.crypto",
        "ikeclone.eap",
        "ikeclone.pki",
        "ikeclone.connection",
        "ikeclone.credentials",
    },
    "ikeclone.config": {
        "ikeclone.numbers",
        "ikeclone.errors",
        "ikeclone.selectors",
        "ikeclone.backend",
        "ikeclone.steering",
        "ikeclone.resolver",
        "ikeclone.wire.payloads",
        "ikeclone.crypto.registry",
        "ikeclone.crypto.schemes",
        "ikeclone.crypto.signature",
        "ikeclone.pki",
        "ikeclone.connection",
        "ikeclone.credentials",
    },
    "ikeclone.control": {"ikeclone.errors"},
    "ikeclone.memory": {"ikeclone.backend"},
    "ikeclone_esp": {"ikeclone.backend", "ikeclone.bpf", "ikeclone.route_news"},
    "ikeclone_steering": {"ikeclone.steering", "ikeclone.bpf"},
    "ikeclone_updown": {"ikeclone.updown", "ikeclone.resolver"},
    "ikeclone_xfrm": {"ikeclone.backend", "ikeclone.bpf", "ikeclone.route_news"},
}
SANS_IO = ("ikeclone.wire", "ikeclone.crypto", "ikeclone.eap", "ikeclone.pki", "ikeclone.ike", "ikeclone.config")
FORBIDDEN = {"asyncio", "socket", "time", "random", "secrets", "select", "subprocess", "threading"}


@cache
def modules() -> dict[str, Path]:
    found = {}
    for folder in (ROOT / "ikeclone", *(ROOT / "plugins").iterdir()):
        top = folder.name
        for path in folder.rglob("*.py"):
            parts = [top, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports(path: Path) -> set[str]:
    """The modules that a file imports; `from package import module` counts as the module."""
    known, names = modules(), set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = (f"{node.module}.{alias.name}" for alias in node.names)
            names |= {part if part in known else node.module for part in parts}
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_look_down(package: str) -> None:
    known = modules()
    for module, path in known.items():
        if within(module, package):
            used = {n for n in imports(path) if n in known and "." in n}
            wrong = {n for n in used if not any(within(n, ok) for ok in (package, *ALLOWED[package]))}
            assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("package", SANS_IO)
def test_the_core_does_no_input_or_output(package: str) -> None:
    for module, path in modules().items():
        if within(module, package):
            assert not imports(path) & FORBIDDEN, module


def test_the_command_line_speaks_to_the_control_socket_only() -> None:
    for module, path in modules().items():
        if within(module, "ikeclone.cli"):
            eager = {n.split(".")[0] for n in top_level(path)}
            assert not eager & {"pyroute2", "cryptography", "asyncio_dgram", "numpy"}, module


def top_level(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    lines = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.name for node in lines if isinstance(node, ast.Import) for alias in node.names} | {
        node.module for node in lines if isinstance(node, ast.ImportFrom) and node.module
    }
