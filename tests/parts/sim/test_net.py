"""Streams and datagrams between nodes, and what may become of them."""

import asyncio
import errno
from contextlib import suppress

import pytest

from bastide.base.rt import net
from bastide.parts.sim.nemesis import Nemesis
from tests.parts.sim.sim_kit import ask_echo, echoing, outcome_of, same_twice, simulated, until


async def kept_open(host):
    """A connection that was used once, and may be again."""
    reader, writer = await asyncio.open_connection(host, 7)
    writer.write(b"first\n")
    assert await reader.readline() == b"first\n"
    return reader, writer


def test_a_round_trip_takes_what_its_links_take():
    async def work(world):
        echoing(world)
        world.net.weather.latency_s = 0.1
        began_s = world.now_s
        await world.node("client").call(ask_echo, "server")
        assert 0.2 < world.now_s - began_s < 8

    simulated(work)


def test_nodes_are_found_by_name_by_address_and_from_within_as_localhost():
    async def work(world):
        server = echoing(world)
        for host in ("server", server.ip):
            assert await world.outside.call(ask_echo, host) == b"hello\n"
        for host in ("server", server.ip, "127.0.0.1", "localhost"):
            assert await server.call(ask_echo, host) == b"hello\n"
        with pytest.raises(net.NameUnknown):
            await world.outside.call(ask_echo, "nobody")
        with pytest.raises(ConnectionRefusedError):
            await world.outside.call(ask_echo, "127.0.0.1")

    simulated(work)


def test_a_port_that_nobody_listens_on_refuses_and_a_dead_machine_says_nothing():
    async def work(world):
        server = echoing(world)
        await asyncio.sleep(1)
        with pytest.raises(ConnectionRefusedError):
            await world.outside.call(ask_echo, "server", port=8)
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            await world.outside.call(ask_echo, "server")
        server.restart()
        await asyncio.sleep(1)
        server.crash()
        began_s = world.now_s
        with pytest.raises(TimeoutError):
            await world.outside.call(ask_echo, "server")
        assert world.now_s - began_s > 59

    simulated(work)


def test_a_busy_port_is_told_and_the_next_one_taken():
    async def work(world):
        async def main():
            first = net.bind("0.0.0.0", 9000)
            with pytest.raises(OSError, match="in use"):
                net.bind("0.0.0.0", 9000)
            assert net.bind_near("127.0.0.1", 9000).getsockname() == ("127.0.0.1", 9001)
            first.close()
            net.bind("0.0.0.0", 9000)
            with pytest.raises(OSError) as caught:
                net.bind("10.0.0.99", 1)
            assert caught.value.errno == errno.EADDRNOTAVAIL

        await world.node("a").call(main)
        await world.node("b").call(main)

    simulated(work)


def test_who_connects_before_the_server_serves_waits():
    async def work(world):
        async def main():
            listener = net.bind("0.0.0.0", 7)
            await asyncio.sleep(5)

            async def greet(_, writer):
                writer.write(b"welcome\n")
                writer.close()

            await asyncio.start_server(greet, sock=listener)
            await asyncio.Event().wait()

        world.node("late").start(main)
        await asyncio.sleep(1)
        assert await world.outside.call(ask_echo, "late") == b"welcome\n"
        assert world.now_s > 5

    simulated(work)


@pytest.mark.parametrize("splits", [0.0, 1.0])
def test_what_is_written_is_read_whole_and_in_order(splits):
    async def work(world):
        net_ = world.net
        net_.weather.splits, net_.weather.loss, net_.weather.window_bytes = splits, 0.05, 1_000
        echoing(world)
        noise = world.draws.noise("lines")
        lines = [noise.randbytes(noise.randrange(2_000)).hex().encode() + b"\n" for _ in range(50)]

        async def use():
            reader, writer = await asyncio.open_connection("server", 7)
            writer.writelines(lines)
            writer.write_eof()
            found = await reader.read()
            writer.close()
            return found

        assert await world.node("client").call(use) == b"".join(lines)

    same_twice(work)


def test_a_peer_that_does_not_read_stops_the_writer():
    async def work(world):
        taken, go_on = [], asyncio.Event()

        async def slow(reader, writer):
            await go_on.wait()
            while data := await reader.read(10_000):
                taken.append(len(data))
            writer.close()

        async def main():
            await asyncio.start_server(slow, "0.0.0.0", 7, limit=1_000)
            await asyncio.Event().wait()

        world.node("slow").start(main)
        await asyncio.sleep(1)
        sent = 0

        async def flood():
            nonlocal sent
            _, writer = await asyncio.open_connection("slow", 7)
            for _ in range(100):
                writer.write(bytes(10_000))
                await writer.drain()
                sent += 10_000
            writer.close()
            await writer.wait_closed()

        flooding = world.node("fast").call(flood)
        await asyncio.sleep(60)
        assert 64_000 < sent < 250_000  # its buffer, the window, what the reader holds
        go_on.set()
        await flooding
        await until(lambda: sum(taken) == 1_000_000)

    simulated(work)


