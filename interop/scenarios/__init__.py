"""A module for each scenario: its first line says what it shows, `run` raises when it does not hold."""
