"""An API: a request, the response to it, and in which versions we serve them."""

import msgspec

NEVER = 1 << 15  # no version is so high


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """`request` and `response` are as `schema` says. Versions from `flexible_from` on have compact
    lengths and tagged fields, in both directions.
    """

    key: int
    name: str
    version_min: int
    version_max: int
    flexible_from: int = NEVER
    request: str
    response: str

    def serves(self, version: int) -> bool:
        return self.version_min <= version <= self.version_max

    def is_flexible(self, version: int) -> bool:
        return version >= self.flexible_from
