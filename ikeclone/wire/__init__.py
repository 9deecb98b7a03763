"""IKEv2 messages: octets to frozen dataclasses and back (RFC 7296 section 3). Knows no keys and no state."""
