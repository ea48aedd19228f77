"""The runtime: the only place that asks the machine for time, chance and disk.

A context variable holds the runtime of the node that is running, so that a simulator can give every
node a clock, a seed and a disk of its own. The seam for network and timers is the asyncio loop.
"""
