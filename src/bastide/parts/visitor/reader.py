"""User-Agents by ua-parser's expressions for browsers and systems, without those for devices.

The expressions (uap-core, the list that most languages' parsers share) are joined to one automaton
by ua-parser-rs. Building it holds the GIL, so a thread would gain nothing.
"""

from bastide.parts.visitor.contract import USER_AGENT_CHARACTERS_MAX, Client
from bastide.parts.visitor.core import client_from


class Reader:
    """Made once: 0.1 s and 13 MB, with its import. Then 18 us a string."""

    def __init__(self) -> None:
        from ua_parser import Domain, load_lazy_builtins
        from ua_parser.regex import Resolver

        browsers, systems, _ = load_lazy_builtins()
        self._resolve = Resolver((browsers, systems, []))
        self._domains = Domain.USER_AGENT | Domain.OS

    def client_of(self, user_agent: str) -> Client:
        read = user_agent[:USER_AGENT_CHARACTERS_MAX]
        found = self._resolve(_encodable(read), self._domains)
        return client_from(
            read,
            system_family=found.os.family if found.os else "",
            browser_family=found.user_agent.family if found.user_agent else "",
        )


def _encodable(text: str) -> str:
    """Rust's strings have no surrogates."""
    return text if text.isascii() else text.encode(errors="replace").decode()
