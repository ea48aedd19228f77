"""The bytes between two nodes. Pure.

    | length u32 | crc u32 | MessagePack, `length` bytes |      little-endian; a beat has length 0

A frame has all messages that one tick of the loop had for one peer, of all groups, so that the
heartbeats of a thousand groups cost one write and one CRC. The CRC32C is there since TCP's sum of
16 bits misses one damaged segment of 65,536: an entry that is changed on its way would be written
with a sound CRC, and acknowledged.

Each proves to the other that he knows the cluster's secret, by HMAC-SHA256 of both nonces. An empty
secret is one that everybody knows.

    dialler                                acceptor
      Hello(cluster, node, nonce)  ──►
                                   ◄──  Challenge(nonce, proof)   or Refused(reason)
      Proof(proof)                 ──►
                                   ◄──  Accepted                  or Refused(reason)
      messages, beats              ──►
                                   ◄──  beats

Nothing is encrypted, and frames are not signed: who can change packets on the way needs to be kept
out by the network.
"""

import hmac
import logging
import struct
from collections.abc import Iterator, Sequence

import google_crc32c
import msgspec

from bastide.base.errors import Invalid
from bastide.parts.raft.contract import AnyMessage, NodeId

VERSION = 1
FRAME_BYTES_MAX = 16 << 20
"""One above it is refused and closes its connection. A tick's messages are split over several."""
HELLO_BYTES_MAX = 1 << 10
"""Until a peer is accepted."""
CLUSTER_BYTES_MAX = 128
NONCE_BYTES = 16
BEAT = bytes(8)
_HEAD = struct.Struct("<II")

Addressed = tuple[int, AnyMessage]
"""A group and a message for it."""


class FrameInvalid(Invalid):
    """The connection that it came over can't be read any further."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    version: int
    cluster: str
    node: NodeId
    to: NodeId
    nonce: bytes


class Challenge(msgspec.Struct, frozen=True, array_like=True, tag="challenge"):
    nonce: bytes
    proof: bytes


class Proof(msgspec.Struct, frozen=True, array_like=True, tag="proof"):
    proof: bytes


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag="accepted"):
    pass


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    reason: str


Greeting = Hello | Challenge | Proof | Accepted | Refused

_log = logging.getLogger(__name__)
_encoder = msgspec.msgpack.Encoder()
_greetings: msgspec.msgpack.Decoder[Greeting] = msgspec.msgpack.Decoder(Greeting)
_messages = msgspec.msgpack.Decoder(list[Addressed])


def frame(content: bytes) -> bytes:
    return _HEAD.pack(len(content), google_crc32c.value(content)) + content


def frame_greeting(greeting: Greeting) -> bytes:
    return frame(_encoder.encode(greeting))


def frame_messages(messages: Sequence[Addressed]) -> Iterator[bytes]:
    """One frame, or as many as are needed; nothing for a message that is too large alone."""
    content = _encoder.encode(messages)
    if len(content) <= FRAME_BYTES_MAX:
        yield frame(content)
    elif len(messages) > 1:
        half = len(messages) // 2
        yield from frame_messages(messages[:half])
        yield from frame_messages(messages[half:])
    else:
        _log.error("a message of %s bytes is larger than any frame", len(content))


def read_greeting(content: bytes) -> Greeting:
    try:
        return _greetings.decode(content)
    except msgspec.MsgspecError as error:
        raise FrameInvalid(f"no greeting: {error}") from None


def read_messages(content: bytes) -> list[Addressed]:
    try:
        return _messages.decode(content)
    except msgspec.MsgspecError as error:
        raise FrameInvalid(f"no messages: {error}") from None


class Reader:
    """Bytes in, as they come; contents of frames out. `frame_bytes_max` may be raised meanwhile."""

    def __init__(self) -> None:
        self.frame_bytes_max = HELLO_BYTES_MAX
        self._pieces: list[bytes] = []
        self._missing = 0

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Beats are left out.

        Raises:
            FrameInvalid: too large, or damaged.
        """
        if self._missing > len(received):  # a large frame comes in many pieces
            self._pieces.append(received)
            self._missing -= len(received)
            return
        if self._pieces:
            received = b"".join([*self._pieces, received])
            self._pieces.clear()
            self._missing = 0
        at = 0
        while at + _HEAD.size <= len(received):
            length, crc = _HEAD.unpack_from(received, at)
            if length > self.frame_bytes_max:
                raise FrameInvalid(
                    f"a frame of {length} bytes; at most {self.frame_bytes_max} are taken"
                )
            end = at + _HEAD.size + length
            if end > len(received):
                self._missing = end - len(received)
                break
            content = received[at + _HEAD.size : end]
            if google_crc32c.value(content) != crc:
                raise FrameInvalid(f"a frame of {length} bytes was damaged on its way")
            at = end
            if length:
                yield content
        if at < len(received):
            self._pieces.append(received[at:])


def proof_of(secret: bytes, role: str, hello: Hello, nonce: bytes) -> bytes:
    """What who dials ("dial") or accepts ("accept") must know the secret for."""
    told = _encoder.encode((role, hello, nonce))
    return hmac.digest(secret, told, "sha256")


def is_proof(given: bytes, wanted: bytes) -> bool:
    return hmac.compare_digest(given, wanted)
