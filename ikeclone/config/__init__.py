"""ipsec.conf and ipsec.secrets, in Libreswan's language, to what the state machine needs."""

from ikeclone.config.connections import Config, Conn
from ikeclone.config.loader import check_secrets, load
from ikeclone.config.models import Setup
from ikeclone.config.problems import ConfigErrors
from ikeclone.config.secrets import load_secrets

__all__ = ["Config", "ConfigErrors", "Conn", "Setup", "check_secrets", "load", "load_secrets"]
