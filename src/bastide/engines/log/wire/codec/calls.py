"""Requests and responses, whole: header and body, in both directions.

    request     key int16, version int16, correlation id int32, client id string, [tags], body
    response    correlation id int32, [tags], body

The tags are there in flexible versions, with one exception: the response to ApiVersions never has
them, for a client asks it before it knows what its server can read. The client id is a classic
string in every version, for the same reason.

What is decoded is a frame without the length in front of it; what is encoded has it.

Decoders and encoders are compiled when they are first asked for (1 to 5 ms each), and kept.
"""

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from bastide.engines.log.wire.codec.api import Api
from bastide.engines.log.wire.codec.errors import ApiUnknown, Malformed, VersionUnsupported
from bastide.engines.log.wire.codec.messages.cluster import API_VERSIONS
from bastide.engines.log.wire.codec.messages.records import PRODUCE
from bastide.engines.log.wire.codec.messages.table import APIS
from bastide.engines.log.wire.codec.primitives import Bytes, read_uvarint, skip_tags
from bastide.engines.log.wire.codec.reading import Body, Decode, compile_decoder, run
from bastide.engines.log.wire.codec.schema import parse
from bastide.engines.log.wire.codec.writing import Encode, compile_encoder

ELEMENTS_MAX = 1 << 17  # of all arrays of a request together, tagged fields counted too
PIECE_BYTES_MIN = 8 << 10  # of what `encode_response_pieces` leaves as it is
# librdkafka before 2.11 compresses for a broker only if that has version 0 of Produce, and then
# sends the highest there is all the same. Kafka from 4.0 on tells the same untruth.
TOLD_MIN = {PRODUCE.key: 0}

_request_head = struct.Struct(">hhi")
_int16 = struct.Struct(">h")
_int32 = struct.Struct(">i")


class Call(msgspec.Struct, frozen=True):
    """What a client asks. `body` has each field of the request; records in it are views into the
    frame.
    """

    api: Api
    version: int
    correlation_id: int
    client_id: str | None
    body: Body


class Reply(msgspec.Struct, frozen=True):
    """What a server answered."""

    correlation_id: int
    body: Body


def decode_request(frame: bytes) -> Call:
    """
    Raises:
        Malformed: it is not what its header says, or has more than ELEMENTS_MAX elements.
        ApiUnknown, VersionUnsupported: the rest was not read.
    """
    if len(frame) < _request_head.size:
        raise Malformed(f"a request of {len(frame)} bytes; its header alone has more")
    key, version, correlation_id = _request_head.unpack_from(frame)
    api = APIS.get(key)
    if api is None:
        raise ApiUnknown(key, version, correlation_id)
    if not api.serves(version):
        raise VersionUnsupported(api, version, correlation_id)
    try:
        client_id, at = _read_client_id(frame)
        if api.is_flexible(version):
            at = _skip_tags(frame, at)
        # What is behind it nobody looks at. Kafka does not either, so there are clients who send
        # more than they say: librdkafka, up to 2.16 at least, in a Metadata v9 for all topics.
        body, _ = run(_request_decoder(key, version), frame, at, ELEMENTS_MAX)
    except Malformed as error:
        raise Malformed(f"{api.name} v{version}: {error}") from error
    return Call(api, version, correlation_id, client_id, body)


def decode_response(frame: bytes, api: Api, version: int) -> Reply:
    """The reply to a request that we sent: of an API and a version of the table.

    Raises:
        Malformed
    """
    try:
        correlation_id, at = correlation_id_of(frame), 4
        if api.is_flexible(version) and api.key != API_VERSIONS.key:
            at = _skip_tags(frame, at)
        body, at = run(_response_decoder(api.key, version), frame, at, len(frame))
        if at != len(frame):
            raise Malformed(f"{len(frame) - at} bytes are left over")
    except Malformed as error:
        raise Malformed(f"reply to {api.name} v{version}: {error}") from error
    return Reply(correlation_id, body)


