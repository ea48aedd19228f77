"""Minting, leasing and encoding, without clock, chance or I/O: usable as a library by itself."""
