"""What a server answers, as RESP has it."""

from typing import Any, TypeAlias

# bytes, int, float, bool, None, lists and maps of them: who sent the command knows which.
Reply: TypeAlias = Any
