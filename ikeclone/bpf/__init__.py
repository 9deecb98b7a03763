"""eBPF without a compiler: a small assembler, and bpf(2). For the daemon's plugins."""

from ikeclone.bpf.assembler import Code, Jump, Op, Reg, Size
from ikeclone.bpf.syscall import Map, MapType, Program, ProgramType, duration, name_of, possible_cpus, run

__all__ = [
    "Code", "Jump", "Map", "MapType", "Op", "Program", "ProgramType", "Reg", "Size",
    "duration", "name_of", "possible_cpus", "run",
]  # fmt: skip
