"""A module for each scenario; its first line says what it shows, `run(lab)` raises when that does not hold."""
