"""A data plane of ikeclone's own: ESP in Python, one worker process per CPU, a TUN device, no kernel IPsec."""

from ikeclone_esp.backend import EspBackend

__all__ = ["EspBackend"]