def test_a_killed_peers_kernel_ends_or_resets_its_connections():
    seen = set()

    async def work(world):
        server = echoing(world)
        await asyncio.sleep(1)
        reader, writer = await kept_open("server")
        server.kill()
        try:
            seen.add(await reader.readline())
        except ConnectionResetError:
            seen.add("reset")
        writer.close()

    for seed in range(10):
        simulated(work, seed)
    assert seen == {b"", "reset"}


def test_a_killed_peer_is_noticed_and_a_crashed_one_leaves_the_connection_half_open():
    async def work(world):
        killed, crashed = echoing(world, "killed"), echoing(world, "crashed")
        await asyncio.sleep(1)
        one, _ = await kept_open("killed")
        other, writer = await kept_open("crashed")
        killed.kill()
        crashed.crash()
        with suppress(ConnectionResetError):
            assert await one.readline() == b""
        with pytest.raises(TimeoutError):  # who only reads never learns
            async with asyncio.timeout(3_600):
                await other.readline()
        writer.write(b"anybody?\n")
        with pytest.raises(TimeoutError) as caught:  # who writes learns it when he gives up
            await other.readline()
        assert caught.value.errno == errno.ETIMEDOUT

    simulated(work)


def test_a_machine_that_is_back_knows_nothing_of_an_old_connection():
    async def work(world):
        server = echoing(world)
        await asyncio.sleep(1)
        reader, writer = await kept_open("server")
        server.crash()
        server.restart()
        writer.write(b"still there?\n")
        with pytest.raises(ConnectionResetError):
            await reader.readline()

    simulated(work)


def test_a_cut_shorter_than_patience_is_a_delay_and_a_longer_one_an_error():
    async def work(world):
        echoing(world)
        await asyncio.sleep(1)
        reader, writer = await kept_open("server")
        cut = world.net.part(["outside"], ["server"])
        writer.write(b"second\n")
        await asyncio.sleep(10)
        world.net.mend(cut)
        assert await reader.readline() == b"second\n"
        assert 11 < world.now_s < 30
        world.net.isolate("server")
        writer.write(b"third\n")
        with pytest.raises(TimeoutError):
            await reader.readline()
        world.net.heal()
        assert await ask_echo("server") == b"hello\n"

    simulated(work)


@pytest.mark.parametrize("direction", ["there", "back"])
def test_a_cut_of_one_direction_is_felt_by_who_waits_for_an_answer(direction):
    async def work(world):
        server, heard = world.node("server"), []

        async def hear(reader, writer):
            while line := await reader.readline():
                heard.append(line)
                writer.write(line)

        async def main():
            async with await asyncio.start_server(hear, "0.0.0.0", 7) as listening:
                await listening.serve_forever()

        server.start(main)
        await asyncio.sleep(1)
        reader, writer = await kept_open("server")
        pair = ["outside"], ["server"]
        world.net.cut(*(pair if direction == "there" else reversed(pair)))
        writer.write(b"second\n")
        with pytest.raises(TimeoutError):
            await reader.readline()
        assert heard == ([b"first\n"] if direction == "there" else [b"first\n", b"second\n"])

    simulated(work)


def test_a_partial_partition_leaves_a_way_around():
    async def work(world):
        for name in "abc":
            echoing(world, name)
        await asyncio.sleep(1)
        world.net.part(["a"], ["b"])
        for one, other in ("ac", "ca", "bc", "cb"):
            assert await world.node(one).call(ask_echo, other) == b"hello\n"
        with pytest.raises(TimeoutError):
            await world.node("a").call(ask_echo, "b")

    simulated(work)


def test_cuts_lie_over_each_other():
    async def work(world):
        one = world.net.isolate(echoing(world).name)
        other = world.net.cut(["outside"], ["server"])
        world.net.mend(one)
        with pytest.raises(TimeoutError):
            await ask_echo("server")
        world.net.mend(other)
        assert await ask_echo("server") == b"hello\n"

    simulated(work)


def test_a_reset_from_nowhere_ends_a_connection_at_both_ends():
    async def work(world):
        echoing(world)
        await asyncio.sleep(1)
        reader, _ = await kept_open("server")
        world.net.reset("outside", "server")
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        assert await ask_echo("server") == b"hello\n"

    simulated(work)


