"""ikeclone: an IKEv2 daemon with one Child SA per CPU (RFC 9611)."""

__version__ = "0.1.0"
