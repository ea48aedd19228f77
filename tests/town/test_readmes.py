"""The first example of every README runs, against a town that runs.

An example is the first `sh` or `python` block. It stands there with the default addresses, and is
run with those of this town; $HTTP is the system's own. Python may await, or run a loop of its own.
"""

import ast
import inspect
import os
import re
import shutil
from pathlib import Path

import anyio
import pytest

from bastide.town import Settings, all_manifests

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
READMES = [ROOT / "src/bastide" / m.floor / m.name / "README.md" for m in all_manifests()]


def example(path: Path, number: int = 0) -> tuple[str, str]:
    blocks = BLOCK.findall(path.read_text())
    assert len(blocks) > number, f"{path} has no example"
    return blocks[number]


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.parent.name)
async def test_the_first_example_of_each_system_runs(town, readme: Path, tmp_path: Path) -> None:
    language, text = example(readme)
    system = town.file.systems.get(readme.parent.name, {})
    await run(language, localised(text, town), system.get("http", town.file.http), tmp_path)


async def test_the_first_example_of_the_town_runs(town, tmp_path: Path) -> None:
    """Behind the two commands, of which the suite itself and the tests of `up` are runs."""
    language, text = example(ROOT / "README.md", 1)
    await run(language, localised(text, town), town.file.http, tmp_path)


def localised(text: str, town) -> str:
    """The default addresses in `text` become those on which this town is."""
    addresses = {Settings().http: town.file.http}
    for manifest in all_manifests():
        if manifest.address and manifest.name in town.file.systems:
            default = f"127.0.0.1:{manifest.address.port}"
            addresses[default] = town.file.systems[manifest.name]["http"]
    for default, actual in addresses.items():
        for written in (default, default.replace("127.0.0.1", "localhost")):
            text = re.sub(rf"(http://)?\b{re.escape(written)}\b", actual, text)
    return text


async def run(language: str, text: str, http: str, directory: Path) -> None:
    if language == "python":
        code = compile(text, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        names = {"HTTP": http, "__name__": "__main__"}
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, names)
        else:
            await anyio.to_thread.run_sync(exec, code, names)
        return
    if "curl" in text and not shutil.which("curl"):
        pytest.skip("the example calls curl, which is not installed")
    (directory / ".curlrc").write_text("fail\nsilent\nshow-error\n")
    environ = {**os.environ, "HTTP": http, "CURL_HOME": str(directory)}
    ended = await anyio.run_process(
        ["sh", "-eu"], input=text.encode(), cwd=directory, env=environ, check=False
    )
    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 0, f"{text}\n{said}"
