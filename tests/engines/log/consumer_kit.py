"""What consumers tell each other through a group: a JoinGroup's `metadata` and a SyncGroup's
`assignment` where the protocol type is "consumer". To the broker it is just bytes.

Each begins with its version, an int16. The versions only ever append fields, so one that is newer
than ours is read as our newest, and what is behind it is left unread.
"""

import struct
from functools import cache

from bastide.engines.log.wire.codec.errors import Malformed
from bastide.engines.log.wire.codec.primitives import Bytes
from bastide.engines.log.wire.codec.reading import Body, Decode, compile_decoder, run
from bastide.engines.log.wire.codec.schema import parse
from bastide.engines.log.wire.codec.writing import Encode, compile_encoder

VERSION_MAX = 3

SUBSCRIPTION = """
    topics              []string
    user_data           bytes       null = null
    owned_partitions    []      1+
      topic             string
      partitions        []int32
    generation_id       int32   2+  = -1
    rack_id             string  3+  null = null
"""

ASSIGNMENT = """
    assigned_partitions []
      topic             string
      partitions        []int32
    user_data           bytes       null = null
"""

_int16 = struct.Struct(">h")


def encode_subscription(body: Body, *, version: int = VERSION_MAX) -> bytes:
    return _encode(SUBSCRIPTION, body, version)


def decode_subscription(given: bytes) -> tuple[int, Body]:
    """The version that it says it has, and what it says.

    Raises:
        Malformed
    """
    return _decode(SUBSCRIPTION, given)


def encode_assignment(body: Body, *, version: int = VERSION_MAX) -> bytes:
    return _encode(ASSIGNMENT, body, version)


def decode_assignment(given: bytes) -> tuple[int, Body]:
    """The version that it says it has, and what it says.

    Raises:
        Malformed
    """
    return _decode(ASSIGNMENT, given)


def _encode(message: str, body: Body, version: int) -> bytes:
    out: list[Bytes] = [_int16.pack(version)]
    _encoder(message, version)(body, out)
    return b"".join(out)


def _decode(message: str, given: bytes) -> tuple[int, Body]:
    if len(given) < _int16.size:
        raise Malformed("it is cut off")
    (version,) = _int16.unpack_from(given)
    if version < 0:
        raise Malformed(f"version {version} of the consumer protocol")
    decode = _decoder(message, min(version, VERSION_MAX))
    body, at = run(decode, given, _int16.size, len(given))
    if at != len(given) and version <= VERSION_MAX:
        raise Malformed(f"{len(given) - at} bytes are left over")
    return version, body


@cache
def _decoder(message: str, version: int) -> Decode:
    return compile_decoder(parse(message), version, flexible=False)


@cache
def _encoder(message: str, version: int) -> Encode:
    return compile_encoder(parse(message), version, flexible=False)
