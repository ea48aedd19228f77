"""An event on its way: as it waits, and as it lies in the log.

    waiting   created.v1 \n 1764280000123 \n {"code": "abc"}          an outbox row; with its topic
                                                                      and key, a journal's record
    in log    {"specversion": "1.0", "id": "17", "source": "shortener-6f1c02aa", "time": ...,
               "type": "shortener.links.created.v1", "data": {"code": "abc"}}

That is a CloudEvent in structured mode (CNCF CloudEvents 1.0, its JSON format, and its binding to
Kafka, which asks for the header), so that whoever reads the log without us has a library for it. A
row of headers (binary mode) would cost each event five times as much as this one does.

`id` counts the events of a source, from 0, in the order in which they are to be heard. A source is
one outbox or one journal. Both together name the event for good.

What waits is put between the texts that surround it, never parsed: the relay carries what it does
not read.
"""

from functools import lru_cache
from typing import Annotated

import msgspec

from bastide.base.instants import text_of

HEADERS = (("content-type", b"application/cloudevents+json"),)
_MARK = b"\n"


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """`name` is the event's kind and version, `data` its JSON."""

    name: bytes
    at_ms: bytes
    data: bytes


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the log holds. `type` is the topic and the event's name."""

    specversion: str
    id: Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,17})\Z")]
    source: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,100}\Z")]
    type: str
    data: msgspec.Raw
    time: str = ""


class Unreadable(Exception):
    """It is no event, or one that nobody here knows. The message says why."""


_decode = msgspec.json.Decoder(Envelope).decode


def packed(name: str, at_ms: int, data: bytes) -> bytes:
    """As it waits."""
    return b"%b\n%d\n%b" % (name.encode(), at_ms, data)


def unpacked(waiting: bytes) -> Waiting:
    return Waiting(*waiting.split(_MARK, 2))


def journalled(topic: str, key: str, waiting: bytes) -> bytes:
    """A record of the journal: the key may hold anything, so its length comes first."""
    told, key_bytes = topic.encode(), key.encode()
    return b"%b\n%d\n%b%b" % (told, len(key_bytes), key_bytes, waiting)


def unjournalled(record: bytes) -> tuple[str, bytes, bytes]:
    """Topic, key, and the event as it waits."""
    topic, size, rest = record.split(_MARK, 2)
    key_bytes = int(size)
    return topic.decode(), rest[:key_bytes], rest[key_bytes:]


def sealed(topic: str, source: str, seq: int, waiting: bytes) -> bytes:
    """As it lies in the log."""
    told = unpacked(waiting)
    return b'{"specversion":"1.0","id":"%d",%b%b"time":"%b","data":%b}' % (
        seq,
        _sourced(source),
        _typed(topic, told.name),
        _time_of(told.at_ms),
        told.data,
    )


def opened(value: bytes | None) -> Envelope:
    """
    Raises:
        Unreadable
    """
    if value is None:
        raise Unreadable("a tombstone: events have no such thing")
    try:
        return _decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"no event as the bus writes them: {error}") from error


@lru_cache(256)
def _sourced(source: str) -> bytes:
    return b'"source":"%b",' % source.encode()


@lru_cache(1_024)
def _typed(topic: str, name: bytes) -> bytes:
    return b'"type":"%b.%b",' % (topic.encode(), name)


def _time_of(at_ms: bytes) -> bytes:
    return _text_of(int(at_ms)).encode()


_text_of = lru_cache(256)(text_of)
