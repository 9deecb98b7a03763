"""Certificates: store, path check, revocation, identity match. Pure functions: what was fetched and the time are
parameters.
"""
