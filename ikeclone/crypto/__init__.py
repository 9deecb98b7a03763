"""Algorithms of IKE and ESP: pure functions of their arguments, randomness included."""
