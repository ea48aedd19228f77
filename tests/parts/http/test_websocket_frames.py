"""Frames: RFC 6455, and RFC 7692 for deflated messages. The sections are quoted by number."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets import frames as peer
from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.streams import StreamReader

from bastide.base.routes.rows import Prepared
from bastide.parts.http.contract import Limits
from bastide.parts.http.websocket import frames
from bastide.parts.http.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL_BYTES_MAX,
    DEFLATE_BYTES_MAX,
    DEFLATE_BYTES_MIN,
    INFLATED_BYTES_MAX,
    NO_CODE,
    PAYLOAD,
    PING,
    PONG,
    PROTOCOL,
    READ_BYTES_MAX,
    TEXT,
    TOO_BIG,
    Broken,
    Close,
    Ping,
    Pong,
    Reader,
    close_frame,
    control_frame,
    deflated_frame,
    deflated_frame_of,
    message_frame,
    plain_frame_of,
)
from tests.parts.http.websocket_kit import deflated, frame

MOST = 1 << 17  # of a frame and of a message, where a test doesn't say


def reader(*, frame_bytes=MOST, message_bytes=MOST, inflates=True):
    return Reader(frame_bytes=frame_bytes, message_bytes=message_bytes, inflates=inflates)


def events_of(*pieces, **limits):
    """What is read from all pieces, each given by itself."""
    reading = reader(**limits)
    events = []
    for piece in pieces:
        events += reading.feed(piece)
        while reading.stopped:
            events += reading.feed(b"")
    return events


def code_of(*pieces, **limits):
    (*_, last) = events_of(*pieces, **limits)
    assert isinstance(last, Broken), last
    return last.code


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, MOST])
def test_a_message_of_each_length_of_length_is_read_and_written_as_a_peer_does(size):
    for message, opcode in (("x" * size, peer.TEXT), (b"x" * size, peer.BINARY)):
        payload = message.encode() if isinstance(message, str) else message
        theirs = peer.Frame(opcode, payload)
        assert events_of(theirs.serialize(mask=True)) == [message]
        assert message_frame(message) == theirs.serialize(mask=False)


def test_text_of_a_class_of_its_own_is_text():
    class Markup(str):
        __slots__ = ()

    assert message_frame(Markup("<b>")) == message_frame("<b>")
    assert deflated_frame(Markup("<b>" * 1_000)) == deflated_frame("<b>" * 1_000)


def test_fragments_are_one_message_and_control_frames_may_come_between():
    # RFC 6455, 5.4: "Control frames MAY be injected in the middle of a fragmented message."
    said = (
        frame(TEXT, b"gr\xc3", first=TEXT),
        frame(PING, b"are you there"),
        frame(CONTINUATION, b"", first=CONTINUATION),
        frame(PONG),
        frame(CONTINUATION, b"\xbc\xc3\x9fe"),
        frame(BINARY, b"a", first=BINARY),
        frame(CONTINUATION, b"b"),
        frame(TEXT, b"next"),
    )
    expected = [Ping(b"are you there"), Pong(b""), "grüße", b"ab", "next"]
    assert events_of(b"".join(said)) == expected
    assert events_of(*said) == expected


def test_a_frame_that_is_not_masked_breaks_the_connection():
    # RFC 6455, 5.1: "The server MUST close the connection upon receiving a frame that is not
    # masked." Two bytes are enough to know.
    assert code_of(b"\x81\x00") == PROTOCOL
    assert code_of(b"\x88\x02\x03\xe8") == PROTOCOL


@pytest.mark.parametrize("bit", [0x20, 0x10])
@pytest.mark.parametrize("opcode", [TEXT, PING])
def test_a_reserved_bit_breaks_the_connection(bit, opcode):
    # RFC 6455, 5.2: "MUST be 0 unless an extension is negotiated that defines meanings for
    # non-zero values."
    assert code_of(frame(opcode, first=0x80 | bit | opcode)) == PROTOCOL


def test_the_bit_for_deflated_messages_is_refused_where_it_means_nothing():
    # RFC 7692, 6: only on the first frame of a message; 6.1: never on a control frame.
    assert code_of(frame(TEXT, first=0xC0 | TEXT), inflates=False) == PROTOCOL
    assert code_of(frame(PING, first=0xC0 | PING)) == PROTOCOL
    begun = frame(TEXT, deflated(b"a"), first=0x40 | TEXT)
    assert code_of(begun, frame(CONTINUATION, first=0xC0)) == PROTOCOL


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_a_reserved_opcode_breaks_the_connection(opcode):
    # RFC 6455, 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the
    # WebSocket Connection_."
    assert code_of(frame(opcode)) == PROTOCOL


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_in_pieces_breaks_the_connection(opcode):
    # RFC 6455, 5.5: control frames "MUST have a payload length of 125 bytes or less and MUST NOT
    # be fragmented."
    assert code_of(frame(opcode, first=opcode)) == PROTOCOL


@pytest.mark.limit("http.CONTROL_BYTES_MAX")
def test_a_control_frame_may_have_125_bytes_and_no_more():
    assert events_of(frame(PING, bytes(CONTROL_BYTES_MAX))) == [Ping(bytes(125))]
    assert code_of(frame(PING, bytes(CONTROL_BYTES_MAX + 1))) == PROTOCOL
    assert code_of(frame(PING, b"", length=b"\xff" + bytes(8))) == PROTOCOL


def test_what_is_continued_must_have_begun_and_what_has_begun_must_end():
    # RFC 6455, 5.4: "The fragments of one message MUST NOT be interleaved between the fragments
    # of another message".
    assert code_of(frame(CONTINUATION, b"a")) == PROTOCOL
    assert code_of(frame(TEXT, b"a"), frame(CONTINUATION, b"a")) == PROTOCOL
    for second in (TEXT, BINARY):
        assert code_of(frame(TEXT, b"a", first=TEXT), frame(second, b"b")) == PROTOCOL


@pytest.mark.parametrize(
    "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]
)
def test_a_close_code_that_nobody_may_send_breaks_the_connection(code):
    # RFC 6455, 7.4.1 and 7.4.2
    assert code_of(frame(CLOSE, code.to_bytes(2, "big"))) == PROTOCOL


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_every_other_close_code_is_read_and_written_as_a_peer_does(code):
    theirs = peer.Close(code, "héllo").serialize()
    assert events_of(frame(CLOSE, theirs)) == [Close(code, "héllo")]
    assert close_frame(code, "héllo") == peer.Frame(peer.CLOSE, theirs).serialize(mask=False)


def test_a_close_has_no_payload_or_a_code_of_two_bytes():
    # RFC 6455, 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte
    # unsigned integer".
    assert events_of(frame(CLOSE)) == [Close(NO_CODE, "")]
    assert code_of(frame(CLOSE, b"\x03")) == PROTOCOL
    assert close_frame(NO_CODE) == b"\x88\x00"


def test_nothing_is_read_behind_a_close_or_a_broken_rule():
    # RFC 6455, 5.5.1 and 7.1.7
    assert events_of(frame(CLOSE) + frame(TEXT, b"a"), frame(TEXT, b"b")) == [Close(NO_CODE, "")]
    broken = events_of(frame(TEXT, b"a") + frame(3) + frame(TEXT, b"b"), frame(TEXT, b"c"))
    assert broken[0] == "a"
    assert len(broken) == 2


NOT_UTF8 = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\xe2\x82"]


@pytest.mark.parametrize("text", NOT_UTF8)
def test_text_that_is_not_utf8_breaks_the_connection(text):
    # RFC 6455, 8.1: "the endpoint MUST _Fail the WebSocket Connection_."
    assert code_of(frame(TEXT, text)) == PAYLOAD
    assert code_of(frame(TEXT, text + bytes(200))) == PAYLOAD
    assert code_of(frame(TEXT, text[:1], first=TEXT), frame(CONTINUATION, text[1:])) == PAYLOAD
    assert code_of(frame(TEXT, deflated(text), first=0xC0 | TEXT)) == PAYLOAD
    assert code_of(frame(CLOSE, b"\x03\xe8" + text)) == PAYLOAD
    assert events_of(frame(BINARY, text)) == [text]


def test_text_in_pieces_fails_with_the_first_piece_that_is_wrong():
    assert code_of(frame(TEXT, b"a\xff", first=TEXT)) == PAYLOAD
    assert events_of(frame(TEXT, b"a\xe2\x82", first=TEXT)) == []
    packed = deflated(b"a\xff")
    assert code_of(frame(TEXT, packed, first=0x40 | TEXT)) == PAYLOAD


def test_a_length_is_written_in_as_few_bytes_as_it_needs():
    # RFC 6455, 5.2: "the minimal number of bytes MUST be used to encode the length"
    assert code_of(frame(TEXT, bytes(125), length=b"\xfe\x00\x7d")) == PROTOCOL
    assert events_of(frame(BINARY, bytes(126), length=b"\xfe\x00\x7e")) == [bytes(126)]
    short = b"\xff" + (65_535).to_bytes(8, "big")
    assert code_of(frame(TEXT, bytes(65_535), length=short)) == PROTOCOL
    enough = b"\xff" + (65_536).to_bytes(8, "big")
    assert events_of(frame(BINARY, bytes(65_536), length=enough)) == [bytes(65_536)]


def test_a_length_of_64_bits_has_its_highest_bit_clear():
    # RFC 6455, 5.2: "the most significant bit MUST be 0"
    assert code_of(b"\x81\xff\x80" + bytes(7)) == PROTOCOL
    assert code_of(b"\x81\xff\x7f" + b"\xff" * 7) == TOO_BIG


@pytest.mark.parametrize("most", [1, 100, 125, 126, 1000, 65_536])
def test_a_frame_has_at_most_frame_bytes_and_is_refused_before_it_has_come(most):
    whole, over = frame(BINARY, bytes(most)), frame(BINARY, bytes(most + 1))
    assert events_of(whole, frame_bytes=most) == [bytes(most)]
    assert code_of(over, frame_bytes=most) == TOO_BIG
    assert events_of(frame(PING, bytes(125)), frame_bytes=most) == [Ping(bytes(125))]
    head = len(over) - (most + 1) - 4
    assert code_of(over[:head], frame_bytes=most) == TOO_BIG


@pytest.mark.parametrize("most", [1, 100, 125, 126, 1000, 65_536])
def test_a_message_has_at_most_message_bytes_however_it_comes(most):
    limits = {"message_bytes": most, "frame_bytes": MOST}
    for size, ends in ((most, [bytes(most)]), (most + 1, TOO_BIG)):
        ways = (
            [frame(BINARY, bytes(size))],
            [frame(BINARY, bytes(size - 1), first=BINARY), frame(CONTINUATION, b"\x00")],
            [frame(BINARY, deflated(bytes(size)), first=0xC0 | BINARY)],
            _in_two(deflated(bytes(size))),
        )
        for way in ways:
            events = events_of(*way, **limits)
            assert events == ends or events[0].code == ends


def _in_two(payload):
    half = len(payload) // 2
    begun = frame(BINARY, payload[:half], first=0x40 | BINARY)
    return [begun, frame(CONTINUATION, payload[half:])]


def test_a_bomb_is_not_unpacked_beyond_what_is_taken():
    bomb = frame(BINARY, deflated(bytes(64 << 20)), first=0xC0 | BINARY)
    assert len(bomb) < MOST
    assert code_of(bomb) == TOO_BIG
    assert code_of(*_in_two(deflated(bytes(MOST * 2)))) == TOO_BIG


def test_of_many_bombs_only_some_are_unpacked_at_once():
    bomb = frame(BINARY, deflated(bytes(MOST)), first=0xC0 | BINARY)
    most = INFLATED_BYTES_MAX // MOST + 1
    reading = reader()
    assert len(reading.feed(bomb * (most + 5))) == most
    assert reading.stopped
    assert len(reading.feed(b"")) == 5
    assert not reading.stopped


def test_of_many_small_messages_only_some_are_read_at_once():
    small = frame(TEXT, b"", key=b"abcd")
    most = READ_BYTES_MAX // len(small) + 1
    reading = reader()
    assert len(reading.feed(small * (most + 5))) == most
    assert reading.stopped
    assert len(reading.feed(small)) == 6, "what comes meanwhile stands behind"
    assert not reading.stopped


def test_a_message_may_be_deflated_in_every_way_that_rfc_7692_shows():
    def of(*payloads):
        first = (0xC0 if len(payloads) == 1 else 0x40) | TEXT
        rest = [frame(CONTINUATION, p, first=0x00) for p in payloads[1:-1]]
        rest += [frame(CONTINUATION, p) for p in payloads[1:][-1:]]
        return events_of(frame(TEXT, payloads[0], first=first), *rest)

    one = bytes.fromhex("f248cdc9c90700")
    assert of(one) == ["Hello"]  # 7.2.3.1
    assert of(one[:3], one[3:]) == ["Hello"]
    assert of(one[:3], b"", one[3:]) == ["Hello"]
    assert of(bytes.fromhex("000500faff48656c6c6f00")) == ["Hello"]  # 7.2.3.3
    assert of(bytes.fromhex("f348cdc9c9070000")) == ["Hello"]  # 7.2.3.4, a last block
    assert of(bytes.fromhex("f24805000000ffffcac9c90700")) == ["Hello"]  # 7.2.3.5
    assert of(b"\x00") == [""]  # 7.2.3.6


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\x07", bytes.fromhex("f348cdc9c907000001")])
def test_what_does_not_inflate_breaks_the_connection(payload):
    assert code_of(frame(TEXT, payload, first=0xC0 | TEXT)) == PAYLOAD


@pytest.mark.parametrize("text", ["é" * 5_000, "short", "", "x" * DEFLATE_BYTES_MAX])
def test_what_we_deflate_a_peer_inflates(text):
    inflating = PerMessageDeflate(True, True, 15, frames.WINDOW_BITS)
    reading = StreamReader()
    reading.feed_data(deflated_frame(text) * 2)
    for _ in range(2):
        parsing = peer.Frame.parse(
            reading.read_exact, mask=False, max_size=MOST, extensions=[inflating]
        )
        with pytest.raises(StopIteration) as parsed:
            next(parsing)
        assert parsed.value.value.data == text.encode()


def test_a_message_is_deflated_only_where_that_saves_something():
    # RFC 6455, 5.2: RSV1 tells which is which.
    def is_deflated(message):
        return bool(deflated_frame(message)[0] & 0x40)

    assert is_deflated("x" * DEFLATE_BYTES_MIN)
    assert not is_deflated("x" * (DEFLATE_BYTES_MIN - 1))
    assert is_deflated(bytes(DEFLATE_BYTES_MAX))
    assert not is_deflated(bytes(DEFLATE_BYTES_MAX + 1))
    noise = Random(1).randbytes(DEFLATE_BYTES_MIN)
    assert deflated_frame(noise) == message_frame(noise)


def test_what_is_prepared_is_encoded_once():
    prepared = Prepared("x" * 2_000)
    assert plain_frame_of(prepared) == message_frame("x" * 2_000)
    assert plain_frame_of(prepared) is plain_frame_of(prepared)
    assert deflated_frame_of(prepared) == deflated_frame("x" * 2_000)
    assert deflated_frame_of(prepared) is deflated_frame_of(prepared)
    assert len(deflated_frame_of(prepared)) < 100


def test_the_limits_of_a_server_let_a_large_message_through_whole():
    limits = Limits()
    reading = reader(frame_bytes=limits.frame_bytes, message_bytes=limits.message_bytes)
    assert reading.feed(frame(BINARY, bytes(limits.frame_bytes))) == [bytes(limits.frame_bytes)]


# Properties.

texts = st.text(max_size=300).map(lambda text: (TEXT, text.encode()))
blobs = st.binary(max_size=300).map(lambda blob: (BINARY, blob))
controls = st.tuples(st.sampled_from((PING, PONG)), st.binary(max_size=125))


@st.composite
def streams(draw):
    """Frames that may all be sent, and the events that they mean."""
    said, meant = [], []
    for opcode, payload in draw(st.lists(st.one_of(texts, blobs), max_size=6)):
        packed = draw(st.booleans())
        wire = deflated(payload) if packed else payload
        cuts = sorted(draw(st.lists(st.integers(0, len(wire)), max_size=3)))
        pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
        for n, piece in enumerate(pieces):
            for control, payload_of_control in draw(st.lists(controls, max_size=1)):
                said.append(frame(control, payload_of_control))
                meant.append((Ping if control == PING else Pong)(payload_of_control))
            first = (opcode | (0x40 if packed else 0)) if n == 0 else CONTINUATION
            first |= 0x80 if n == len(pieces) - 1 else 0
            said.append(frame(opcode, piece, first=first))
        meant.append(payload.decode() if opcode == TEXT else payload)
    return b"".join(said), meant


@given(streams(), st.data())
def test_whatever_may_be_sent_is_read_however_it_is_split(stream, data):
    said, meant = stream
    assert events_of(said) == meant
    assert events_of(*split(said, data)) == meant


def split(said, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=8)))
    return [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]


@given(streams(), st.data())
def test_whatever_else_comes_gives_the_same_events_however_it_is_split(stream, data):
    said = bytearray(stream[0] + data.draw(st.binary(max_size=40)))
    for _ in range(data.draw(st.integers(0, 3))):
        if said:
            said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    limits = {"frame_bytes": 200, "message_bytes": 250}
    whole = events_of(bytes(said), **limits)
    assert events_of(*split(bytes(said), data), **limits) == whole
    assert events_of(*(bytes((byte,)) for byte in said), **limits) == whole
    assert not any(isinstance(event, Broken | Close) for event in whole[:-1])


@given(st.binary(max_size=60), st.booleans())
def test_what_a_strict_peer_refuses_we_refuse_too(said, masked):
    """A frame that `websockets` does not take gives no event of ours but Broken."""
    said = bytes((said[0], said[1] | 0x80)) + said[2:] if masked and len(said) > 1 else said
    reading = StreamReader()
    reading.feed_data(said)
    parsing = peer.Frame.parse(reading.read_exact, mask=True, max_size=MOST)
    try:
        next(parsing)
    except ProtocolError:
        assert code_of(said, inflates=False) == PROTOCOL
    except (StopIteration, peer.PayloadTooBig):
        pass


@given(st.one_of(st.text(), st.binary()))
def test_what_we_write_a_peer_reads(message):
    reading = StreamReader()
    reading.feed_data(message_frame(message))
    with pytest.raises(StopIteration) as parsed:
        next(peer.Frame.parse(reading.read_exact, mask=False))
    assert parsed.value.value == peer.Frame(
        peer.TEXT if isinstance(message, str) else peer.BINARY,
        message.encode() if isinstance(message, str) else message,
    )
    assert control_frame(PING, b"a") == peer.Frame(peer.PING, b"a").serialize(mask=False)
