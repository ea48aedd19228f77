"""HTTP/2 without a socket: held against another implementation, its limits, and bad frames."""

import struct
from contextlib import suppress

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.engines.coord.wire.framing import HEAD, TRAILERS_OK
from bastide.engines.coord.wire.h2 import (
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_MAX,
    HEAD_BYTES_MAX,
    PIECE_BYTES,
    PREFACE,
    RESETS_MAX,
    STREAM_WINDOW_BYTES,
    STREAMS_MAX,
    WINDOW_BYTES,
    Begun,
    Came,
    Ended,
    Fault,
    H2Broken,
    Kind,
    Reset,
    Server,
    frame,
)

ASKED = [(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "here")]
SETTINGS = frame(Kind.SETTINGS, 0, 0)


def greeted():
    server = Server()
    assert server.feed(PREFACE + SETTINGS) == []
    server.take()
    return server


def head(stream, flags=END_HEADERS, fields=ASKED):
    return frame(Kind.HEADERS, flags, stream, Encoder().encode(fields))


def fault_of(server, data):
    with pytest.raises(H2Broken) as told:
        server.feed(data)
    return told.value.fault


class Peer:
    """A client by another implementation, beside a server of ours."""

    def __init__(self):
        self.client = H2Connection(H2Configuration(client_side=True))
        self.client.initiate_connection()
        self.server = Server()
        self.events = []

    def exchange(self):
        """Until neither has anything to say."""
        happened = []
        while True:
            asked, told = self.client.data_to_send(), self.server.take()
            if not (asked or told):
                return happened
            happened += self.server.feed(asked) if asked else []
            self.events += self.client.receive_data(told) if told else []


@given(
    requests=st.lists(st.binary(max_size=40_000), min_size=1, max_size=5),
    reply=st.binary(max_size=200_000),
)
@settings(max_examples=25, deadline=None)
def test_another_implementation_is_understood_and_understands(requests, reply):
    peer = Peer()
    streams = []
    for body in requests:
        stream = peer.client.get_next_available_stream_id()
        streams.append(stream)
        peer.client.send_headers(stream, [*ASKED, ("te", "trailers")])
        for at in range(0, len(body), FRAME_BYTES_MAX):
            peer.client.send_data(stream, body[at : at + FRAME_BYTES_MAX])
        peer.client.end_stream(stream)
    happened = peer.exchange()
    for stream, body in zip(streams, requests, strict=True):
        own = [one for one in happened if one.stream == stream]
        assert own[0].headers[":path"] == "/x"
        assert b"".join(one.data for one in own if isinstance(one, Came)) == body
        assert own[-1] == Ended(stream)
        peer.server.head(stream, HEAD)
        peer.server.send(stream, reply)
        peer.server.end(stream, TRAILERS_OK)
    received = dict.fromkeys(streams, b"")
    while peer.exchange() or any(isinstance(e, DataReceived) for e in peer.events):
        events, peer.events = peer.events, []
        for event in events:
            if isinstance(event, DataReceived):
                received[event.stream_id] += event.data
                size = event.flow_controlled_length
                peer.client.acknowledge_received_data(size, event.stream_id)
            elif isinstance(event, ResponseReceived):
                assert (b":status", b"200") in event.headers
            elif isinstance(event, TrailersReceived):
                assert (b"grpc-status", b"0") in event.headers
            elif isinstance(event, StreamEnded):
                streams.remove(event.stream_id)
    assert set(received.values()) == {reply}
    assert not streams
    assert not peer.server.streams
    assert peer.server.unsent_bytes == 0


def test_a_head_that_goes_on_is_one():
    server = greeted()
    block = Encoder().encode(ASKED)
    first = frame(Kind.HEADERS, END_STREAM, 1, block[:3])
    (begun, ended) = server.feed(first + frame(Kind.CONTINUATION, END_HEADERS, 1, block[3:]))
    assert begun == Begun(1, dict(ASKED))
    assert ended == Ended(1)


