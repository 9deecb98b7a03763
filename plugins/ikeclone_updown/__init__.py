"""Running the commands of leftupdown=, with the environment that Libreswan gives them."""

from ikeclone_updown.scripts import Scripts

__all__ = ["Scripts"]
