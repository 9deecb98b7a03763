"""Brings each received ESP packet to the CPU of its SA: by the network card, an XDP program, or the kernel's masks."""

from ikeclone_steering.steering import KernelSteering

__all__ = ["KernelSteering"]
