"""Writes the file that parts/visitor looks countries up in.

python -m tools.countries DIRECTORY     a package of ip-location-db, unpacked, as by
                                        `npm pack @ip-location-db/asn-country`

Reads package.json and the two *-num.csv (first address, last address, country). Ranges may overlap:
the narrower one has the address, for it says more. IANA's special-purpose ranges are nobody's,
whatever the CSV says. The same CSVs make the same file, byte by byte, with the same liblzma.
"""

import csv
import heapq
import sys
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import NamedTuple

import msgspec

from bastide.parts.visitor.core import COUNTRIES
from bastide.parts.visitor.countries import FILE, Range, pack

PLACE = Path(__file__).parents[1] / "src/bastide/parts/visitor" / FILE

# https://www.iana.org/assignments/iana-ipv4-special-registry and ...ipv6-special-registry; of IPv6
# only 2000::/3 is given out.
SPECIAL4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
)
SPECIAL6 = (
    *("::/3", "4000::/2", "8000::/1"),
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
)


class Span(NamedTuple):
    """From `start` to before `stop`. Of those that hold an address, the least has it."""

    width: int
    start: int
    stop: int
    country: str


class Package(msgspec.Struct):
    """Of package.json."""

    name: str
    version: str


def packed(directory: Path) -> bytes:
    package = msgspec.json.decode((directory / "package.json").read_bytes(), type=Package)
    special4 = [IPv4Network(text) for text in SPECIAL4]
    special6 = [IPv6Network(text) for text in SPECIAL6]
    return pack(
        f"{package.name} {package.version}",
        _ranges([*_rows(directory, 4), *_nobodys(special4, bits=0)], stop=1 << 32),
        _ranges([*_rows(directory, 6), *_nobodys(special6, bits=64)], stop=1 << 64),
    )


def _rows(directory: Path, version: int) -> Iterator[Span]:
    bits = 64 if version == 6 else 0  # of the lower half, which are not kept
    [path] = directory.glob(f"*-ipv{version}-num.csv")
    with path.open(newline="", encoding="ascii") as file:
        for first, last, country in csv.reader(file):
            start, stop = -(-int(first) >> bits), (int(last) + 1) >> bits
            if start < stop:  # else it is smaller than a /64
                known = country if country in COUNTRIES else ""
                yield Span(stop - start, start, stop, known)


def _nobodys(networks: Iterable[IPv4Network | IPv6Network], *, bits: int) -> Iterator[Span]:
    for network in networks:
        start = int(network.network_address) >> bits
        stop = (int(network.broadcast_address) + 1) >> bits
        yield Span(0, start, stop, "")  # narrower than any


def _ranges(spans: Iterable[Span], *, stop: int) -> Sequence[Range]:
    """Side by side, from 0 to before `stop`, no two neighbours of one country."""
    waiting = sorted(spans, key=lambda span: span.start, reverse=True)
    bounds = {0, *(span.start for span in waiting), *(span.stop for span in waiting)} - {stop}
    holding: list[Span] = []
    ranges: list[Range] = []
    for bound in sorted(bounds):
        while waiting and waiting[-1].start == bound:
            heapq.heappush(holding, waiting.pop())
        while holding and holding[0].stop <= bound:
            heapq.heappop(holding)
        country = holding[0].country if holding else ""
        if not ranges or ranges[-1][1] != country:
            ranges.append((bound, country))
    return ranges


def main(words: Sequence[str]) -> int:
    if len(words) != 1:
        print(__doc__)
        return 2
    content = packed(Path(words[0]))
    PLACE.write_bytes(content)
    print(f"{PLACE.name}: {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