def test_bytes_may_come_one_by_one():
    server = Server()
    whole = PREFACE + SETTINGS + head(1) + frame(Kind.DATA, END_STREAM, 1, b"abc")
    happened = [one for at in range(len(whole)) for one in server.feed(whole[at : at + 1])]
    assert [type(one) for one in happened] == [Begun, Came, Ended]


def test_a_remembered_head_is_forgotten_when_the_table_changes():
    server, encoder = greeted(), Encoder()

    def begun(stream, path):
        block = encoder.encode([*ASKED[:1], (":path", path), *ASKED[2:]])
        return server.feed(frame(Kind.HEADERS, END_HEADERS, stream, block))[0].headers[":path"]

    asked = ["/a", "/a", "/b", "/a", "/b", "/c", "/a", "/b", "/b"]
    assert [begun(2 * n + 1, path) for n, path in enumerate(asked)] == asked


def test_what_has_no_window_waits_for_it():
    server = greeted()
    server.feed(frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", 4, 10)) + head(1))
    server.take()
    server.head(1, HEAD)
    server.send(1, b"x" * 25)
    server.end(1, TRAILERS_OK)
    assert b"x" * 10 in server.take()
    assert server.unsent_of(1) == server.unsent_bytes == 15
    server.feed(frame(Kind.WINDOW_UPDATE, 0, 1, struct.pack(">I", 15)))
    told = server.take()
    assert b"x" * 15 in told
    assert TRAILERS_OK in told
    assert not server.streams


def test_a_smaller_window_may_be_negative_for_a_while():
    server = greeted()
    server.feed(head(1))
    server.send(1, b"x" * 60_000)
    server.feed(frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    server.take()
    server.send(1, b"y")
    assert b"y" not in server.take()
    server.feed(frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", 4, 60_001)))
    assert b"\0\0\0\0\x01y" in server.take()


@pytest.mark.limit("coord.FRAME_BYTES_MAX")
def test_a_frame_may_have_so_many_bytes():
    server = greeted()
    server.feed(head(1))
    (came,) = server.feed(frame(Kind.DATA, 0, 1, b"x" * FRAME_BYTES_MAX))
    assert came.size == FRAME_BYTES_MAX
    more = frame(Kind.DATA, 0, 1, b"x" * (FRAME_BYTES_MAX + 1))
    assert fault_of(server, more) is Fault.FRAME_SIZE_ERROR


@pytest.mark.limit("coord.HEAD_BYTES_MAX")
def test_a_head_may_have_so_many_bytes():
    rest = sum(len(n) + len(v) + 32 for n, v in ASKED) + len("long") + 32
    fields = [*ASKED, ("long", "x" * (HEAD_BYTES_MAX - rest))]
    assert greeted().feed(head(1, fields=fields))[0].headers["long"]
    fields[-1] = ("long", fields[-1][1] + "x")
    assert fault_of(greeted(), head(1, fields=fields)) is Fault.COMPRESSION_ERROR


def test_a_head_goes_on_only_so_far():
    server = greeted()
    most = HEAD_BYTES_MAX // PIECE_BYTES
    assert server.feed(frame(Kind.HEADERS, 0, 1) + frame(Kind.CONTINUATION, 0, 1) * most) == []
    assert fault_of(server, frame(Kind.CONTINUATION, 0, 1)) is Fault.ENHANCE_YOUR_CALM


@pytest.mark.limit("coord.STREAMS_MAX")
def test_so_many_streams_are_open_at_once():
    server = greeted()
    for n in range(STREAMS_MAX):
        assert server.feed(head(2 * n + 1))
    server.take()
    over = 2 * STREAMS_MAX + 1
    assert server.feed(head(over)) == []
    assert server.take() == frame(Kind.RST_STREAM, 0, over, struct.pack(">I", Fault.REFUSED_STREAM))
    server.end(1, TRAILERS_OK)
    assert server.feed(head(over + 2))


@pytest.mark.limit("coord.RESETS_MAX")
def test_so_many_streams_are_begun_and_given_up():
    server = greeted()
    given_up = struct.pack(">I", Fault.CANCEL)
    for n in range(RESETS_MAX):
        stream = 2 * n + 1
        assert server.feed(head(stream) + frame(Kind.RST_STREAM, 0, stream, given_up))[-1] == (
            Reset(stream)
        )
    stream = 2 * RESETS_MAX + 1
    server.feed(head(stream))
    server.end(stream, TRAILERS_OK)  # one that is answered makes up for one
    for again in (stream + 2, stream + 4):
        more = head(again) + frame(Kind.RST_STREAM, 0, again, given_up)
        if again == stream + 2:
            assert server.feed(more)
        else:
            assert fault_of(server, more) is Fault.ENHANCE_YOUR_CALM


@pytest.mark.limit("coord.STREAM_WINDOW_BYTES")
def test_a_stream_has_a_window_that_grows_as_it_is_taken():
    server = greeted()
    server.feed(head(1))
    full, rest = divmod(STREAM_WINDOW_BYTES, FRAME_BYTES_MAX)
    data = frame(Kind.DATA, 0, 1, b"x" * FRAME_BYTES_MAX)
    for _ in range(full):
        server.feed(data)
    server.feed(frame(Kind.DATA, 0, 1, b"x" * rest))
    server.take()
    server.taken(1, STREAM_WINDOW_BYTES)
    assert server.take()[3] == Kind.WINDOW_UPDATE
    for _ in range(full):
        server.feed(data)
    assert fault_of(server, data) is Fault.FLOW_CONTROL_ERROR


def test_the_windows_of_all_streams_together_grow_as_they_are_used():
    server = greeted()
    data = b"x" * FRAME_BYTES_MAX
    granted = WINDOW_BYTES
    for n in range(3 * WINDOW_BYTES // FRAME_BYTES_MAX):
        stream = 2 * n + 1
        server.feed(head(stream) + frame(Kind.DATA, END_STREAM, stream, data))
        server.end(stream, TRAILERS_OK)
        for at in _updates(server.take()):
            granted += at
    assert granted > 3 * WINDOW_BYTES


def _updates(told):
    """Of the connection's window."""
    at = 0
    while at < len(told):
        high, low, kind, _, stream = struct.unpack_from(">BHBBI", told, at)
        size = high << 16 | low
        if kind == Kind.WINDOW_UPDATE and stream == 0:
            yield struct.unpack_from(">I", told, at + 9)[0]
        at += 9 + size


WRONG = {
    "no preface": (b"GET / HTTP/1.1\r\n\r\n", Fault.PROTOCOL_ERROR),
    "no settings first": (PREFACE + head(1), Fault.PROTOCOL_ERROR),
    "an even stream": (PREFACE + SETTINGS + head(2), Fault.PROTOCOL_ERROR),
    "a stream twice": (
        PREFACE + SETTINGS + head(3) + frame(Kind.RST_STREAM, 0, 3, bytes(4)) + head(1),
        Fault.PROTOCOL_ERROR,
    ),
    "data of nothing": (PREFACE + SETTINGS + frame(Kind.DATA, 0, 1), Fault.PROTOCOL_ERROR),
    "data behind the end": (
        PREFACE + SETTINGS + head(1, END_HEADERS | END_STREAM) + frame(Kind.DATA, 0, 1),
        Fault.STREAM_CLOSED,
    ),
    "a second head": (PREFACE + SETTINGS + head(1) + head(1), Fault.PROTOCOL_ERROR),
    "a head broken off": (
        PREFACE + SETTINGS + head(1, 0) + frame(Kind.PING, 0, 0, bytes(8)),
        Fault.PROTOCOL_ERROR,
    ),
    "nothing to go on with": (
        PREFACE + SETTINGS + frame(Kind.CONTINUATION, END_HEADERS, 1),
        Fault.PROTOCOL_ERROR,
    ),
    "a table that is not there": (
        PREFACE + SETTINGS + frame(Kind.HEADERS, END_HEADERS, 1, b"\xfe"),
        Fault.COMPRESSION_ERROR,
    ),
    "too much padding": (
        PREFACE + SETTINGS + head(1) + frame(Kind.DATA, 8, 1, b"\x05abc"),
        Fault.PROTOCOL_ERROR,
    ),
    "no room for a priority": (
        PREFACE + SETTINGS + frame(Kind.HEADERS, 0x24, 1, b"abc"),
        Fault.FRAME_SIZE_ERROR,
    ),
    "a short ping": (PREFACE + SETTINGS + frame(Kind.PING, 0, 0, b"x"), Fault.FRAME_SIZE_ERROR),
    "short settings": (PREFACE + frame(Kind.SETTINGS, 0, 0, b"x"), Fault.FRAME_SIZE_ERROR),
    "a frame size out of bounds": (
        PREFACE + frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", 5, 1)),
        Fault.PROTOCOL_ERROR,
    ),
    "a window out of bounds": (
        PREFACE + frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)),
        Fault.FLOW_CONTROL_ERROR,
    ),
    "a window of nothing more": (
        PREFACE + SETTINGS + frame(Kind.WINDOW_UPDATE, 0, 0, bytes(4)),
        Fault.FLOW_CONTROL_ERROR,
    ),
    "a window that is too large": (
        PREFACE + SETTINGS + frame(Kind.WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1)),
        Fault.FLOW_CONTROL_ERROR,
    ),
    "a window of no stream": (
        PREFACE + SETTINGS + frame(Kind.WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)),
        Fault.PROTOCOL_ERROR,
    ),
    "a short reset": (
        PREFACE + SETTINGS + head(1) + frame(Kind.RST_STREAM, 0, 1),
        Fault.FRAME_SIZE_ERROR,
    ),
    "a reset of nothing": (
        PREFACE + SETTINGS + frame(Kind.RST_STREAM, 0, 1, bytes(4)),
        Fault.PROTOCOL_ERROR,
    ),
    "a push": (PREFACE + SETTINGS + frame(Kind.PUSH_PROMISE, 0, 1), Fault.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_frame_ends_the_connection(name):
    data, fault = WRONG[name]
    server = Server()
    with pytest.raises(H2Broken) as told:
        server.feed(data)
    assert told.value.fault is fault
    server.close(told.value)
    assert server.take()[-len(str(told.value)) :] == str(told.value).encode()


def test_a_window_that_grows_too_large_resets_its_stream_alone():
    server = greeted()
    server.feed(head(1) + head(3))
    much = frame(Kind.WINDOW_UPDATE, 0, 1, struct.pack(">I", (1 << 31) - 1))
    assert server.feed(much) == [Reset(1)]
    assert list(server.streams) == [3]


def test_what_comes_for_a_stream_that_is_over_is_let_go():
    server = greeted()
    server.feed(head(1))
    server.end(1, TRAILERS_OK)
    late = frame(Kind.DATA, END_STREAM, 1, b"late")
    late += frame(Kind.WINDOW_UPDATE, 0, 1, struct.pack(">I", 5))
    late += frame(Kind.RST_STREAM, 0, 1, bytes(4))
    assert server.feed(late) == []


@given(
    st.lists(
        st.tuples(
            st.integers(0, 11), st.integers(0, 255), st.integers(0, 7), st.binary(max_size=40)
        ),
        max_size=30,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_frames_are_taken_or_refused_and_never_fail(frames):
    server = greeted()
    try:
        for kind, flags, stream, body in frames:
            server.feed(frame(kind, flags, stream, body))
            server.take()
    except H2Broken:
        pass
    assert server.unsent_bytes >= 0


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_taken_or_refused_and_never_fail(data):
    server = greeted()
    with suppress(H2Broken):
        server.feed(data)
