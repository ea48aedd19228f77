"""Messages between nodes over real TCP on loopback, and who is not let in."""

import asyncio
import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.rt.net import bind
from bastide.parts.raft.contract import (
    Append,
    Entry,
    Members,
    OptionInvalid,
    SnapshotChunk,
    SnapshotMark,
    TimeoutNow,
    VoteReply,
)
from bastide.parts.raft.transport import connection, frames, links
from bastide.parts.raft.transport.frames import FrameInvalid, Hello, Proof, Refused
from bastide.parts.raft.transport.links import Address, open_transport
from tests.parts.raft.host_kit import until

HOST = "127.0.0.1"


class Town:
    """Listeners of some nodes, whose ports are known before any of them is opened."""

    def __init__(self, nodes):
        self.listeners = {node: bind(HOST, 0) for node in nodes}
        self.addresses = {
            n: Address(HOST, one.getsockname()[1]) for n, one in self.listeners.items()
        }

    def open(self, node, cluster="town", **options):
        options.setdefault("peers", self.addresses)
        return open_transport(node, cluster=cluster, listener=self.listeners[node], **options)


@pytest.fixture
def town():
    made = Town((1, 2, 3))
    yield made
    for one in made.listeners.values():
        one.close()


def vote(sender, to, term=1):
    return VoteReply(to=to, sender=sender, term=term, granted=True)


def append(sender, to, payload, index=1):
    return Append(
        to=to,
        sender=sender,
        term=1,
        previous_index=0,
        previous_term=0,
        committed=0,
        round=1,
        entries=(Entry(index, 1, "payload", payload),),
    )


async def heard_by(transport, group=0):
    heard = []
    transport.join(group, heard.extend)
    return heard


async def test_messages_arrive_in_order_both_ways(town):
    async with town.open(1) as one, town.open(2) as two:
        at_one, at_two = await heard_by(one), await heard_by(two)
        await until(lambda: one.connected() == [2] and two.connected() == [1])
        sent = [vote(1, 2, term) for term in range(100)]
        for message in sent:
            one.send(0, [message])
        two.send(0, [vote(2, 1)])
        await until(lambda: len(at_two) == 100 and at_one)
        assert at_two == sent
        assert at_one == [vote(2, 1)]


async def test_a_tick_s_messages_of_all_groups_are_one_frame_a_peer(town):
    async with town.open(1) as one, town.open(2) as two, town.open(3) as three:
        heard = {}
        for group in range(1000):
            heard[group] = [await heard_by(two, group), await heard_by(three, group)]
        await until(lambda: one.connected() == [2, 3])
        before = one.sent.value
        for group in range(1000):
            one.send(group, [vote(1, 2, group), vote(1, 3, group)])
        await until(lambda: all(a and b for a, b in heard.values()))
        assert one.sent.value == before + 2
        assert heard[7] == [[vote(1, 2, 7)], [vote(1, 3, 7)]]


async def test_what_is_for_no_group_of_ours_or_nobody_we_know_is_dropped(town):
    async with town.open(1) as one, town.open(2) as two:
        at_two = await heard_by(two)
        await until(lambda: one.connected() == [2])
        dropped = one.dropped.value
        one.send(9, [vote(1, 2)])
        one.send(0, [vote(1, 77)])
        assert one.dropped.value == dropped + 1
        one.send(0, [vote(1, 2)])
        await until(lambda: at_two)
        two.leave(0)
        one.send(0, [vote(1, 2)])
        await asyncio.sleep(0.02)
        assert at_two == [vote(1, 2)]


async def test_a_peer_that_comes_back_is_found_again(town):
    async with town.open(1) as one:
        port = town.addresses[2].port
        async with town.open(2):
            await until(lambda: one.connected() == [2])
        await until(lambda: one.connected() == [])
        one.send(0, [vote(1, 2)])  # lost
        town.listeners[2] = bind(HOST, port)
        async with town.open(2) as two:
            at_two = await heard_by(two)
            await until(lambda: one.connected() == [2])
            one.send(0, [vote(1, 2, 5)])
            await until(lambda: at_two)
            assert at_two == [vote(1, 2, 5)]


async def test_a_peer_moves_and_one_that_is_removed_is_cut_off(town):
    async with town.open(1) as one, town.open(2) as two:
        await until(lambda: one.connected() == [2] and two.connected() == [1])
        one.set_peer(2, town.addresses[3])
        await until(lambda: one.connected() == [])
        one.set_peer(2, town.addresses[2])
        await until(lambda: one.connected() == [2])
        two.remove_peer(1)
        await until(lambda: one.connected() == [] and two.connected() == [])


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"cluster": "village"}, "cluster 'village'; this is 'town'"),
        ({"secret": b"wrong"}, "secret is another one"),
        ({"secret": b""}, "secret is another one"),
    ],
)
async def test_who_is_of_another_cluster_or_does_not_know_the_secret_is_refused(
    town, caplog, other, reason
):
    theirs = {"secret": b"right", **other}
    async with town.open(1, secret=b"right") as one, town.open(2, **theirs) as two:
        await until(lambda: reason in caplog.text)
        await asyncio.sleep(0.3)
        assert one.connected() == two.connected() == []
        assert caplog.text.count("can't be reached") <= 3  # though dialled more often


