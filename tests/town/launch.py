"""`bastide`, with the neighbours in THE LIST, and less patience with slow heads."""

import sys

from bastide import systems

systems.SYSTEMS = ("neighbours.mill", "neighbours.bakery", *systems.SYSTEMS)

HEAD_S = 1

if __name__ == "__main__":
    if "up" in sys.argv:
        from bastide import app

        app.HEAD_S = HEAD_S
    from bastide.cli import main

    sys.exit(main())
