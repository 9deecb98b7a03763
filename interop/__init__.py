"""Scenarios of ikeclone with other implementations of IKEv2, each in network namespaces of its own."""
