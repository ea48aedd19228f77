"""What a socket asks of its transport, turn by turn."""

import asyncio

from bastide.base.routes.rows import Prepared
from bastide.parts.http.contract import Limits
from bastide.parts.http.websocket.contract import Pace
from bastide.parts.http.websocket.frames import (
    CLOSE,
    NORMAL,
    PING,
    PONG,
    TEXT,
    close_frame,
    control_frame,
    message_frame,
)
from bastide.parts.http.websocket.session import (
    INBOX_CHARACTERS_MAX,
    INBOX_MESSAGES_MAX,
    UNSENT_BYTES_MAX,
)
from tests.parts.http.websocket_kit import Wire, deflated, frame, turns, wired


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def never(socket):
    await asyncio.Event().wait()


async def test_replies_to_what_was_sent_ahead_leave_in_one_write():
    async with wired(echo) as (protocol, wire):
        await turns()
        protocol.data_received(frame(TEXT, b"a") * 50)
        await turns()
        assert b"".join(wire.writes) == message_frame("a") * 50
        assert len(wire.writes) <= 2, "the last one waits for nothing"


async def test_many_pings_are_answered_in_one_write():
    async with wired(never) as (protocol, wire):
        protocol.data_received(b"".join(frame(PING, b"%d" % n) for n in range(100)))
        await turns()
        assert wire.writes == [b"".join(control_frame(PONG, b"%d" % n) for n in range(100))]


