"""Agreement: revisioned keys, leases, watches, and on them locks, elections and a registry."""
