"""Who is calling, whatever the request claims."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.base.errors import Denied, Limited
from bastide.base.gate import Caller, Credentials, Door, anyone, holder, operator
from bastide.base.routes.heads import client_address
from bastide.base.routes.rows import Reply, json_reply, route

PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


def who(_: object, caller: Caller) -> Reply:
    return json_reply([caller.user, caller.credential, caller.operator, caller.address])


WHO = route("GET", "/who", who, allow=anyone)
OURS = route("GET", "/ours", who, allow=operator)
HELD = route("GET", "/held", who, allow=holder)


async def test_a_caller_from_this_machine_is_its_operator(serve) -> None:
    for peer in ("127.0.0.1", "127.8.8.8", "::1"):
        reply = await serve(WHO, client=peer).get("/who")
        assert reply.json() == [None, None, True, peer]


async def test_a_caller_from_elsewhere_is_anybody(serve) -> None:
    client = serve(WHO, OURS, client="192.0.2.7")
    assert (await client.get("/who")).json() == [None, None, False, "192.0.2.7"]
    reply = await client.get("/ours")
    assert (reply.status_code, reply.json()["type"]) == (403, "urn:bastide:denied")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-for": ""},
        {"forwarded": "for=127.0.0.1"},
        {"x-forwarded-proto": "https"},
        {"x-real-ip": "127.0.0.1"},
        {"via": "1.1 proxy"},
        {"host": "evil.example"},
        {"host": "localhost.evil.example:8800"},
        {"host": "127.0.0.1.evil.example"},
    ],
)
async def test_what_was_forwarded_or_rebound_is_no_operator(serve, headers: dict[str, str]) -> None:
    reply = await serve(OURS).get("/ours", headers=headers)
    assert reply.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:8800", "[::1]:8800"])
async def test_a_loopback_name_is_this_machine(serve, host: str) -> None:
    assert (await serve(OURS).get("/ours", headers={"host": host})).status_code == 200


async def test_a_forged_forwarding_header_changes_no_address(serve) -> None:
    client = serve(WHO, client="192.0.2.7")
    reply = await client.get("/who", headers={"x-forwarded-for": "10.0.0.1, 203.0.113.9"})
    assert reply.json()[3] == "192.0.2.7"


async def test_a_trusted_proxy_tells_whom_it_speaks_for(serve) -> None:
    client = serve(WHO, client="10.1.1.1", trusted=PROXIES)
    reply = await client.get("/who", headers={"x-forwarded-for": "6.6.6.6, 203.0.113.9, 10.2.2.2"})
    assert reply.json() == [None, None, False, "203.0.113.9"]


ADDRESSES = st.ip_addresses().map(str)
OUTSIDE = ADDRESSES.filter(lambda a: not any(ipaddress.ip_address(a) in n for n in PROXIES))
INSIDE = st.ip_addresses(network="10.0.0.0/8").map(str)
CLAIMS = st.lists(st.one_of(ADDRESSES, st.text(max_size=10)), max_size=5).map(",".join)


@given(OUTSIDE, st.none() | CLAIMS)
def test_without_a_trusted_peer_the_peer_counts(peer: str, claimed: str | None) -> None:
    assert client_address(peer, claimed, PROXIES) == peer
    assert client_address(peer, claimed, []) == peer


@given(CLAIMS, OUTSIDE, st.lists(INSIDE, max_size=3), INSIDE)
def test_whatever_a_client_claims_its_address_is_what_the_first_proxy_saw(
    claimed: str, client: str, proxies: list[str], peer: str
) -> None:
    forwarded = ", ".join([claimed, client, *proxies])
    assert client_address(peer, forwarded, PROXIES) == client


@given(INSIDE, st.text(max_size=40))
def test_a_header_of_nonsense_gives_an_address_all_the_same(peer: str, claimed: str) -> None:
    ipaddress.ip_address(client_address(peer, claimed, PROXIES))


@pytest.mark.parametrize(
    ("authorization", "credential"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic dXNlcjp3b3Jk", None),
    ],
)
async def test_a_bearer_that_no_gate_knows_stays_with_its_caller(
    serve, authorization: str, credential: str | None
) -> None:
    client = serve(WHO, HELD)
    reply = await client.get("/who", headers={"authorization": authorization})
    assert reply.json()[1] == credential
    held = await client.get("/held", headers={"authorization": authorization})
    assert held.status_code == (401 if credential is None else 200)


async def test_proxies_that_add_a_line_are_believed_and_not_the_line_before_it(serve) -> None:
    client = serve(WHO, client="10.0.0.1", trusted=PROXIES)
    lines = [("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "203.0.113.9")]
    assert (await client.get("/who", headers=lines)).json()[3] == "203.0.113.9"


async def test_nobody_is_the_operator_through_a_trusted_proxy_on_this_machine(serve) -> None:
    here = [ipaddress.ip_network("127.0.0.0/8")]
    reply = await serve(OURS, trusted=here).get("/ours")
    assert reply.status_code == 403


async def test_a_door_for_holders_wants_a_key(serve) -> None:
    client = serve(HELD)
    assert (await client.get("/held")).status_code == 401
    reply = await client.get("/held", headers={"authorization": "Bearer abc"})
    assert reply.status_code == 200


class Names:
    """Knows one key, and the door it is asked about."""

    def __init__(self) -> None:
        self.doors: list[Door] = []

    async def admit(self, credentials: Credentials, door: Door, caller: Caller) -> Caller:
        self.doors.append(door)
        if credentials.bearer == "stolen":
            raise Denied("this key was stolen")
        known = credentials.bearer == "ada"
        return Caller(user=7, address=caller.address) if known else caller


class Turnstile:
    async def admit(self, credentials: Credentials, door: Door, caller: Caller) -> Caller:
        if caller.user == 7:
            raise Limited("slowly", retry_after_s=9)
        return caller


async def test_gates_stand_before_the_door_in_their_order(serve) -> None:
    names = Names()
    client = serve(WHO, gates=[names])
    reply = await client.get("/who", headers={"authorization": "Bearer ada"})
    assert reply.json() == [7, None, False, "127.0.0.1"]
    assert names.doors == [Door("mill", "who")]
    reply = await client.get("/who", headers={"authorization": "Bearer other"})
    assert reply.json()[:2] == [None, "other"]

    both = serve(WHO, gates=[names, Turnstile()])
    reply = await both.get("/who", headers={"authorization": "Bearer ada"})
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "9")
    reply = await both.get("/who", headers={"authorization": "Bearer stolen"})
    assert reply.status_code == 403


async def test_a_shut_door_reads_no_body(serve) -> None:
    async def body():
        raise AssertionError("nobody may read this")
        yield b""

    def write(_: object, caller: Caller) -> None:
        raise AssertionError("the door is shut")

    client = serve(route("POST", "/write", write, allow=operator), client="192.0.2.7")
    assert (await client.post("/write", content=body())).status_code == 403