async def test_what_is_put_together_is_written_once_it_is_enough():
    async with wired(echo) as (protocol, wire):
        await turns()
        said = frame(TEXT, bytes(UNSENT_BYTES_MAX // 2))
        protocol.data_received(said * 5)
        await turns(50)
        assert b"".join(wire.writes) == message_frame("\0" * (UNSENT_BYTES_MAX // 2)) * 5
        assert max(map(len, wire.writes)) < 2 * UNSENT_BYTES_MAX


async def test_while_the_client_is_slow_only_its_last_ping_is_answered():
    # RFC 6455, 5.5.3: it "MAY elect to send a Pong frame for only the most recently processed
    # Ping frame."
    async with wired(never) as (protocol, wire):
        protocol.pause_writing()
        protocol.data_received(b"".join(frame(PING, b"%d" % n) for n in range(100)))
        assert wire.writes == []
        protocol.resume_writing()
        await turns()
        assert wire.writes == [control_frame(PONG, b"99")]
        protocol.data_received(frame(PING, b"now"))
        assert wire.writes[1:] == [control_frame(PONG, b"now")]


async def test_pings_after_a_close_are_not_answered():
    # RFC 6455, 5.5.1: "The application MUST NOT send any more data frames after sending a Close
    # frame."; and 5.5.3 asks for a Pong "unless it already received a Close frame".
    async with wired(never) as (protocol, wire):
        closing = asyncio.create_task(protocol.close())
        await turns()
        assert wire.writes == [close_frame(NORMAL)]
        protocol.data_received(frame(PING) + frame(TEXT, b"a") + frame(CLOSE))
        await turns()
        assert wire.writes == [close_frame(NORMAL)]
        assert wire.closing
        protocol.connection_lost(None)
        await closing


async def test_a_client_that_takes_a_little_is_not_cut_and_one_that_takes_nothing_is():
    async with wired(never, limits=Limits(stall_s=7)) as (protocol, wire):
        wire.untaken = 1_000
        protocol.pause_writing()
        for wire.untaken in (999, 500, 1):
            assert protocol.look() == 7
        assert not wire.aborted
        assert protocol.look() == 0
        assert wire.aborted
        assert protocol.closed


async def test_a_connection_that_comes_with_a_full_buffer_is_slow_from_the_start():
    wire = Wire()
    wire.untaken = 1 << 20
    wire.reading = False
    async with wired(never, wire=wire) as (protocol, _):
        assert not protocol.offer(Prepared("a"))
        assert wire.reading, "who handed it over may have paused it"
        protocol.resume_writing()
        assert protocol.offer(Prepared("a"))


async def test_pings_are_ping_s_apart_and_silence_of_pong_s_is_the_end():
    async with wired(never, pace=Pace(ping_s=20, pong_s=15)) as (protocol, wire):
        for _ in range(3):
            assert protocol.look() == 15
            assert wire.writes.pop() == control_frame(PING)
            protocol.data_received(frame(PONG))
            assert protocol.look() == 5
        assert protocol.look() == 15
        assert protocol.look() == 0
        assert wire.aborted


async def test_so_many_messages_may_wait_and_with_one_more_reading_stops():
    async with wired(never) as (protocol, wire):
        protocol.data_received(frame(TEXT, b"") * INBOX_MESSAGES_MAX)
        assert wire.reading
        protocol.data_received(frame(TEXT, b""))
        assert not wire.reading
    async with wired(never) as (protocol, wire):
        protocol.data_received(frame(TEXT, bytes(INBOX_CHARACTERS_MAX)))
        assert wire.reading
        protocol.data_received(frame(TEXT, b"x"))
        assert not wire.reading


async def test_reading_goes_on_when_the_handler_has_taken_all():
    taking = asyncio.Event()

    async def handler(socket):
        await taking.wait()
        await echo(socket)

    async with wired(handler) as (protocol, wire):
        protocol.data_received(frame(TEXT, b"", key=b"abcd") * 20_000)  # more than one look
        assert not wire.reading
        await turns()
        taking.set()
        await turns(100)
        assert wire.reading
        assert b"".join(wire.writes) == message_frame("") * 20_000


async def test_few_bombs_are_unpacked_before_the_handler_takes_them():
    bomb = frame(TEXT, deflated(bytes(1 << 20)), first=0xC1)
    taken = []
    taking = asyncio.Event()

    async def handler(socket):
        await taking.wait()
        taken.extend([len(message) async for message in socket])

    async with wired(handler, deflates=True) as (protocol, wire):
        protocol.data_received(bomb * 20 + frame(CLOSE))
        await turns()
        assert not protocol.closed, "the close stands behind what is not unpacked yet"
        assert not wire.reading
        taking.set()
        await turns(100)
        assert taken == [1 << 20] * 20
        assert protocol.closed


async def test_a_close_of_ours_finds_the_answer_behind_what_nobody_takes_any_more():
    async with wired(never) as (protocol, wire):
        protocol.data_received(frame(TEXT, b"") * 20_000 + frame(CLOSE))
        assert not wire.reading
        closing = asyncio.create_task(protocol.close())
        await turns(100)
        assert wire.closing
        protocol.connection_lost(None)
        await closing


async def test_a_sender_that_is_cancelled_while_it_waits_sends_nothing():
    async with wired(never) as (protocol, wire):
        protocol.pause_writing()
        senders = [asyncio.create_task(protocol.send(str(n))) for n in range(3)]
        await turns()
        senders[1].cancel()
        await turns()
        protocol.resume_writing()
        await asyncio.gather(*senders, return_exceptions=True)
        assert b"".join(wire.writes) == message_frame("0") + message_frame("2")


async def test_a_cancelled_receive_loses_no_message():
    async with wired(never) as (protocol, _):
        receiving = asyncio.create_task(protocol.receive())
        await turns()
        protocol.data_received(frame(TEXT, b"one") + frame(TEXT, b"two"))
        receiving.cancel()  # it has its message, and has not run yet
        await asyncio.gather(receiving, return_exceptions=True)
        assert receiving.cancelled()
        assert [await protocol.receive(), await protocol.receive()] == ["one", "two"]
        receiving = asyncio.create_task(protocol.receive())
        await turns()
        receiving.cancel()  # it has none
        await turns()
        protocol.data_received(frame(TEXT, b"three"))
        assert await protocol.receive() == "three"


async def test_while_nothing_is_read_nobody_is_held_for_dead():
    async with wired(never, pace=Pace(ping_s=20, pong_s=15)) as (protocol, wire):
        protocol.data_received(frame(TEXT, b"") * (INBOX_MESSAGES_MAX + 1))
        assert not wire.reading
        for _ in range(5):
            assert protocol.look() in (5, 15)
        assert not wire.aborted
