"""`python -m bastide`, where the `bastide` command is not on the path."""

import sys

from bastide.cli import main

sys.exit(main())
