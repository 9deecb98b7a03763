"""The demonstration: two daemons in two network namespaces, one Child SA per CPU between them."""
