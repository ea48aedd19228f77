"""The port itself: what it takes, what it refuses, and who is cut off for what."""

import asyncio
import struct

import pytest
from grpclib.const import Status as Grpc
from grpclib.exceptions import GRPCError
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastide.engines.coord.contract import Put, Range
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.wire import connection as door_connection
from bastide.engines.coord.wire import watch
from bastide.engines.coord.wire.door import FIRST_BYTES_S, PONG_S, SILENCE_S
from bastide.engines.coord.wire.framing import MESSAGE_BYTES_MAX
from bastide.engines.coord.wire.h2 import END_HEADERS, END_STREAM, PREFACE, Kind, frame
from tests.engines.coord.wire_kit import HOST, WITHIN_S, becomes, client_of, door


@pytest.fixture
async def ours():
    async with door() as opened:
        yield opened


@pytest.fixture
async def client(ours):
    async with client_of(ours) as made:
        yield made


async def refusal(asked):
    with pytest.raises(GRPCError) as told:
        await asked
    return told.value.status, told.value.message


def head(stream, path, flags=END_HEADERS, **more):
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x"}
    fields |= {"content-type": "application/grpc", "te": "trailers"} | more
    return frame(Kind.HEADERS, flags, stream, Encoder().encode(fields.items()))


async def said_to(ours, data):
    """All that comes back, until we are cut off or let go."""
    reader, writer = await asyncio.open_connection(HOST, ours.port)
    writer.write(data)
    try:
        async with asyncio.timeout(WITHIN_S):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


# --- two protocols --------------------------------------------------------------------------------


async def test_both_protocols_are_spoken_on_one_port(ours, client):
    await client("KV/Put", key=b"a", value=b"1")
    asked = b'{"key":"YQ=="}'
    told = await said_to(
        ours,
        b"POST /v3/kv/range HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(asked), asked),
    )
    assert b'"value":"MQ=="' in told


async def test_a_preface_may_come_byte_by_byte(ours):
    reader, writer = await asyncio.open_connection(HOST, ours.port)
    for at in range(len(PREFACE)):
        writer.write(PREFACE[at : at + 1])
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(frame(Kind.SETTINGS, 0, 0) + frame(Kind.PING, 0, 0, b"12345678"))
    told = b""
    async with asyncio.timeout(WITHIN_S):
        while frame(Kind.PING, 1, 0, b"12345678") not in told:
            told += await reader.read(1000)
    writer.close()


async def test_a_bad_frame_closes_its_connection_alone(ours, client):
    async with client.stream("Watch/Watch") as stream:
        await stream.send_message(messages().WatchRequest(create_request={"key": b"a"}))
        assert (await stream.recv_message()).created
        bad = PREFACE + frame(Kind.SETTINGS, 0, 0) + frame(Kind.DATA, 0, 1, b"x")
        told = await said_to(ours, bad)
        assert b"data of a stream that never began" in told
        await client("KV/Put", key=b"a", value=b"1")
        assert (await stream.recv_message()).events[0].kv.value == b"1"
    await becomes(lambda: len(ours.connections) == 1)


@given(data=st.binary(min_size=1, max_size=200))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_message_is_answered_or_refused_and_never_a_fault(data, caplog):
    """Of every method; what it asks for is another matter."""

    async def run():
        from tests.engines.coord.wire_kit import methods

        async with door() as ours:
            asked = PREFACE + frame(Kind.SETTINGS, 0, 0)
            body = struct.pack(">BI", 0, len(data)) + data
            for n, path in enumerate(methods()):
                asked += head(2 * n + 1, path) + frame(Kind.DATA, END_STREAM, 2 * n + 1, body)
            asked += frame(Kind.GOAWAY, 0, 0, bytes(8))
            reader, writer = await asyncio.open_connection(HOST, ours.port)
            writer.write(asked)
            told = b""
            async with asyncio.timeout(WITHIN_S):
                while told.count(b"grpc-status") < len(methods()) - 6:  # some wait, for a turn say
                    told += await reader.read(65_536)
            writer.close()

    asyncio.run(run())
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


