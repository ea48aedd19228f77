"""`bastide`, with the neighbours in THE LIST, and less patience with slow heads."""

import os
import sys

from bastide import systems

systems.SYSTEMS = ("neighbours.mill", "neighbours.bakery", *systems.SYSTEMS)

HEAD_S = 1

if __name__ == "__main__":
    os.environ.setdefault("BASTIDE_HTTP_HEAD_S", str(HEAD_S))
    os.environ.setdefault("BASTIDE_HTTP_FIRST_BYTE_S", str(HEAD_S))
    from bastide.cli import main

    sys.exit(main())
