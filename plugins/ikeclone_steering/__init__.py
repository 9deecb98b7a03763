"""Brings each received ESP packet to the CPU of its SA: an XDP program with a cpumap."""

from ikeclone_steering.steering import XdpSteering

__all__ = ["XdpSteering"]
