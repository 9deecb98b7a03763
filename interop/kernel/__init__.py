"""Scenarios with the kernel's IPsec, in a guest whose kernel has all of it."""
