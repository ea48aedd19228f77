"""Who asks, of one request; with what was asked lately remembered, since most visits look alike."""

from collections.abc import Collection, Mapping
from functools import cache, lru_cache

import msgspec

from bastide.parts.visitor import core
from bastide.parts.visitor.contract import USER_AGENT_CHARACTERS_MAX, Client, Visitor
from bastide.parts.visitor.core import ACCEPT_LANGUAGE_CHARACTERS_MAX, REFERER_CHARACTERS_MAX
from bastide.parts.visitor.countries import ADDRESS_CHARACTERS_MAX, Countries, bundled
from bastide.parts.visitor.reader import Reader

REMEMBERED = 4_096  # of each: User-Agents, addresses, Accept-Languages, visitors; 20 MB at the most


class Visitors:
    """Nothing here waits, and no header raises, however broken."""

    def __init__(self, reader: Reader, countries: Countries) -> None:
        # What is remembered is cut before it is looked up, so that nobody fills the memory.
        self._client_of = lru_cache(REMEMBERED)(reader.client_of)
        self._country_of = lru_cache(REMEMBERED)(countries.of)
        self._languages_of = lru_cache(REMEMBERED)(core.languages_of)
        self._visitor_of = lru_cache(REMEMBERED)(self._read)

    def visitor(
        self,
        headers: Mapping[str, str],
        *,
        method: str,
        address: str,
        own_hosts: Collection[str],
    ) -> Visitor:
        """`headers` by their names in lower case; `address` is the client's, as text; `own_hosts`
        in lower case, without ports. 0.5 us if its like was seen lately, else 30 us.
        """
        return self._visitor_of(
            headers.get("user-agent", "")[:USER_AGENT_CHARACTERS_MAX],
            headers.get("accept-language", "")[:_LANGUAGES_CUT],
            headers.get("referer", "")[:REFERER_CHARACTERS_MAX],
            address[: ADDRESS_CHARACTERS_MAX + 1],
            method == "HEAD",
            frozenset(own_hosts),
        )

    def _read(
        self,
        user_agent: str,
        accept_language: str,
        referer: str,
        address: str,
        head: bool,
        own_hosts: frozenset[str],
    ) -> Visitor:
        client = self._client_of(user_agent)
        return Visitor(
            msgspec.structs.replace(client, bot=True) if head else client,
            self._country_of(address),
            self._languages_of(accept_language),
            core.referrer_of(referer, own_hosts),
        )

    def client_of(self, user_agent: str) -> Client:
        return self._client_of(user_agent[:USER_AGENT_CHARACTERS_MAX])

    def country_of(self, address: str) -> str:
        """ISO 3166-1, or '' if that is not known of `address`."""
        return self._country_of(address[: ADDRESS_CHARACTERS_MAX + 1])


_LANGUAGES_CUT = ACCEPT_LANGUAGE_CHARACTERS_MAX + 1  # one more tells that it was cut


@cache
def open_visitors() -> Visitors:
    """The one of this process: it holds nothing that belongs to a caller. The first call takes
    0.14 s, holds the GIL, and keeps 17 MB.
    """
    return Visitors(Reader(), bundled())
