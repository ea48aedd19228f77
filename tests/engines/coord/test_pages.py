"""The pages, by what they say; tests/browser/test_coord.py looks at them."""

import pytest

from bastide.base.html.figures import bytes_text
from bastide.engines.coord.contract import CoordAway, Member
from bastide.engines.coord.pages import CHANGES_SHOWN, KEYS_SHOWN
from bastide.engines.coord.pages.words import query_of, ring_of
from bastide.engines.coord.service.demo import Demo, DemoMissing, DemoRefused
from bastide.engines.coord.service.operator import NodeSeen, Operator
from tests.engines.coord.doors_kit import doors_of_coord
from tests.engines.coord.node_kit import eventually, opened_group

BROWSER = {"accept": "text/html"}


@pytest.fixture
async def doors():
    async with doors_of_coord() as found:
        yield found


async def read(doors, path: str, status: int = 200, **query) -> str:
    reply = await doors.client.get(path, params=query, headers=BROWSER)
    assert reply.status_code == status, reply.text
    return " ".join(reply.text.split())


async def act(doors, status: int, **form) -> str:
    reply = await doors.client.post("/demo", data=form, headers=BROWSER)
    assert reply.status_code == status, reply.text
    return reply.text


async def test_an_empty_store_says_how_to_begin(doors) -> None:
    assert "bastide coord put hello world" in await read(doors, "/keys")
    page = await read(doors, "/locks")
    assert "No lock is held" in page
    assert "Nobody stands for an election" in page
    assert "No lease now" in await read(doors, "/leases")
    assert "No demo group runs" in await read(doors, "/demo")
    assert "node1: leader" in await read(doors, "/")
    assert "node1: leader" in await read(doors, "/fragments/group")


async def test_keys_are_shown_page_by_page_and_one_with_its_history(doors) -> None:
    for n in range(KEYS_SHOWN):
        await doors.put(f"a/{n:03}", "<b>")
    assert "Later keys" not in await read(doors, "/keys")
    await doors.put("a/050")
    page = await read(doors, "/keys", prefix="a/")
    assert "Later keys" in page
    assert "&lt;b&gt;" in page
    page = await read(doors, "/keys", prefix="a/", after="a/049")
    assert "a/050" in page
    assert "a/049<" not in page
    for n in range(CHANGES_SHOWN):
        await doors.put("a/050", f"value {n}")
    page = await read(doors, "/key", key="a/050")
    assert "value 24" in page
    assert "Older ones" in page
    assert "No key begins so" in await read(doors, "/keys", prefix="b")
    assert "there is no key" in await read(doors, "/key", 404, key="b")
    await doors.ask("DELETE", "/api/key", key="a/050")
    assert "It was deleted in revision" in await read(doors, "/key", key="a/050")
    await doors.ask("PUT", "/api/key", body={"key_base64": "/w==", "value": ""})
    assert "key_base64=%2Fw%3D%3D" in await read(doors, "/keys", after="a/049")
    await read(doors, "/key", key_base64="/w==")
    await read(doors, "/key", 400, key_base64="x")


async def test_locks_show_who_holds_and_who_waits(doors) -> None:
    one, turn = await doors.entered("stock")
    await doors.entered("stock")
    await doors.entered("cook", "me")
    page = await read(doors, "/locks")
    assert f"lease {one}" in page
    assert f">{turn['token']}<" in page
    page = await read(doors, "/queue", name="stock")
    assert page.count("holds it") == page.count("waits") == 1
    assert "60 of 60 s" in page
    assert "leads" in await read(doors, "/fragments/queue", name="cook")
    assert "stock/" in await read(doors, "/leases")
    await read(doors, "/queue", 404, name="nothing")


async def test_the_page_of_a_cluster_says_what_its_node_knows(tmp_path) -> None:
    async with opened_group(tmp_path) as group:
        leader = await group.leader()

        async def all_follow():
            seen = await Operator(group.nodes[leader]).group()
            return sorted(one.role for one in seen.nodes) == ["follower", "follower", "leader"]

        await eventually(all_follow)
        seen = await Operator(group.nodes[await group.follower()]).group()
        roles = sorted(one.role for one in seen.nodes)
        assert roles == ["follower", "leader", "unknown"]
        [unknown] = [one for one in seen.nodes if one.role == "unknown"]
        assert unknown.term is unknown.kept is None


async def test_a_demo_elects_another_leader_and_ends_by_itself() -> None:
    demo = Demo()
    try:
        with pytest.raises(DemoMissing):
            await demo.stop(1)
        await demo.begin(lasts_s=60)
        with pytest.raises(DemoRefused):
            await demo.begin()

        async def leader():
            nodes = (await demo.seen()).nodes
            return next((one for one in nodes if one.role == "leader"), None)

        first = await eventually(leader)
        await demo.put("hello", "world")
        await demo.stop(first.member.id)
        with pytest.raises(DemoRefused):
            await demo.stop(first.member.id)
        second = await eventually(leader)
        assert second.term > first.term
        assert (await demo.seen()).items[0].value == b"world"
        await demo.stop(second.member.id)
        with pytest.raises(CoordAway):
            await demo.put("hello", "nobody")
        await demo.start(first.member.id)
        with pytest.raises(DemoRefused):
            await demo.start(first.member.id)
        await eventually(leader)
    finally:
        await demo.end()
    assert await demo.seen() is None
    await demo.begin(lasts_s=0)

    async def is_over():
        return await demo.seen() is None

    await eventually(is_over)


async def test_the_demos_page_begins_stops_and_ends_it(doors) -> None:
    await act(doors, 404, action="stop", node=1)
    await act(doors, 303, action="begin")
    assert "already" in await act(doors, 409, action="begin")
    await act(doors, 303, action="stop", node=2)
    page = await read(doors, "/fragments/demo")
    assert "node2: stopped" in page
    await act(doors, 303, action="stop", node=3)
    assert "No majority runs" in await read(doors, "/demo")
    await act(doors, 404, action="start", node=4)
    await act(doors, 400, action="put", key="k" * 201)
    await act(doors, 400, action="dance")
    await act(doors, 303, action="end")
    assert "The demo has ended" in await read(doors, "/fragments/demo")


def test_keys_that_are_no_text_have_an_address_and_a_look() -> None:
    assert query_of(b"a/b &") == "key=a%2Fb+%26"
    assert bytes_text(b"\xff\x00") == "ff 00"
    assert bytes_text(b"x" * 201) == "x" * 200 + "…"


def test_one_node_is_in_the_middle_and_more_are_around_it() -> None:
    nodes = [NodeSeen(member=Member(n, "", "", ""), role="leader", is_me=True) for n in range(3)]
    assert [(dot.x, dot.y) for dot in ring_of(nodes[:1])] == [(160, 104)]
    assert len({(dot.x, dot.y) for dot in ring_of(nodes)}) == 3