async def test_an_unknown_node_and_a_wrong_address_are_refused(town, caplog):
    async with town.open(1, peers={2: town.addresses[2]}) as one, town.open(3):
        await until(lambda: "node 3 is not known here" in caplog.text)
        one.set_peer(2, town.addresses[3])
        await until(lambda: "node 2 was dialled; this is 3" in caplog.text)


async def test_another_version_is_refused(town, caplog, monkeypatch):
    async with town.open(1):
        reader, writer = await asyncio.open_connection(HOST, town.addresses[1].port)
        hello = Hello(frames.VERSION + 1, "town", 2, 1, bytes(16))
        writer.write(frames.frame_greeting(hello))
        refused = await reader.read()
        assert b"protocol 2; 1 is spoken here" in refused
        writer.close()


async def greeted(town, node=2, to=1):
    """A connection that says it is `node`, and has proven it."""
    reader, writer = await asyncio.open_connection(HOST, town.addresses[to].port)
    hello = Hello(frames.VERSION, "town", node, to, bytes(16))
    writer.write(frames.frame_greeting(hello))
    challenge = frames.read_greeting(next(frames.Reader().feed(await reader.read(1000))))
    writer.write(frames.frame_greeting(Proof(frames.proof_of(b"", "dial", hello, challenge.nonce))))
    await reader.readexactly(8)
    return reader, writer


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (frames.frame(b"\xc1"), "no messages"),
        (b"\x05\0\0\0\0\0\0\0hello", "damaged on its way"),
        (frames._HEAD.pack(frames.FRAME_BYTES_MAX + 1, 0), "are taken"),
        (next(frames.frame_messages([(0, vote(3, 1))])), "a message from 3 to 1 came from 2"),
        (next(frames.frame_messages([(0, vote(2, 3))])), "a message from 2 to 3 came from 2"),
    ],
)
async def test_a_malformed_frame_closes_that_connection_alone(town, caplog, sent, told):
    async with town.open(1, peers=town.addresses) as one, town.open(3) as three:
        at_one = await heard_by(one)
        await until(lambda: three.connected() == [1])
        reader, writer = await greeted(town)
        writer.write(next(frames.frame_messages([(0, vote(2, 1))])))
        await until(lambda: at_one)
        writer.write(sent)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        assert told in caplog.text
        three.send(0, [vote(3, 1)])
        await until(lambda: len(at_one) == 2)
        writer.close()


@pytest.mark.parametrize("seed", range(30))
async def test_noise_before_or_after_the_greeting_hurts_nobody(town, seed):
    chance = random.Random(seed)
    async with town.open(1) as one:
        at_one = await heard_by(one)
        if seed % 2:
            reader, writer = await greeted(town)
        else:
            reader, writer = await asyncio.open_connection(HOST, town.addresses[1].port)
        good = next(frames.frame_messages([(0, append(2, 1, b"x" * 50))]))
        noise = bytearray(good * 3)
        for _ in range(chance.randrange(1, 5)):
            noise[chance.randrange(len(noise))] ^= 1 << chance.randrange(8)
        writer.write(bytes(noise))
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        assert all(message == append(2, 1, b"x" * 50) for message in at_one)
        _, again = await greeted(town)
        again.write(good)
        count = len(at_one)
        await until(lambda: len(at_one) == count + 1)
        again.close()


async def test_a_greeting_is_small(town, caplog):
    async with town.open(1):
        reader, writer = await asyncio.open_connection(HOST, town.addresses[1].port)
        writer.write(frames.frame(bytes(frames.HELLO_BYTES_MAX + 1)))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        assert f"at most {frames.HELLO_BYTES_MAX} are taken" in caplog.text
        writer.close()


async def test_a_silent_peer_is_cut_and_dialled_anew(town, monkeypatch):
    """As after a partition in which TCP has lost its patience."""
    monkeypatch.setattr(links, "BEAT_S", 0.01)
    monkeypatch.setattr(links, "SILENT_S", 0.05)
    accepted = 0

    async def mute(reader, writer):
        nonlocal accepted
        accepted += 1
        await reader.read(10_000)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, sock=town.listeners[2])
    async with server, town.open(1):
        await until(lambda: accepted >= 2)


