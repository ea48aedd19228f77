"""What a person runs: `bastide up`, and the commands of each system.

bastide up [--only A,B] [--data DIR] [--http HOST:PORT]
bastide list | env [--json] | bench [NAME] [--json] | quality [SYSTEM] [--json] [--write]
bastide sim [NAME] [--seed N] [--runs N] [--minutes M] [--twice] [--trace] [--shrink] [--tape FILE]
bastide SYSTEM COMMAND ...          speaks to the running town, or opens the system if none runs
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec

from bastide import __version__
from bastide.base.errors import FAULT, Invalid, Refusal, Unavailable, kind_of
from bastide.base.levels import level_of
from bastide.base.manifest import Bench, Command, Manifest, Miswired, load
from bastide.base.rt import runtime
from bastide.systems import PARTS_MEASURED, PARTS_SIMULATED
from bastide.town import all_manifests, all_settings, manifests, refuse_unread

if TYPE_CHECKING:
    from httpx import AsyncClient

    from bastide.app import Doors
    from bastide.parts.sim.simulation import Simulation
    from bastide.town import Town

T = TypeVar("T")

COMMAND_TIMEOUT_S = 60.0
BEGAN_S = runtime.monotonic()  # Python is there, and no system yet

Act = Callable[[argparse.Namespace], None]


def main(words: Sequence[str] | None = None) -> int:
    """The exit code: 0, or the kind of refusal (base.errors), or 70 for a fault of ours."""
    try:
        arguments = _parser().parse_args(words)
        arguments.words = sys.argv[1:] if words is None else words
        if arguments.act is not _env:  # which shows what may be set
            refuse_unread(os.environ)
        arguments.act(arguments)
    except (Refusal, Miswired) as error:
        print(f"bastide: {error}", file=sys.stderr)
        return kind_of(error).exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, as in `bastide list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a file or directory that was named, and can't be had
        print(f"bastide: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return FAULT.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bastide", description="A town of real systems.")
    parser.add_argument("--version", action="version", version=f"bastide {__version__}")
    words = parser.add_subparsers(metavar="COMMAND", required=True)

    def word(name: str, summary: str, act: Act) -> argparse.ArgumentParser:
        made = words.add_parser(name, help=summary, description=summary)
        made.set_defaults(act=act)
        return made

    up = word("up", "open the town and serve it until a signal", _up)
    up.add_argument("--only", metavar="A,B", help="these systems and what they stand on")
    up.add_argument("--data", metavar="DIR", help="what is kept (BASTIDE_DATA)")
    up.add_argument("--http", metavar="HOST:PORT", help="main address (BASTIDE_HTTP)")
    word("list", "the systems, and what each stands on", _list)
    env = word("env", "every setting, its default and what it means", _env)
    env.add_argument("--json", action="store_true", help="for programs")
    bench = word("bench", "measure, beside peers in the same run", _bench)
    bench.add_argument("name", nargs="?", help="only the workloads of this system or part")
    bench.add_argument("--only", metavar="NAME", help="only the workload of this name")
    bench.add_argument("--seconds", type=float, default=2.0, help="of measuring, for each figure")
    bench.add_argument("--json", action="store_true", help="for programs")
    _add_sim(word("sim", "run a simulation from many seeds", _sim))
    quality = word("quality", "the checks that each system passes, in a checkout", _quality)
    quality.add_argument("system", nargs="?", help="only this one")
    quality.add_argument("--json", action="store_true", help="for programs")
    quality.add_argument("--write", action="store_true", help="keep it for README and console")
    for manifest in all_manifests():
        if manifest.commands:
            _add_commands(word(manifest.name, manifest.summary, _up), manifest)
    return parser


def _add_sim(sim: argparse.ArgumentParser) -> None:
    sim.add_argument("name", nargs="?", help="the simulation; without it they are listed")
    sim.add_argument("--seed", type=int, default=1, help="the first one")
    sim.add_argument("--runs", type=int, default=1, help="so many seeds, one after the other")
    sim.add_argument("--minutes", type=float, help="seeds for so long, instead of --runs")
    sim.add_argument("--twice", action="store_true", help="each seed twice, to the same hash")
    sim.add_argument("--trace", action="store_true", help="print what happens")
    sim.add_argument("--shrink", action="store_true", help="the first failure, made plain")
    sim.add_argument("--tape", type=Path, metavar="FILE", help="replay this, which was shrunk")


def _add_commands(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    words = parser.add_subparsers(metavar="COMMAND", required=True)
    commands: Sequence[Command] = load(manifest.commands)
    for command in commands:
        made = words.add_parser(command.name, help=command.summary, description=command.summary)
        command.declare(made)

        def act(arguments: argparse.Namespace, command: Command = command) -> None:
            asyncio.run(_command(manifest, command, arguments))

        made.set_defaults(act=act)


def _up(arguments: argparse.Namespace) -> None:
    from bastide.app import serve  # the server takes a fifth of a second to import

    options = {"BASTIDE_DATA": arguments.data, "BASTIDE_HTTP": arguments.http}
    environ = {**os.environ, **{k: v for k, v in options.items() if v is not None}}
    only = [name.strip() for name in (arguments.only or "").split(",") if name.strip()]

    def started(town: "Town", doors: "Doors") -> None:
        _print_table(town, doors)
        print(f"ready in {runtime.monotonic() - BEGAN_S:.2f} s, {_memory_mb():.0f} MB", flush=True)

    _run(serve(only, environ, started=started))


def _run(main: Coroutine[None, None, T]) -> T:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _print_table(town: "Town", doors: "Doors") -> None:
    for line in doors.skipped:
        print(line, file=sys.stderr)
    rows = [("SYSTEM", "LEVEL", "ADDRESS", "TRY")]
    for manifest in town.manifests:
        wire = town.wires.get(manifest.name, "")
        http = town.address_of(manifest.name) if manifest.doors else ""
        line = manifest.try_line.format(http=http, wire=wire) if wire or http else ""
        rows.append((manifest.name, level_of(manifest.name), wire or http or "inside", line))
    for line in _columns(rows):
        print(line)


def _columns(rows: Sequence[Sequence[str]]) -> Sequence[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _list(_: argparse.Namespace) -> None:
    names = {m.provides: m.name for m in all_manifests()}
    rows = [
        (m.name, m.floor, m.summary, ", ".join(names[need] for need in m.needs))
        for m in all_manifests()
    ]
    print("\n".join(_columns([("SYSTEM", "FLOOR", "WHAT", "STANDS ON"), *rows])))


def _env(arguments: argparse.Namespace) -> None:
    found = all_settings()
    if arguments.json:
        print(msgspec.json.encode(found).decode())
        return
    rows = [(s.variable, s.default or "-", s.meaning) for one in found.values() for s in one]
    print("\n".join(_columns([("VARIABLE", "DEFAULT", "MEANING"), *rows])))


def _bench(arguments: argparse.Namespace) -> None:
    figures = _run(_measured(arguments))
    if arguments.json:
        print(json.dumps(figures))


async def _measured(arguments: argparse.Namespace) -> Mapping[str, Mapping[str, float]]:
    found: dict[str, Mapping[str, float]] = {}
    for owner, bench in _benches(arguments.name, arguments.only):
        with tempfile.TemporaryDirectory(prefix="bastide-bench-") as directory:
            figures = await bench.run(Path(directory), arguments.seconds)
        found[f"{owner}.{bench.name}"] = figures
        if not arguments.json:
            print(f"{owner}.{bench.name}: {bench.meaning}")
            print("\n".join(f"  {name:<44} {value:>14,.2f}" for name, value in figures.items()))
    return found


def _benches(name: str | None, only: str | None) -> Sequence[tuple[str, Bench]]:
    found = [
        (owner, bench)
        for owner, dotted in _measured_by(name).items()
        for bench in load(dotted)
        if only in (None, bench.name)
    ]
    if not found:
        raise Invalid("no workload has this name")
    return found


def _measured_by(name: str | None) -> Mapping[str, str]:
    """Where the workloads of the system or part of that name are, or of all of them, by owner."""
    parts = {part.rpartition(".")[2]: f"{part}.bench:BENCHES" for part in PARTS_MEASURED}
    if name in parts:
        return {name: parts[name]}
    systems = manifests([name]) if name else all_manifests()
    found = {m.name: m.benches for m in systems if m.benches and name in (None, m.name)}
    return found if name else {**parts, **found}


def _sim(arguments: argparse.Namespace) -> None:
    found = _simulations()
    if arguments.name is None:
        rows = [(name, one.meaning) for name, one in found.items()]
        print("\n".join(_columns([("SIMULATION", "WHAT IT SHOWS"), *rows])))
        return
    if arguments.name not in found:
        raise Invalid(f"no simulation is called {arguments.name}: {', '.join(found)}")
    if sys.flags.hash_randomization:  # then sets of texts differ from one process to the next
        call = [sys.executable, "-m", "bastide", *arguments.words]
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        raise SystemExit(subprocess.run(call, env=environ).returncode)  # noqa: S603 (ourselves)
    from bastide.parts.sim.campaign import Plan, conduct

    asked = {name: getattr(arguments, name) for name in Plan.__struct_fields__}
    if conduct(found[arguments.name], Plan(**asked)).failures:
        raise SystemExit(1)


def _simulations() -> Mapping[str, "Simulation"]:
    parts = [f"{part}.sim:SIMULATIONS" for part in PARTS_SIMULATED]
    systems = [manifest.sims for manifest in all_manifests() if manifest.sims]
    return {one.name: one for dotted in (*parts, *systems) for one in load(dotted)}


def _quality(arguments: argparse.Namespace) -> None:
    """It is computed from tests and tools, which a wheel has not."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "tools/quality.py").exists():
        raise Invalid("quality is computed from tests and tools: call it in a checkout of bastide")
    sys.path.insert(0, str(root))
    try:
        report = load("tools.quality:report")
    except ModuleNotFoundError as error:
        raise Unavailable(f"{error.name} is not installed: scripts/setup dev") from error
    report(arguments.system, as_json=arguments.json, write=arguments.write)


