"""What may go wrong in a simulation, apart from what it is about.

Exception
+-- SimulationFault        the simulation itself is at fault
|   +-- Deadlock           nobody has anything to do, and it is not over
|   +-- Runaway            TURNS_MAX turns, or SIMULATED_S_MAX, and it is not over
|   +-- Differs            the same seed has run in two ways
|   +-- RealEffect         code reached for the real disk, network, a thread or a process
+-- NodeDied               (a ConnectionError) who was called on a node died with it
BaseException
+-- Killed                 unwinds code that runs at the moment its process dies
"""

TURNS_MAX = 20_000_000
SIMULATED_S_MAX = 7 * 86_400
NODES_MAX = 250


class SimulationFault(Exception):
    pass


class Deadlock(SimulationFault):
    pass


class Runaway(SimulationFault):
    pass


class Differs(SimulationFault):
    pass


class RealEffect(SimulationFault):
    pass


class NodeDied(ConnectionError):
    """What ran on a node for somebody outside ended with the node's process."""


class Killed(BaseException):
    """Raised within a process as it dies; nobody takes it but the loop."""