async def test_a_slow_peer_s_messages_are_dropped_and_the_others_are_served(town, monkeypatch):
    monkeypatch.setattr(connection, "WAITING_BYTES_MAX", 1 << 20)
    async with town.open(1) as one, town.open(2) as two, town.open(3) as three:
        at_two, at_three = await heard_by(two), await heard_by(three)
        await until(lambda: one.connected() == [2, 3])
        (slow,) = [c for c in two._accepted if c.node == 1]
        slow.transport.pause_reading()
        dropped = one.dropped.value
        for n in range(60):
            one.send(0, [append(1, 2, bytes(1 << 20)), vote(1, 3, n)])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await until(lambda: len(at_three) == 60)
        assert one.dropped.value > dropped + 20
        slow.transport.resume_reading()
        await until(lambda: 2 in one.connected())
        one.send(0, [vote(1, 2, 99)])
        await until(lambda: at_two and at_two[-1] == vote(1, 2, 99))


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.limit("raft.CONNECTIONS_MAX")
async def test_at_most_so_many_connections_are_accepted(town, caplog):
    async with town.open(1, peers={2: town.addresses[2]}) as one:
        writers = []
        for _ in range(links.CONNECTIONS_MAX):
            _, writer = await asyncio.open_connection(HOST, town.addresses[1].port)
            writers.append(writer)
        await until(lambda: len(one._accepted) == links.CONNECTIONS_MAX)
        assert "too many" not in caplog.text
        reader, writer = await asyncio.open_connection(HOST, town.addresses[1].port)
        assert b"too many connections" in await reader.read()
        for each in [*writers, writer]:
            each.close()


@pytest.mark.limit("raft.CLUSTER_BYTES_MAX")
async def test_a_cluster_s_name_may_be_so_long(town, caplog):
    longest = "x" * frames.CLUSTER_BYTES_MAX
    async with town.open(1, cluster=longest) as one, town.open(2, cluster=longest):
        await until(lambda: one.connected() == [2])
    with pytest.raises(OptionInvalid, match="128 are taken"):
        async with open_transport(1, cluster=longest + "x", peers={}, listener=None):
            pass


@pytest.mark.limit("raft.FRAME_BYTES_MAX")
def test_a_frame_is_as_large_as_it_may_be_and_one_byte_more_is_refused(monkeypatch):
    monkeypatch.setattr(frames, "FRAME_BYTES_MAX", 1000)
    reader = frames.Reader()
    reader.frame_bytes_max = 1000
    assert list(reader.feed(frames.frame(bytes(1000)))) == [bytes(1000)]
    with pytest.raises(FrameInvalid, match="1001 bytes"):
        list(reader.feed(frames.frame(bytes(1001))))


@pytest.mark.limit("raft.HELLO_BYTES_MAX")
def test_the_largest_greetings_fit():
    hello = Hello(1, "x" * frames.CLUSTER_BYTES_MAX, (1 << 63) - 1, (1 << 63) - 1, bytes(16))
    greeting = frames.frame_greeting(hello)
    assert list(frames.Reader().feed(greeting)) == [greeting[8:]]
    largest = bytes(frames.HELLO_BYTES_MAX)
    assert list(frames.Reader().feed(frames.frame(largest))) == [largest]
    with pytest.raises(FrameInvalid):
        list(frames.Reader().feed(frames.frame(largest + b"x")))


def test_a_tick_that_is_too_large_for_a_frame_is_split_and_a_message_that_is_is_left_out(
    monkeypatch,
):
    monkeypatch.setattr(frames, "FRAME_BYTES_MAX", 3000)
    small = [(0, append(1, 2, bytes(700), index)) for index in range(1, 20)]
    sent = b"".join(frames.frame_messages([*small, (0, append(1, 2, bytes(4000)))]))
    reader = frames.Reader()
    reader.frame_bytes_max = 3000
    contents = list(reader.feed(sent))
    assert len(contents) > 5
    assert [each for content in contents for each in frames.read_messages(content)] == small


def test_the_largest_chunk_fits_a_frame():
    mark = SnapshotMark(1 << 60, 1 << 60, Members(tuple(range(1, 16))), 1 << 60)
    chunk = SnapshotChunk(to=1, sender=2, term=1, mark=mark, at=0, content=bytes(1 << 20), round=1)
    assert len(list(frames.frame_messages([(0, chunk)]))) == 1


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(contents, data):
    sent = b"".join(frames.frame(content) + frames.BEAT for content in contents)
    reader, found = frames.Reader(), []
    while sent:
        cut = data.draw(st.integers(1, len(sent)))
        found += reader.feed(sent[:cut])
        sent = sent[cut:]
    assert found == [content for content in contents if content]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_greeting_and_messages_or_refused(content):
    for read in (frames.read_greeting, frames.read_messages):
        with contextlib.suppress(FrameInvalid):
            read(content)
    with contextlib.suppress(FrameInvalid):
        list(frames.Reader().feed(content))


def test_a_refusal_says_why():
    assert frames.read_greeting(frames.frame_greeting(Refused("why"))[8:]) == Refused("why")
    assert isinstance(TimeoutNow(to=1, sender=2, term=3), frames.AnyMessage)
