"""The Extensible Authentication Protocol (RFC 3748): packets, both roles and their methods, without input or output."""