async def test_a_malformed_message_ends_its_call_alone(ours, client):
    asked = PREFACE + frame(Kind.SETTINGS, 0, 0)
    bodies = {
        1: b"\0\0\0\0\2\xff\xff",  # no protobuf
        3: b"\1\0\0\0\0",  # packed
        5: b"\0\0\0\0\5x",  # broken off
        7: b"",  # none
        9: b"\0" + struct.pack(">I", MESSAGE_BYTES_MAX + 1),
    }
    for stream, body in bodies.items():
        asked += head(stream, "/etcdserverpb.KV/Put")
        asked += frame(Kind.DATA, END_STREAM, stream, body)
    asked += head(11, "/etcdserverpb.KV/Nothing", END_HEADERS | END_STREAM)
    asked += head(13, "/etcdserverpb.KV/Put", **{"grpc-timeout": "soon"})
    asked += head(15, "/etcdserverpb.KV/Put", **{"content-type": "text/plain"})
    asked += head(17, "/etcdserverpb.KV/Put")
    asked += frame(Kind.DATA, END_STREAM, 17, b"\0\0\0\0\3\x0a\1k")
    reader, writer = await asyncio.open_connection(HOST, ours.port)
    writer.write(asked)
    told = b""
    async with asyncio.timeout(WITHIN_S):
        while told.count(b"grpc-status") < 8:
            told += await reader.read(65_536)
    writer.close()
    for words in ("none of this method", "packed", "broken off", "one request", "unknown method"):
        assert words.encode() in told
    assert b"415" in told
    assert (await ours.local.range(Range(b"k"))).count == 1


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.limit("coord.MESSAGE_BYTES_MAX")
async def test_a_message_may_have_so_many_bytes(ours, client):
    empty = messages().PutRequest(key=b"k", value=b"x" * (MESSAGE_BYTES_MAX - 1_000))
    rest = MESSAGE_BYTES_MAX - empty.ByteSize()
    value = b"x" * (MESSAGE_BYTES_MAX - 1_000 + rest)
    status, told = await refusal(client("KV/Put", key=b"k", value=value))
    assert (status, told) == (Grpc.INVALID_ARGUMENT, "etcdserver: request is too large")
    status, told = await refusal(client("KV/Put", key=b"k", value=value + b"x"))
    assert status is Grpc.RESOURCE_EXHAUSTED
    assert str(MESSAGE_BYTES_MAX) in told


@pytest.mark.limit("coord.CONNECTIONS_MAX")
async def test_so_many_connections_are_there_at_once():
    async with door(connections_max=2) as ours, client_of(ours) as first, client_of(ours) as second:
        for one in (first, second):
            await one("KV/Put", key=b"a")
        assert await said_to(ours, PREFACE) == b""
        second.channel.close()
        await becomes(lambda: len(ours.connections) == 1)
        async with client_of(ours) as third:
            await third("KV/Put", key=b"a")


