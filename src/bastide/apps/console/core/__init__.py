"""Rates from counters, and the layout of the map. Pure: no clock, no chance, no I/O."""
