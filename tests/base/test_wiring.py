"""What a system is given when it opens: THE LIST is replaced by systems of the test."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
import pytest

from bastide.base.errors import Invalid, Unavailable
from bastide.base.gate import anyone
from bastide.base.html.shell import shell_line
from bastide.base.manifest import Address, Backend, Manifest, Miswired, Use, backend_variables, load
from bastide.base.routes.rows import route
from bastide.base.settings import BackendUrl
from bastide.testing.town import raised
from bastide.town import all_settings, manifests


class Mill(Protocol):
    async def grind(self, grain: str) -> str: ...


class Shelf:
    """What a backend opener gives: its URL, and who looks at it."""

    def __init__(self, url: BackendUrl) -> None:
        self.url = url
        self.clients: list[str] = []


class View:
    def __init__(self, shelf: Shelf, client: str) -> None:
        self.shelf = shelf
        self.client = client

    async def grind(self, grain: str) -> str:
        return f"{grain} for {self.client} on {self.shelf.url.text}"

    async def health(self) -> None:
        if "stuck" in self.shelf.url.query:
            raise Unavailable("the wheel is stuck")


opened: list[str] = []


@asynccontextmanager
async def open_shelf(url: BackendUrl, use: Use) -> AsyncIterator[Shelf]:
    opened.append(url.text)
    yield Shelf(url)
    opened.append(f"closed {url.text}")


@asynccontextmanager
async def open_mill(use: Use) -> AsyncIterator[View]:
    shelf = use.backend(Shelf)
    shelf.clients.append(use.client.name)
    (use.directory() / "flour").touch()
    yield View(shelf, use.client.name)


@asynccontextmanager
async def open_busy(url: BackendUrl, use: Use) -> AsyncIterator[Shelf]:
    async def turn() -> None:
        opened.append("grinding")
        try:
            await asyncio.Event().wait()
        finally:
            opened.append("rests")

    use.spawn("turn", turn)
    yield Shelf(url)
    opened.append("closed")


class Told(msgspec.Struct, frozen=True):
    url: str
    clients: list[str]


class Settings(msgspec.Struct, frozen=True):
    oven_key: Annotated[str, msgspec.Meta(description="of the oven")] = ""
    supplier: Annotated[str, msgspec.Meta(description="address")] = "http://u:word@mill"


class Shop:
    def __init__(self, use: Use, *contracts: type) -> None:
        self.use = use
        self.got = [use(contract) for contract in contracts]


def shop(
    name: str, *contracts: type, needs: tuple[type, ...] = (Mill,), **fields: object
) -> Manifest:
    @asynccontextmanager
    async def open_shop(use: Use) -> AsyncIterator[Shop]:
        yield Shop(use, *contracts)

    provides = type(name.title(), (), {})
    return Manifest(
        name=name,
        floor="apps",
        summary="A shop.",
        provides=provides,
        open=open_shop,
        needs=needs,
        **fields,
    )


def here(name: str) -> str:
    return f"{__name__}:{name}"


MILL = Manifest(
    name="mill",
    floor="engines",
    summary="Grinds.",
    provides=Mill,
    open=open_mill,
    backends={
        "memory": Backend(here("open_shelf"), "process"),
        "water": Backend(here("open_shelf"), "cluster"),
        "steam": Backend("no_such_library:open", "machine", extra="steam"),
    },
    backend_default="memory://",
)


@asynccontextmanager
async def open_hatch(served: object, listeners: object) -> AsyncIterator[None]:
    yield


async def tell_clients(shelf: Shelf) -> Told:
    return Told(shelf.url.text, shelf.clients)


DOORS = (route("GET", "/clients", tell_clients, allow=anyone),)
BUSY = Backend(here("open_busy"), "process")
OPEN_MILL = msgspec.structs.replace(
    MILL,
    backends={
        "memory": Backend(here("open_shelf"), "process", serves=True),
        "water": Backend(here("open_shelf"), "cluster"),
    },
    doors=(here("DOORS"),),
    address=Address("grain", 8891),
    wire=here("open_hatch"),
    try_line="grind {wire}",
)
BAKERY, BREWERY = shop("bakery", Mill, settings=Settings), shop("brewery", Mill)


@pytest.fixture(autouse=True)
def nothing_opened() -> None:
    opened.clear()


async def test_each_client_has_a_view_of_its_own_on_one_backend_for_each_url(listed) -> None:
    listed(MILL, BAKERY, BREWERY)
    async with raised("bakery", "brewery") as town:
        assert opened == ["memory://"]
        [mill] = town.served("bakery").got
        assert await mill.grind("rye") == "rye for bakery on memory://"
        [other] = town.served("brewery").got
        assert await other.grind("malt") == "malt for brewery on memory://"
    assert opened == ["memory://", "closed memory://"]


async def test_the_doors_of_an_engine_are_bound_to_the_backend_that_its_wire_door_speaks_for(
    listed,
) -> None:
    """Also if nobody stands on it, or somebody else stands on a foreign one."""
    listed(OPEN_MILL, BAKERY, BREWERY)
    async with raised("mill") as town:
        reply = await (await town.client("mill")).get("/clients")
        assert reply.json() == {"url": "memory://", "clients": []}
    environ = {"BASTIDE_BAKERY_MILL_URL": "water://a"}
    async with raised("bakery", "brewery", environ=environ) as town:
        reply = await (await town.client("mill")).get("/clients")
        assert reply.json() == {"url": "memory://", "clients": ["brewery"]}


async def test_an_engine_that_is_a_foreign_one_has_no_doors_here(listed) -> None:
    listed(OPEN_MILL, BAKERY)
    async with raised("bakery", environ={"BASTIDE_MILL_URL": "water://a"}) as town:
        assert (await (await town.client("mill")).get("/clients")).status_code == 404
        assert [m.doors for m in town.town.manifests] == [(), ()]
        assert await town.served("bakery").got[0].grind("rye") == "rye for bakery on water://a"


def test_a_line_to_try_names_the_wire_door_if_that_is_open() -> None:
    assert shell_line(OPEN_MILL, http="", wire="127.0.0.1:8891") == "grind 127.0.0.1:8891"
    assert shell_line(OPEN_MILL, http="", wire="") == ""


async def test_what_a_backend_does_beside_ends_before_it_is_closed(listed) -> None:
    listed(msgspec.structs.replace(MILL, backends={"memory": BUSY}), BAKERY)
    async with raised("bakery"):
        await asyncio.sleep(0)
        assert opened == ["grinding"]
    assert opened == ["grinding", "rests", "closed"]


async def test_the_nearest_variable_names_the_backend(listed) -> None:
    assert backend_variables(MILL, BAKERY) == ("BASTIDE_BAKERY_MILL_URL", "BASTIDE_MILL_URL")
    listed(MILL, BAKERY, BREWERY)
    environ = {"BASTIDE_BAKERY_MILL_URL": "water://a", "BASTIDE_MILL_URL": "water://b"}
    async with raised("bakery", "brewery", environ=environ) as town:
        assert (await town.served("bakery").got[0].grind("rye")).endswith("water://a")
        assert (await town.served("brewery").got[0].grind("rye")).endswith("water://b")
        assert town.town.backend_of("mill", "bakery") == "water://a"
    assert opened[:2] == ["water://a", "water://b"]


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("wind://a", Invalid, "BASTIDE_MILL_URL=wind://a: unknown scheme; one of memory://, water://"),
        ("wind", Invalid, "is no URL"),
        ("steam://a", Unavailable, "which the extra 'steam' of bastide brings"),
    ],
)  # fmt: skip
async def test_a_backend_that_can_not_be_had_stops_the_start(listed, url, error, said) -> None:
    listed(MILL, BAKERY)
    with pytest.raises(error, match=said):
        async with raised("bakery", environ={"BASTIDE_MILL_URL": url}):
            pass


@pytest.mark.parametrize("name", ["bakery", "butcher", "broken"])
async def test_a_town_without_data_leaves_nothing_behind(
    listed, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    listed(MILL, BAKERY, shop("broken", Shop))
    try:
        async with raised(name) as town:
            assert town.town.data.parent == tmp_path
    except (Invalid, Miswired):
        assert name != "bakery"
    assert os.listdir(tmp_path) == []


async def test_what_fails_to_open_closes_what_was_opened_before(listed) -> None:
    listed(MILL, BAKERY, shop("broken", Shop))
    with pytest.raises(Miswired):
        async with raised("bakery", "broken"):
            pass
    assert opened == ["memory://", "closed memory://"]


async def test_what_a_manifest_does_not_name_is_not_given(listed) -> None:
    listed(MILL, shop("sly", Mill, needs=()))
    with pytest.raises(Miswired, match="sly asks for Mill, which is not among its needs"):
        async with raised("sly"):
            pass


async def test_a_system_stands_only_on_those_above_it_in_the_list(listed) -> None:
    listed(BAKERY, MILL)
    with pytest.raises(Miswired, match="bakery needs Mill, which no system above it"):
        async with raised("bakery", "mill"):
            pass


async def test_settings_that_a_manifest_does_not_name_are_not_read(listed) -> None:
    listed(MILL, BREWERY)
    async with raised("brewery") as town:
        with pytest.raises(Miswired, match="brewery reads Settings: name it in its manifest"):
            town.served("brewery").use.settings(Settings)


async def test_a_system_has_a_directory_and_an_address_of_its_own(listed, tmp_path: Path) -> None:
    listed(MILL, BAKERY)
    async with raised("bakery", data=tmp_path) as town:
        use = town.served("bakery").use
        assert use.directory() == tmp_path / "bakery"
        assert use.address() == f"{town.town.addresses['']}/bakery"
    assert (tmp_path / "bakery/flour").exists(), "an engine keeps a client's files with the client"


async def test_what_a_town_shows_of_its_settings_hides_secrets(listed) -> None:
    listed(MILL, BAKERY)
    environ = {"BASTIDE_BAKERY_OVEN_KEY": "word", "BASTIDE_BAKERY_MILL_URL": "water://u:word@a"}
    async with raised("bakery", environ=environ) as town:
        shown = {s.variable: s.value for s in town.town.settings_of("bakery")}
        assert shown == {
            "BASTIDE_BAKERY_OVEN_KEY": "hidden",
            "BASTIDE_BAKERY_SUPPLIER": "http://mill",
            "BASTIDE_BAKERY_MILL_URL": "water://a",
        }


async def test_health_is_that_of_the_worst_view(listed) -> None:
    listed(MILL, BAKERY, BREWERY)
    environ = {"BASTIDE_BREWERY_MILL_URL": "water://a?stuck=1"}
    async with raised("bakery", "brewery", environ=environ) as town:
        health = await town.town.health()
        assert (health["mill"].ok, health["mill"].error) == (False, "the wheel is stuck")
        assert health["bakery"].ok
        client = await town.client()
        reply = await client.get("/healthz")
        assert reply.status_code == 503
        assert not reply.json()["ok"]


def test_only_is_completed_by_what_is_needed(listed) -> None:
    listed(MILL, BAKERY, BREWERY)
    assert [m.name for m in manifests(["brewery"])] == ["mill", "brewery"]
    assert [m.name for m in manifests()] == ["mill", "bakery", "brewery"]
    with pytest.raises(Invalid, match="there is no system butcher; there are mill, bakery"):
        manifests(["butcher"])


def test_the_variables_of_a_system_are_all_described(listed) -> None:
    listed(MILL, BAKERY)
    assert [s.variable for s in all_settings()["mill"]] == ["BASTIDE_MILL_URL"]
    assert [s.variable for s in all_settings()["bakery"]] == [
        "BASTIDE_BAKERY_OVEN_KEY",
        "BASTIDE_BAKERY_SUPPLIER",
        "BASTIDE_BAKERY_MILL_URL",
    ]


def test_a_dotted_name_that_leads_nowhere_is_a_mistake_of_the_manifest() -> None:
    with pytest.raises(Miswired, match="there is no such name"):
        load("bastide.town:Nowhere")
    assert load("bastide.town:Town").__name__ == "Town"
