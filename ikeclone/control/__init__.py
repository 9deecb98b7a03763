"""The control socket: one JSON line a command, then JSON lines of progress and one with the outcome."""
