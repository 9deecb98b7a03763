"""The kernel's IPsec as a data plane: XFRM states and policies over netlink, a state for each CPU."""

from ikeclone_xfrm.backend import XfrmBackend

__all__ = ["XfrmBackend"]
