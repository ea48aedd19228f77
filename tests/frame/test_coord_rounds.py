import asyncio
import random
from collections import Counter

import pytest

from bastide.parts.histories.contract import Change
from bastide.parts.histories.recorder import Recorder
from bastide.parts.raft.transport.frames import Hello, frame_greeting
from tools.coord_rounds import __main__ as command
from tools.coord_rounds.faults import FAULTS, OF_LINKS, OF_NODES, Draw
from tools.coord_rounds.holders import Resource
from tools.coord_rounds.links import HOST, Links
from tools.coord_rounds.verdict import Seen, judge


def test_every_fault_comes_by_before_one_comes_again() -> None:
    draw = Draw([*FAULTS], random.Random(3))
    drawn = Counter(name for _ in range(60) for name in draw.next())
    assert set(drawn) == {*FAULTS}
    for kind in (OF_NODES, OF_LINKS):
        counts = [drawn[name] for name in kind]
        assert max(counts) - min(counts) <= 2  # one is drawn, and left out beside what acts alone


async def echo(links: Links, node: int) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await reader.read(100):
            writer.write(received)
        writer.transport.abort()

    return await asyncio.start_server(serve, HOST, links.behind[node])


@pytest.mark.parametrize("way", [(1, 2), (2, 1)])
async def test_a_way_that_is_cut_holds_what_goes_its_way_until_it_is_mended(way) -> None:
    links = Links()
    await links.add(2)
    server = await echo(links, 2)
    reader, writer = await asyncio.open_connection(HOST, links.ports[2])
    hello = frame_greeting(Hello(1, "c", 1, 2, b"n" * 16))
    writer.write(hello)
    assert await reader.readexactly(len(hello)) == hello
    links.cut([way])
    writer.write(b"held")
    waiting = asyncio.ensure_future(reader.readexactly(4))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    links.mend([way])
    assert await waiting == b"held"
    writer.transport.abort()
    await asyncio.sleep(0.05)  # both ends hear of it
    server.close()
    await links.close()


def test_a_resource_takes_no_token_below_one_that_it_was_shown() -> None:
    resource = Resource("a lock")
    one, other = resource.read("one", 5), resource.read("other", 6)
    resource.write("other", 6, other + 1)
    resource.write("one", 5, one + 1)
    assert (resource.sum, resource.written, resource.findings()) == (1, 1, [])
    assert [access.taken for access in resource.accesses] == [True, True, True, False]
    resource.write("other", 6, other + 1)
    assert [finding.name for finding in resource.findings()] == ["lost update"]


def seen(history, committed, **more) -> Seen:
    empty = dict.fromkeys(("lists", "holds", "watches", "grants", "accesses", "found", "story"), ())
    words = {"hashes": {1: 7, 2: 7}, "committed": committed, "healed_s": 0.0, **more}
    return Seen(**{**empty, "registers": history, **words})


def test_a_write_that_was_acknowledged_and_is_not_there_is_found() -> None:
    recorder = Recorder()
    for at, (value, revision) in enumerate([("a", 5), ("b", 6)]):
        call = recorder.invoke("r0", "put", 1.0 + at, key="x/reg/0", argument=value)
        call.returned(1.5 + at, revision)
    history = recorder.history()
    kept = (Change(5, "x/reg/0", "a"), Change(6, "x/reg/0", "b"))
    assert not judge(seen(history, {1: kept, 2: kept}), live_s=9.0).findings
    lost = judge(seen(history, {1: kept[:1], 2: kept[:1]}), live_s=9.0)
    assert [finding.name for finding in lost.findings] == ["lost write"]
    apart = judge(seen(history, {1: kept, 2: kept[:1]}, hashes={1: 7, 2: 8}), live_s=9.0)
    assert {f.name for f in apart.findings} == {"history differs", "hash differs"}
    late = judge(seen(history, {1: kept}, healed_s=50.0), live_s=9.0)
    assert [finding.name for finding in late.findings] == ["stuck"]


def test_a_fault_that_is_none_is_refused() -> None:
    with pytest.raises(SystemExit):
        command.main(["--only", "earthquake"])


def test_short_rounds_violate_nothing(capsys, tmp_path) -> None:
    faults = ["--each", "--only", "kill-leader,torn-tail"]
    kept = ["--keep", str(tmp_path / "kept")]
    code = command.main([*faults, *kept, "--round-s", "1.5", "--seed", "7"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert " 0 violations" in said