@pytest.mark.limit("coord.HELD_BYTES_MAX")
async def test_what_all_have_sent_and_is_not_whole_is_bounded(ours, client):
    ours.held_bytes_max = 50_000
    await client("KV/Put", key=b"a", value=b"x" * 40_000)
    status, told = await refusal(client("KV/Put", key=b"a", value=b"x" * 60_000))
    assert (status, told) == (Grpc.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
    await becomes(lambda: ours.held_bytes == 0)
    await client("KV/Put", key=b"a", value=b"x" * 40_000)


async def greedy(ours, path, body):
    """A client that takes nothing: it gives no window."""
    reader, writer = await asyncio.open_connection(HOST, ours.port)
    no_window = frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    writer.write(PREFACE + no_window + head(1, path) + frame(Kind.DATA, 0, 1, body))
    return reader, writer


@pytest.mark.limit("coord.UNSENT_BYTES_MAX")
async def test_so_much_waits_for_one_connection_to_take_it(ours, monkeypatch):
    await ours.local.put(Put(b"k", b"x" * 1_000))
    reader, writer = await greedy(ours, "/etcdserverpb.KV/Range", b"\0\0\0\0\3\x0a\1k")
    writer.write(frame(Kind.DATA, END_STREAM, 1))
    await becomes(lambda: sum(one._h2.unsent_bytes for one in ours.connections) > 1_000)
    (connection,) = ours.connections
    monkeypatch.setattr(door_connection, "UNSENT_BYTES_MAX", connection._h2.unsent_bytes)
    ask = frame(Kind.DATA, END_STREAM, 3, b"\0\0\0\0\3\x0a\1k")
    writer.write(head(3, "/etcdserverpb.KV/Range") + ask)
    await becomes(lambda: connection._h2.unsent_bytes > door_connection.UNSENT_BYTES_MAX)
    writer.write(head(5, "/etcdserverpb.KV/Range"))
    told = b""
    async with asyncio.timeout(WITHIN_S):
        while b"too many requests" not in told:
            told += await reader.read(65_536)
    writer.close()


async def test_a_watcher_that_takes_nothing_is_not_told_more(ours):
    body = messages().WatchRequest(create_request={"key": b"k"}).SerializeToString()
    _, writer = await greedy(
        ours, "/etcdserverpb.Watch/Watch", struct.pack(">BI", 0, len(body)) + body
    )
    await becomes(
        lambda: ours.connections and any(one._h2.unsent_bytes for one in ours.connections)
    )
    (connection,) = ours.connections
    for _ in range(100):
        await ours.local.put(Put(b"k", b"x" * 10_000))
        await asyncio.sleep(0)
    await becomes(lambda: connection._h2.unsent_bytes > door_connection.SEND_BYTES)
    assert connection._h2.unsent_bytes < door_connection.SEND_BYTES + 100_000
    writer.write(frame(Kind.WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 30)))
    writer.write(frame(Kind.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
    await becomes(lambda: connection._h2.unsent_bytes == 0)
    writer.close()


@pytest.mark.limit("coord.WATCHES_OF_STREAM_MAX")
async def test_so_many_watches_are_on_a_stream(ours, client, monkeypatch):
    monkeypatch.setattr(watch, "WATCHES_OF_STREAM_MAX", 3)
    create = messages().WatchRequest(create_request={"key": b"a"})
    async with client.stream("Watch/Watch") as stream:
        for number in range(3):
            await stream.send_message(create)
            assert (await stream.recv_message()).watch_id == number
        await stream.send_message(create)
        refused = await stream.recv_message()
        assert (refused.watch_id, refused.canceled, refused.created) == (-1, True, True)
        assert refused.cancel_reason == "3 watches are on this stream"
        await stream.send_message(messages().WatchRequest(cancel_request={"watch_id": 1}))
        assert (await stream.recv_message()).canceled
        await stream.send_message(create)
        assert not (await stream.recv_message()).canceled


async def test_who_says_nothing_is_asked_and_then_cut(ours):
    now_s = asyncio.get_running_loop().time()
    silent, unused = await asyncio.open_connection(HOST, ours.port)
    reader, writer = await asyncio.open_connection(HOST, ours.port)
    writer.write(PREFACE + frame(Kind.SETTINGS, 0, 0))
    await becomes(lambda: len(ours.connections) == len(ours.arriving) == 1)
    ours.sweep(now_s + FIRST_BYTES_S + 1)
    assert await silent.read() == b""  # it never said what it speaks
    ours.sweep(now_s + SILENCE_S + 1)
    told = b""
    async with asyncio.timeout(WITHIN_S):
        while frame(Kind.PING, 0, 0, b"are you?") not in told:
            told += await reader.read(1000)
    ours.sweep(now_s + SILENCE_S + PONG_S - 1)
    assert ours.connections
    ours.sweep(now_s + SILENCE_S + PONG_S + 1)
    await becomes(lambda: not ours.connections)
    for one in (writer, unused):
        one.close()


# --- calls ----------------------------------------------------------------------------------------


async def test_a_call_that_is_late_ends(ours, client):
    lease = (await client("Lease/LeaseGrant", TTL=60)).ID
    await client("Lock/Lock", name=b"room", lease=lease)
    with pytest.raises(TimeoutError):
        await client("Lock/Lock", name=b"room", timeout=0.05)
    await becomes(lambda: len(ours.local.machine.store) == 1)


async def test_the_server_itself_ends_a_call_that_is_late(ours, client):
    await client("Lock/Lock", name=b"room")
    asked = PREFACE + frame(Kind.SETTINGS, 0, 0)
    asked += head(1, "/v3lockpb.Lock/Lock", **{"grpc-timeout": "20m"})
    asked += frame(Kind.DATA, END_STREAM, 1, b"\0\0\0\0\6\x0a\4room")
    reader, writer = await asyncio.open_connection(HOST, ours.port)
    writer.write(asked)
    told = b""
    async with asyncio.timeout(WITHIN_S):
        while b"context deadline exceeded" not in told:
            told += await reader.read(65_536)
    writer.close()


async def test_a_large_answer_leaves_as_the_client_takes_it(ours, client):
    for n in range(40):
        await ours.local.put(Put(b"k%02d" % n, b"%02d" % n * 50_000))
    found = await client("KV/Range", key=b"k", range_end=b"l")
    assert [kv.value for kv in found.kvs] == [b"%02d" % n * 50_000 for n in range(40)]


async def test_who_stops_tells_its_clients(ours, client):
    await client("Lock/Lock", name=b"room")
    asked = PREFACE + frame(Kind.SETTINGS, 0, 0)
    asked += head(1, "/etcdserverpb.Watch/Watch") + frame(Kind.DATA, 0, 1, b"\0\0\0\0\0")
    asked += head(3, "/v3lockpb.Lock/Lock")
    asked += frame(Kind.DATA, END_STREAM, 3, b"\0\0\0\0\6\x0a\4room")
    telling = asyncio.ensure_future(said_to(ours, asked))
    await becomes(lambda: len(ours.local.machine.store) == 2)
    client.channel.close()
    ours.drain_s = 0.05
    await ours.close()
    told = await telling
    assert told.count(b"server stopped") == 2
    goaway = struct.pack(">BHBBI", 0, 8, Kind.GOAWAY, 0, 0)
    assert goaway + struct.pack(">II", 3, 0) in told


# --- watches --------------------------------------------------------------------------------------


async def test_many_watches_of_a_stream_are_told_apart(ours, client):
    names = messages()
    async with client.stream("Watch/Watch") as stream:
        for letter in (b"a", b"b"):
            await stream.send_message(names.WatchRequest(create_request={"key": letter}))
        assert [(await stream.recv_message()).watch_id for _ in range(2)] == [0, 1]
        await stream.send_message(names.WatchRequest(create_request={"key": b"c", "watch_id": 7}))
        assert (await stream.recv_message()).watch_id == 7
        await stream.send_message(names.WatchRequest(create_request={"key": b"c", "watch_id": 7}))
        assert "duplicate watch ID" in (await stream.recv_message()).cancel_reason
        for letter in (b"c", b"b", b"a"):
            await client("KV/Put", key=letter)
        told = [await stream.recv_message() for _ in range(3)]
        assert {(one.watch_id, one.events[0].kv.key) for one in told} == {
            *((7, b"c"), (1, b"b"), (0, b"a")),
        }


async def test_progress_is_told_up_to_what_all_watches_have_seen(ours, client):
    names = messages()
    async with client.stream("Watch/Watch") as stream:
        await client("KV/Put", key=b"a")
        await stream.send_message(names.WatchRequest(create_request={"key": b"a"}))
        created = await stream.recv_message()
        await stream.send_message(names.WatchRequest(progress_request={}))
        told = await stream.recv_message()
        assert (told.watch_id, told.header.revision) == (-1, created.header.revision)


async def test_a_revision_with_much_in_it_comes_in_fragments(ours, client):
    names = messages()
    for n in range(3):
        await client("KV/Put", key=b"k%d" % n, value=b"x" * 600_000)
    async with client.stream("Watch/Watch") as stream:
        wanted = {"key": b"k", "range_end": b"l", "prev_kv": True, "fragment": True}
        await stream.send_message(names.WatchRequest(create_request=wanted))
        await stream.recv_message()
        await client("KV/DeleteRange", key=b"k", range_end=b"l")
        told = [await stream.recv_message()]
        while told[-1].fragment:
            told.append(await stream.recv_message())
        assert [len(one.events) for one in told] == [1, 1, 1]


# --- locks and elections, by the server -----------------------------------------------------------


async def test_a_lock_goes_to_those_who_wait_in_their_order(ours, client):
    leases = [(await client("Lease/LeaseGrant", TTL=60)).ID for _ in range(4)]
    first = await client("Lock/Lock", name=b"room", lease=leases[0])
    waiting = []
    for place, lease in enumerate(leases[1:], 2):
        waiting.append(asyncio.ensure_future(client("Lock/Lock", name=b"room", lease=lease)))
        await becomes(lambda place=place: len(ours.local.machine.store) == place)
    waiting[1].cancel()  # who gives up leaves the queue
    await becomes(lambda: len(ours.local.machine.store) == 3)
    await client("Lock/Unlock", key=first.key)
    second = await waiting[0]
    assert second.key == b"room/%x" % leases[1]
    assert not waiting[2].done()
    await client("Lease/LeaseRevoke", ID=leases[1])
    assert (await waiting[2]).key == b"room/%x" % leases[3]


async def test_an_election_by_the_server(ours, client):
    status, told = await refusal(client("Election/Leader", name=b"chair"))
    assert (status, told) == (Grpc.UNKNOWN, "election: no leader")
    won = (await client("Election/Campaign", name=b"chair", value=b"ann")).leader
    async with client.stream("Election/Observe") as observed:
        await observed.send_message(messages().LeaderRequest(name=b"chair"), end=True)
        assert (await observed.recv_message()).kv.value == b"ann"
        next_one = asyncio.ensure_future(client("Election/Campaign", name=b"chair", value=b"bob"))
        await becomes(lambda: len(ours.local.machine.store) == 2)
        await client("Election/Proclaim", leader=won, value=b"ann again")
        assert (await observed.recv_message()).kv.value == b"ann again"
        assert (await client("Election/Leader", name=b"chair")).kv.value == b"ann again"
        await client("Election/Resign", leader=won)
        assert (await observed.recv_message()).kv.value == b"bob"
        await next_one
    status, told = await refusal(client("Election/Proclaim", leader=won, value=b"no more"))
    assert (status, told) == (Grpc.UNKNOWN, "election: not leader")


# --- keys that are ours ---------------------------------------------------------------------------


async def test_accounts_are_out_of_strangers_reach(ours, client):
    await client("Auth/UserAdd", name="ann", password="secret")
    await client("KV/Put", key=b"a")
    everything = {"key": b"\0", "range_end": b"\0"}
    assert [kv.key for kv in (await client("KV/Range", **everything)).kvs] == [b"a"]
    for name in ("KV/Put", "KV/Range", "KV/DeleteRange"):
        _, told = await refusal(client(name, key=b"\0auth/user/ann"))
        assert "reserved" in told
    inside = messages().RequestOp(request_delete_range={"key": b"\0auth/", "range_end": b"\0auth0"})
    _, told = await refusal(client("KV/Txn", success=[inside]))
    assert "reserved" in told
    for asked in (
        client("Election/Leader", name=b"\0auth"),
        client("Election/Campaign", name=b"\0auth"),
        client("Election/Resign", leader={"key": b"\0auth/user/ann"}),
        client("Lock/Lock", name=b"\0auth"),
        client("Lock/Unlock", key=b"\0auth/user/ann"),
    ):
        assert "reserved" in (await refusal(asked))[1]
    assert (await client("KV/DeleteRange", **everything)).deleted == 1
    assert list((await client("Auth/UserList")).users) == ["ann"]
    async with client.stream("Watch/Watch") as stream:
        await stream.send_message(messages().WatchRequest(create_request=everything))
        await stream.recv_message()
        await client("Auth/UserAdd", name="bob", password="secret")
        await client("KV/Put", key=b"b")
        assert [e.kv.key for e in (await stream.recv_message()).events] == [b"b"]