async def _command(manifest: Manifest, command: Command, arguments: argparse.Namespace) -> None:
    if not command.needs_town:
        await command.run(None, arguments)  # type: ignore[arg-type] # as its manifest says
        return
    async with _client(manifest) as client:
        await command.run(client, arguments)


@asynccontextmanager
async def _client(manifest: Manifest) -> AsyncIterator["AsyncClient"]:
    """Speaks to the running town; if none runs, to one that is opened here, in this process."""
    import httpx

    from bastide.app import locked, make_http, set_addresses
    from bastide.parts.http.asgi import Asgi
    from bastide.town import Settings, open_town

    data = Path(os.environ.get("BASTIDE_DATA", Settings().data))
    if address := _running(manifest, data):
        async with httpx.AsyncClient(base_url=address, timeout=COMMAND_TIMEOUT_S) as client:
            try:
                yield client
            except httpx.TransportError as error:
                raise Unavailable(f"the town at {data} does not answer: {error!r}") from error
        return
    lock = locked(data)
    try:
        addresses = set_addresses([manifest.name], os.environ)
        async with open_town([manifest.name], data=data, addresses=addresses) as town:
            ports = {name: urlsplit(text).port or 80 for name, text in addresses.items() if name}
            transport = httpx.ASGITransport(Asgi(make_http(town, ports)), client=("127.0.0.1", 0))
            base = town.address_of(manifest.name)
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                yield client
    finally:
        lock.release()


def _running(manifest: Manifest, data: Path) -> str:
    """Where the system answers in the town that runs on `data`; "" if none runs there, whatever
    file a killed one has left.
    """
    from bastide.app import TOWN_FILE, TownFile, locked

    try:
        locked(data).release()
        return ""
    except Invalid:  # somebody holds it
        pass
    try:
        found = msgspec.json.decode((data / TOWN_FILE).read_bytes(), type=TownFile)
        return found.systems[manifest.name]["http"]
    except FileNotFoundError as error:
        message = f"the town at {data} is just starting or stopping"
        raise Unavailable(message) from error
    except KeyError as error:
        raise Invalid(f"the town at {data} runs without {manifest.name}") from error


def _memory_mb() -> float:
    """The most memory that this process has held; not known on Windows."""
    try:  # not getrusage: on Linux it counts what the parent held when it forked
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
