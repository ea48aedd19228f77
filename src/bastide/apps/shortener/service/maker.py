"""Links out of drafts: what is asked for is checked, a code is made, nothing is stored."""

from collections.abc import Collection, Iterable
from functools import lru_cache

from bastide.apps.shortener.contract import CODE_TRIES_MAX, Link, TargetRefused
from bastide.apps.shortener.core.codes import check_custom, hash_code, is_reserved
from bastide.apps.shortener.core.targets import Place, Target, parse, places_of, refuse_own
from bastide.apps.shortener.model import DAY_MS, Draft, Settings
from bastide.base.rt import runtime
from bastide.engines.ids.contract import Ids

SERIES = "shortener.links"


class Maker:
    """`own`: our addresses, which no link may lead to."""

    def __init__(self, settings: Settings, ids: Ids, own: Iterable[str]) -> None:
        self._settings = settings
        self._ids = ids
        self._own = frozenset(place for address in own for place in places_of(address))

    def target_of(self, draft: Draft, *, origin: str) -> Target:
        """Where `draft` leads. `origin` is the address by which the client reached us: it is ours
        too.

        Raises:
            TargetRefused, CodeWrong, CodeReserved.
        """
        target = parse(draft.original_url)
        refuse_own(target, self._own)
        refuse_own(target, _places_claimed(origin))
        if draft.custom_code is not None:
            check_custom(draft.custom_code)
        return target

    async def link(self, draft: Draft, target: Target, owner: str, *, attempt: int) -> Link:
        """`attempt` counts from 0: whether the code is free, only storing it can tell."""
        now_ms = runtime.now_ms()
        code = draft.custom_code or await self._code(target, owner, now_ms, attempt)
        return Link(
            id=self._ids.new(),
            code=code,
            target=target.url,
            owner=owner,
            created_at_ms=now_ms,
            expires_at_ms=now_ms + self.lifetime_ms(draft.expires_days),
            permanent=draft.permanent,
            disabled=False,
            custom=draft.custom_code is not None,
            deleted=False,
        )

    def lifetime_ms(self, days: float | None) -> int:
        return round((self._settings.expires_days if days is None else days) * DAY_MS)

    async def _code(self, target: Target, owner: str, at_ms: int, attempt: int) -> str:
        code = await self._any_code(target, owner, at_ms, attempt)
        if is_reserved(code):
            return await self._code(target, owner, at_ms, attempt + CODE_TRIES_MAX)
        return code

    async def _any_code(self, target: Target, owner: str, at_ms: int, attempt: int) -> str:
        length = self._settings.code_length
        match self._settings.codes:
            case "counter":
                return await self._ids.code(SERIES, length=length)
            case "random":
                return self._ids.random(length=length)
            case "hash":
                return hash_code(target.hash, owner, at_ms=at_ms, attempt=attempt, length=length)
            case "pool":
                return await self._ids.key(SERIES, length=length)


@lru_cache(64)
def _places_claimed(origin: str) -> Collection[Place]:
    """The Host header is the client's word: what is no address can't be reached either."""
    try:
        return places_of(origin)
    except TargetRefused:
        return ()