def correlation_id_of(frame: bytes) -> int:
    """Of a response: it says which request it answers.

    Raises:
        Malformed
    """
    if len(frame) < _int32.size:
        raise Malformed(f"a response of {len(frame)} bytes; its header alone has more")
    correlation_id: int = _int32.unpack_from(frame)[0]
    return correlation_id


def encode_request(
    api: Api, version: int, correlation_id: int, client_id: str | None, body: Body
) -> bytes:
    client = b"" if client_id is None else client_id.encode()
    out: list[Bytes] = [
        b"",
        _request_head.pack(api.key, version, correlation_id),
        _int16.pack(-1 if client_id is None else len(client)),
        client,
    ]
    if api.is_flexible(version):
        out.append(b"\0")
    _request_encoder(api.key, version)(body, out)
    return b"".join(_framed(out))


def encode_response(api: Api, version: int, correlation_id: int, body: Body) -> bytes:
    return b"".join(_response(api, version, correlation_id, body))


def encode_response_pieces(api: Api, version: int, correlation_id: int, body: Body) -> list[Bytes]:
    """As `encode_response`, in pieces to be sent one behind the other. Records of PIECE_BYTES_MIN
    or more are pieces of their own and are not copied: they must stay as they are until they are
    sent.
    """
    out: list[Bytes] = []
    small: list[Bytes] = []
    for piece in _response(api, version, correlation_id, body):
        if len(piece) < PIECE_BYTES_MIN:
            small.append(piece)
            continue
        out += (b"".join(small), piece)
        small.clear()
    if small:
        out.append(b"".join(small))
    return out


def versions_told() -> list[dict[str, Any]]:
    """What ApiVersions tells: its `api_keys`. They are what is served, but for TOLD_MIN."""
    return [
        {
            "api_key": api.key,
            "min_version": TOLD_MIN.get(api.key, api.version_min),
            "max_version": api.version_max,
        }
        for api in sorted(APIS.values(), key=lambda api: api.key)
    ]


def _response(api: Api, version: int, correlation_id: int, body: Body) -> Sequence[Bytes]:
    out: list[Bytes] = [b"", _int32.pack(correlation_id)]
    if api.is_flexible(version) and api.key != API_VERSIONS.key:
        out.append(b"\0")
    _response_encoder(api.key, version)(body, out)
    return _framed(out)


def _framed(pieces: list[Bytes]) -> list[Bytes]:
    """With the length of all in the first place, which was left free for it."""
    pieces[0] = _int32.pack(sum(map(len, pieces)))
    return pieces


def _read_client_id(frame: bytes) -> tuple[str | None, int]:
    at = _request_head.size + _int16.size
    if len(frame) < at:
        raise Malformed("its header is cut off")
    (size,) = _int16.unpack_from(frame, _request_head.size)
    if size == -1:
        return None, at
    if size < 0 or at + size > len(frame):
        raise Malformed(f"a client id of {size} bytes")
    try:
        return frame[at : at + size].decode(), at + size
    except UnicodeDecodeError as error:
        raise Malformed("the client id is not UTF-8") from error


def _skip_tags(frame: bytes, at: int) -> int:
    count, at = read_uvarint(frame, at)
    if count > ELEMENTS_MAX:
        raise Malformed(f"{count} tagged fields in the header")
    return skip_tags(frame, at, count)


@cache
def _request_decoder(key: int, version: int) -> Decode:
    api = APIS[key]
    return compile_decoder(parse(api.request), version, flexible=api.is_flexible(version))


@cache
def _response_decoder(key: int, version: int) -> Decode:
    api = APIS[key]
    return compile_decoder(parse(api.response), version, flexible=api.is_flexible(version))


@cache
def _request_encoder(key: int, version: int) -> Encode:
    api = APIS[key]
    return compile_encoder(parse(api.request), version, flexible=api.is_flexible(version))


@cache
def _response_encoder(key: int, version: int) -> Encode:
    api = APIS[key]
    return compile_encoder(parse(api.response), version, flexible=api.is_flexible(version))
