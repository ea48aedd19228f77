"""`python -m tests.engines.bus.doors.launch ...` is `bastide ...` with a stall in the town."""

import sys

import bastide.town
from bastide.cli import main
from bastide.systems import SYSTEMS

if __name__ == "__main__":
    bastide.town.SYSTEMS = (*SYSTEMS, "tests.engines.bus.doors.stall")
    sys.exit(main())
