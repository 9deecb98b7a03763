"""eBPF instructions (RFC 9669), with jumps to labels."""

from __future__ import annotations

import struct
import sys
from enum import IntEnum


class Reg(IntEnum):
    """A register. R0 has what a helper or the program returns, R1 to R5 are for arguments and lost in a call, R10 is
    the frame pointer.
    """

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    FP = 10


class Size(IntEnum):
    """How much a load or a store moves: 4, 2, 1 or 8 octets."""

    W = 0x00
    H = 0x08
    B = 0x10
    DW = 0x18


class Op(IntEnum):
    """Arithmetic on 64 bits."""

    ADD = 0x00
    MUL = 0x20
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    MOD = 0x90
    XOR = 0xA0
    MOV = 0xB0


class Jump(IntEnum):
    """When to jump; comparisons are without sign."""

    ALWAYS = 0x00
    EQ = 0x10
    GT = 0x20
    SET = 0x40
    NE = 0x50
    LT = 0xA0


_LDX_MEM, _STX_MEM, _LD_IMM64 = 0x61, 0x63, 0x18
_JMP, _ALU64, _TO_BIG_ENDIAN = 0x05, 0x07, 0xDC
_REGISTER_OPERAND = 0x08
_CALL, _EXIT = 0x85, 0x95
_PSEUDO_MAP_FD = 1


class Code:
    """A program, written one instruction after the other. A label may be jumped to before it is placed."""

    def __init__(self) -> None:
        self._slots: list[tuple[int, int, int, int, int | str]] = []
        self._labels: dict[str, int] = {}

    def label(self, name: str) -> None:
        """The next instruction is where jumps to `name` go."""
        self._labels[name] = len(self._slots)

    def load(self, size: Size, to: Reg, base: Reg, offset: int = 0) -> None:
        self._put(_LDX_MEM | size, to, base, offset)

    def store(self, size: Size, base: Reg, offset: int, value: Reg) -> None:
        self._put(_STX_MEM | size, base, value, offset)

    def alu(self, op: Op, to: Reg, value: Reg | int) -> None:
        """`to` op= `value`, a register or a constant of 32 bits, sign-extended."""
        if isinstance(value, Reg):
            self._put(_ALU64 | _REGISTER_OPERAND | op, to, value)
        else:
            self._put(_ALU64 | op, to, immediate=value)

    def move(self, to: Reg, value: Reg | int) -> None:
        self.alu(Op.MOV, to, value)

    def from_network(self, register: Reg, bits: int) -> None:
        """Bring a number of 16 or 32 bits into the machine's order of octets."""
        self._put(_TO_BIG_ENDIAN, register, immediate=bits)

    def map(self, to: Reg, fd: int) -> None:
        """The map of this descriptor, as helpers take it."""
        self._put(_LD_IMM64, to, _PSEUDO_MAP_FD, immediate=fd)
        self._put(0)

    def jump(self, when: Jump, left: Reg, right: Reg | int, label: str) -> None:
        if isinstance(right, Reg):
            self._put(_JMP | _REGISTER_OPERAND | when, left, right, label)
        else:
            self._put(_JMP | when, left, 0, label, right)

    def go(self, label: str) -> None:
        self._put(_JMP | Jump.ALWAYS, offset=label)

    def call(self, helper: int) -> None:
        self._put(_CALL, immediate=helper)

    def exit(self) -> None:
        self._put(_EXIT)

    def _put(self, opcode: int, to: int = 0, source: int = 0, offset: int | str = 0, immediate: int = 0) -> None:
        self._slots.append((opcode, to, source, immediate, offset))

    def octets(self) -> bytes:
        """The program as the kernel takes it; raises KeyError for a label that is nowhere."""
        return b"".join(self._encode(at, *slot) for at, slot in enumerate(self._slots))

    def _encode(self, at: int, opcode: int, to: int, source: int, immediate: int, offset: int | str) -> bytes:
        distance = self._labels[offset] - at - 1 if isinstance(offset, str) else offset
        registers = source << 4 | to if sys.byteorder == "little" else to << 4 | source
        return struct.pack("=BBhi", opcode, registers, distance, immediate)
