"""What it costs to know who asks.

    opening     reader_ms (with ua-parser's import, if nothing had imported it), countries_ms
    hot         a visit whose like was seen lately
    unseen      a visit of which neither browser, address nor languages were seen
    client, country4, country6, languages, referrer
                reading one header or address alone, with nothing remembered

A figure in us is the least of some rounds: the work is the same each time, and what comes on top is
the machine's.
"""

from collections.abc import Callable, Mapping, Sequence

from bastide.base.rt import runtime
from bastide.parts.visitor import core
from bastide.parts.visitor.countries import Countries, bundled
from bastide.parts.visitor.reader import Reader
from bastide.parts.visitor.visitors import Visitors

CALLS = 2_000  # a round
ROUNDS_MIN = 3

OWN_HOSTS = frozenset({"sho.rt"})
PHONE = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Mobile Safari/537.36"
)
LANGUAGES = "de-CH,de;q=0.9,en-US;q=0.8,en;q=0.7"
REFERER = "https://www.example.com/a/page?of=some&length=40"

Visit = tuple[Mapping[str, str], str]  # headers and address


def bench_visitor(seconds: float) -> Mapping[str, float]:
    """Figures by name, each from `seconds` of rounds."""
    figures, reader, countries = _opening()
    rounds: Mapping[str, Callable[[int], float]] = {
        "hot_us": _hot(Visitors(reader, countries)),
        "unseen_us": _unseen(Visitors(reader, countries)),
        "client_us": lambda turn: _each(reader.client_of, [f"{PHONE} {turn}"] * CALLS),
        "country4_us": lambda turn: _each(countries.of, _addresses(turn)),
        "country6_us": lambda turn: _each(countries.of, [f"2a02:8071:{turn:x}::1"] * CALLS),
        "languages_us": lambda turn: _each(core.languages_of, [LANGUAGES] * CALLS),
        "referrer_us": lambda turn: _each(_referrer, [REFERER] * CALLS),
    }
    return figures | {name: _least_us(run, seconds) for name, run in rounds.items()}


def _opening() -> tuple[dict[str, float], Reader, Countries]:
    bundled.cache_clear()
    started = runtime.monotonic()
    reader = Reader()
    read = runtime.monotonic()
    countries = bundled()
    ended = runtime.monotonic()
    figures = {"reader_ms": (read - started) * 1e3, "countries_ms": (ended - read) * 1e3}
    return figures, reader, countries


def _least_us(run: Callable[[int], float], seconds: float) -> float:
    """The least time of a call, in any round."""
    taken: list[float] = []
    until_s = runtime.monotonic() + seconds
    while len(taken) < ROUNDS_MIN or runtime.monotonic() < until_s:
        taken.append(run(len(taken)))
    return min(taken) / CALLS * 1e6


def _hot(visitors: Visitors) -> Callable[[int], float]:
    visits = [_visit(0)] * CALLS
    return lambda turn: _ask(visitors, visits)


def _unseen(visitors: Visitors) -> Callable[[int], float]:
    return lambda turn: _ask(visitors, [_visit(turn * CALLS + n) for n in range(CALLS)])


def _visit(number: int) -> Visit:
    headers = {
        "host": "sho.rt",
        "user-agent": f"{PHONE} {number}",
        "accept-language": f"{LANGUAGES},x-{number}",
        "referer": REFERER,
    }
    return headers, f"{number >> 16 & 127}.{number >> 8 & 255}.{number & 255}.1"


def _ask(visitors: Visitors, visits: Sequence[Visit]) -> float:
    started = runtime.monotonic()
    for headers, address in visits:
        visitors.visitor(headers, method="GET", address=address, own_hosts=OWN_HOSTS)
    return runtime.monotonic() - started


def _each(read: Callable[[str], object], texts: Sequence[str]) -> float:
    started = runtime.monotonic()
    for text in texts:
        read(text)
    return runtime.monotonic() - started


def _addresses(turn: int) -> Sequence[str]:
    return [f"{1 + n % 220}.{n % 256}.{turn % 256}.9" for n in range(CALLS)]


def _referrer(referer: str) -> str:
    return core.referrer_of(referer, OWN_HOSTS)
