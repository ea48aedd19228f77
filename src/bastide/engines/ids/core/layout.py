"""What the digits of an id say: when, by whom, which one.

An id is a number in a mixed radix, so that comparing two ids compares their times first:

     63 62                                         22 21         12 11          0
    ┌──┬─────────────────────────────────────────────┬─────────────┬─────────────┐
    │ 0│ milliseconds since the layout's epoch   41  │  worker 10  │ sequence 12 │
    └──┴─────────────────────────────────────────────┴─────────────┴─────────────┘
        2^41 ms = 69.7 years                            1024          4096 a ms

    id = (milliseconds * workers + worker) * sequences + sequence

With powers of two this is Twitter's Snowflake (2010). The same formula with 10,000 workers and
1,000 sequences gives the string ids of many chat designs: time in base 36, four digits of server,
three of sequence; as text they sort as their numbers do.

The top bit stays 0, so that every language's signed 64-bit integer holds the id. A JavaScript
number holds 53 bits: in JSON an id is a string.
"""

import msgspec

from bastide.engines.ids.contract import Decoded, NotAnId
from bastide.engines.ids.core import radix

TEXT_TIME_WIDTH = 8  # base 36: until May 2059
TEXT_WORKER_WIDTH = 4
TEXT_SEQUENCE_WIDTH = 3


class Layout(msgspec.Struct, frozen=True):
    """How many milliseconds, workers and ids a millisecond there are; `epoch_ms` since 1970."""

    name: str
    epoch_ms: int
    milliseconds: int
    workers: int
    sequences: int

    @property
    def last_ms(self) -> int:
        """The last millisecond, since 1970, that an id can say."""
        return self.epoch_ms + self.milliseconds - 1

    def encode(self, at_ms: int, worker: int, sequence: int) -> int:
        assert self.epoch_ms <= at_ms <= self.last_ms, at_ms
        assert 0 <= worker < self.workers, worker
        assert 0 <= sequence < self.sequences, sequence
        return ((at_ms - self.epoch_ms) * self.workers + worker) * self.sequences + sequence

    def decode(self, id_: int) -> Decoded:
        """
        Raises:
            NotAnId: below 0, or above what this layout can say.
        """
        above, sequence = divmod(id_, self.sequences)
        elapsed_ms, worker = divmod(above, self.workers)
        if not 0 <= elapsed_ms < self.milliseconds:
            raise NotAnId(f"{id_} is no id of the layout {self.name}")
        return Decoded(self.epoch_ms + elapsed_ms, worker, sequence)


def binary(name: str, *, epoch_ms: int, worker_bits: int, sequence_bits: int) -> Layout:
    """A 64-bit layout: the sign, then time in what is left over from worker and sequence."""
    time_bits = 63 - worker_bits - sequence_bits
    return Layout(name, epoch_ms, 1 << time_bits, 1 << worker_bits, 1 << sequence_bits)


# From 1 January 2024 to September 2093.
BASTIDE = binary("bastide", epoch_ms=1_704_067_200_000, worker_bits=10, sequence_bits=12)
# From 4 November 2010 to July 2080: twitter-archive/snowflake, IdWorker.scala.
TWITTER = binary("twitter", epoch_ms=1_288_834_974_657, worker_bits=10, sequence_bits=12)
# The shard is in the id: "Sharding & IDs at Instagram", 2012. From 24 August 2011 to June 2046: its
# 41 bits of time, 13 of shard and 10 of sequence fill the sign too, so half its time is negative.
INSTAGRAM = binary("instagram", epoch_ms=1_314_220_021_721, worker_bits=13, sequence_bits=10)

PRESETS = {layout.name: layout for layout in (BASTIDE, TWITTER, INSTAGRAM)}

TEXT = Layout(
    "text",
    epoch_ms=0,
    milliseconds=36**TEXT_TIME_WIDTH,
    workers=10**TEXT_WORKER_WIDTH,
    sequences=10**TEXT_SEQUENCE_WIDTH,
)


def to_text(id_: int) -> str:
    """An id of the layout TEXT as its 15 characters: `mi3t7k2p` `0042` `007`."""
    elapsed_ms, below = divmod(id_, TEXT.workers * TEXT.sequences)
    time = radix.encode(elapsed_ms, radix.BASE36, width=TEXT_TIME_WIDTH)
    return f"{time}{below:0{TEXT_WORKER_WIDTH + TEXT_SEQUENCE_WIDTH}}"


def from_text(text: str) -> int:
    """
    Raises:
        NotAnId: `to_text` did not make it.
    """
    time, below = text[:TEXT_TIME_WIDTH], text[TEXT_TIME_WIDTH:]
    digits = TEXT_WORKER_WIDTH + TEXT_SEQUENCE_WIDTH
    if len(below) != digits or not (below.isascii() and below.isdigit()):
        raise NotAnId(f"{text!r} does not end in {digits} digits after {TEXT_TIME_WIDTH} of time")
    return radix.decode(time, radix.BASE36) * TEXT.workers * TEXT.sequences + int(below)