def test_what_was_written_before_closing_arrives():
    async def work(world):
        got = []

        async def take(reader, writer):
            got.append(await reader.read())
            writer.close()

        async def main():
            async with await asyncio.start_server(take, "0.0.0.0", 7) as listening:
                await listening.serve_forever()

        world.node("server").start(main)
        await asyncio.sleep(1)
        _, writer = await asyncio.open_connection("server", 7)
        writer.write(bytes(500_000))
        writer.close()
        await writer.wait_closed()
        await until(lambda: got)
        assert got == [bytes(500_000)]

    simulated(work)


def test_an_end_that_meets_a_closed_peer_is_no_reset():
    async def work(world):
        async def hang_up(_, writer):
            writer.close()

        async def main():
            async with await asyncio.start_server(hang_up, "0.0.0.0", 7) as listening:
                await listening.serve_forever()

        world.node("server").start(main)
        await asyncio.sleep(1)
        reader, writer = await asyncio.open_connection("server", 7)
        assert await reader.read() == b""
        writer.write_eof()
        await asyncio.sleep(1)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        reader, writer = await asyncio.open_connection("server", 7)
        assert await reader.read() == b""
        writer.write(b"data")
        await asyncio.sleep(1)
        with pytest.raises(ConnectionResetError):
            await writer.drain()

    simulated(work)


def test_a_connect_that_is_given_up_leaves_nothing_open():
    async def work(world):
        server = echoing(world)
        world.net.weather.latency_s = 5.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ask_echo("server")
        await asyncio.sleep(200)
        assert not world.net.hosts["outside"].streams
        assert not world.net.hosts["server"].streams
        assert server.alive

    simulated(work)


class Heard(asyncio.DatagramProtocol):
    def __init__(self):
        self.heard = []

    def datagram_received(self, data, addr):
        self.heard.append(data)


def test_datagrams_are_lost_doubled_and_disordered():
    async def work(world):
        weather = world.net.weather
        weather.loss, weather.duplicates, weather.disorder = 0.1, 0.1, 0.1
        heard = Heard()

        async def listen():
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(lambda: heard, ("0.0.0.0", 53))

        await world.node("a").call(listen)
        sender, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("a", 53)
        )
        for number in range(1_000):
            sender.sendto(b"%d" % number)
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        numbers = [int(data) for data in heard.heard]
        assert 850 < len(set(numbers)) < 950
        assert len(numbers) > len(set(numbers)) + 50
        assert numbers != sorted(numbers)
        sender.close()

    same_twice(work)


def test_datagrams_end_at_a_cut_and_at_a_dead_node():
    async def work(world):
        heard, node = Heard(), world.node("a")

        async def listen():
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(lambda: heard, ("0.0.0.0", 53))
            await asyncio.Event().wait()

        node.start(listen)
        sender, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(node.ip, 53)
        )
        await asyncio.sleep(1)
        sender.sendto(b"1")
        await asyncio.sleep(1)
        cut = world.net.cut(["outside"], ["a"])
        sender.sendto(b"2")
        world.net.mend(cut)
        node.crash()
        sender.sendto(b"3")
        await asyncio.sleep(1)
        assert heard.heard == [b"1"]

    simulated(work)


def test_tls_is_refused_in_words():
    async def work(_):
        await asyncio.open_connection("outside", 1, ssl=True)

    error = outcome_of(work).error
    assert isinstance(error, NotImplementedError)
    assert "TLS" in str(error)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_strikes_a_stream_gives_a_beginning_of_what_was_written(seed):
    async def work(world):
        server, whole = echoing(world), 0
        nemesis = Nemesis(world, [server, world.node("client")])
        world.net.weather.splits = 0.5
        noise = world.draws.noise("lines")

        async def use():
            reader, writer = await asyncio.open_connection("server", 7)
            text = b"".join(b"%d\n" % n for n in range(noise.randrange(1, 500)))
            got = b""
            try:
                writer.write(text)
                writer.write_eof()
                while data := await reader.read(10_000):
                    got += data
                    assert text.startswith(got)
            except ConnectionError:
                return 0
            finally:
                writer.close()
            return got == text

        faults = asyncio.create_task(nemesis.torment(for_s=20))
        while not faults.done():
            with suppress(OSError):
                async with asyncio.timeout(5):
                    whole += await world.node("client").call(use)
            await asyncio.sleep(0.2)
        for _ in range(3):
            whole += await world.node("client").call(use)
        assert whole >= 3

    same_twice(work, seed)
