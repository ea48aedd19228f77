"""The store of keys, its leases and watches: without clock, chance or I/O."""
