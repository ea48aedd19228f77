"""The wheel runs where the checkout is not: built, unpacked into a fresh environment, raised."""

import os
import signal
import site
import subprocess
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from flit_core import buildapi

SHIPPED = (
    "bastide/base/html/templates/shell.html",
    "bastide/base/html/static/town.css",
    "bastide/apps/console/README.md",
    "bastide/apps/console/pages/templates/town.html",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, before = tmp_path_factory.mktemp("wheel"), Path.cwd()
    os.chdir(Path(__file__).parents[2])
    try:
        return directory / buildapi.build_wheel(str(directory))
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bastide` as pip would install it, with this environment's libraries to stand on."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, symlinks=os.name != "nt")
    packages = next(home.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    own = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "libraries.pth").write_text("\n".join(own) + "\n")
    made = home / "bin/bastide"
    made.write_text(
        f"#!{home}/bin/python\nimport sys\nfrom bastide.cli import main\nsys.exit(main())\n"
    )
    made.chmod(0o755)
    return made


def run(program: Path, *words: str, cwd: Path) -> str:
    ended = subprocess.run([program, *words], cwd=cwd, env={}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("path", SHIPPED)
def test_the_wheel_brings_templates_styles_and_readmes(wheel: Path, path: str) -> None:
    assert path in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_brings_every_file_of_the_package(wheel: Path, root: Path) -> None:
    package = root / "src/bastide"
    files = (p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    wanted = {f"bastide/{path.relative_to(package).as_posix()}" for path in files}
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_gives_the_bastide_command_and_the_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [entry_points] = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
    assert b"bastide=bastide.cli:main" in archive.read(entry_points).replace(b" ", b"")
    assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())


def test_the_installed_bastide_is_not_the_checkout(program: Path, tmp_path: Path) -> None:
    python = program.with_name("python")
    where = run(python, "-c", "import bastide; print(bastide.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(program.parents[1])
    assert "console" in run(program, "list", cwd=tmp_path)


def test_the_installed_town_serves_its_pages_from_another_directory(
    program: Path, tmp_path: Path
) -> None:
    with raised(program, tmp_path) as address:
        request = urllib.request.Request(f"{address}/", headers={"accept": "text/html"})
        with urllib.request.urlopen(request) as reply:
            assert reply.status == 200
            assert b"console" in reply.read()


@contextmanager
def raised(program: Path, directory: Path) -> Iterator[str]:
    words = [program, "up", "--data", "town", "--http", "127.0.0.1:0"]
    with subprocess.Popen(words, cwd=directory, env={}, stdout=subprocess.PIPE, text=True) as town:
        try:
            assert town.stdout is not None
            assert any(line.startswith("ready in") for line in town.stdout)
            yield msgspec.json.decode((directory / "town/town.json").read_bytes())["http"]
        finally:
            town.send_signal(signal.SIGINT)
            town.stdout.read()
    assert town.returncode == 0
