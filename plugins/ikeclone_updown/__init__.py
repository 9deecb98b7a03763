"""Running the commands of leftupdown=, with the environment that Libreswan gives them; name servers for the host."""

from ikeclone_updown.resolvers import Resolvconf, Resolved
from ikeclone_updown.scripts import Scripts

__all__ = ["Resolvconf", "Resolved", "Scripts"]
