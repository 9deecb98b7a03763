"""ipsec.conf and ipsec.secrets, in Libreswan's language, to what the state machine needs."""

from ikeclone.config.checks import load_credentials
from ikeclone.config.connections import Config, Conn
from ikeclone.config.loader import load
from ikeclone.config.models import Setup
from ikeclone.config.problems import ConfigErrors
from ikeclone.config.secrets import Keyring, load_secrets

__all__ = ["Config", "ConfigErrors", "Conn", "Keyring", "Setup", "load", "load_credentials", "load_secrets"]
