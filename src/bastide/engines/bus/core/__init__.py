"""The algorithms of the bus, pure."""
