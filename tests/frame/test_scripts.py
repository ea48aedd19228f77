"""What `scripts/setup` does and when. A stand-in for uv writes down what it is to install."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = ("bench", "check", "engines", "new-system", "setup", "test", "up")
TOOLS = ("sh", "cat", "cksum", "dirname", "mkdir", "rm")
UV_INSTALL = "pip install --quiet --python .venv/bin/python "
UV = '#!/bin/sh\necho "$@" >>"$UV_ASKED"\n'

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripts are for a POSIX shell")


class Setup:
    """A tree with the script and its locks, and a PATH with nothing but what it may count on."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.tree = directory / "tree"
        self.path = directory / "bin"
        self.asked_file = directory / "asked"
        (self.tree / "scripts").mkdir(parents=True)
        self.path.mkdir()
        shutil.copy2(root / "scripts/setup", self.tree / "scripts/setup")
        for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
            (self.tree / name).write_text(name)
        for tool in TOOLS:
            self.provide(tool, shutil.which(tool))

    def provide(self, name: str, target: str | None) -> None:
        assert target is not None, f"{name} is missing on this machine"
        (self.path / name).symlink_to(target)

    def provide_script(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": str(self.path), "UV_ASKED": str(self.asked_file), "PIP_NO_INDEX": "1"}
        return subprocess.run(
            [self.tree / "scripts/setup", *words], env=environ, capture_output=True, text=True
        )

    def asked(self, *words: str) -> list[str]:
        """What uv was asked to install during a run that went well."""
        self.asked_file.write_text("")
        ended = self.run(*words)
        assert ended.returncode == 0, ended.stderr
        lines = self.asked_file.read_text().splitlines()
        return [line.removeprefix(UV_INSTALL) for line in lines]

    def mark(self) -> Path:
        """A file that is gone when the environment has been made anew."""
        made = self.tree / ".venv/mark"
        made.touch()
        return made


@pytest.fixture
def bare(root: Path, tmp_path: Path) -> Setup:
    return Setup(root, tmp_path)


@pytest.fixture
def setup(bare: Setup) -> Setup:
    bare.provide_script("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    bare.provide_script("uv", UV)
    return bare


RUNTIME = ["--require-hashes -r requirements.lock", "--no-deps --no-build-isolation --editable ."]
DEV = ["--require-hashes -r requirements-dev.lock", RUNTIME[1]]


def test_setup_installs_what_is_locked_then_bastide_and_then_nothing(setup: Setup) -> None:
    assert setup.asked() == RUNTIME
    assert setup.asked() == []
    assert setup.asked("dev") == DEV
    assert setup.asked("dev") == []
    assert setup.asked() == [], "what dev installs holds all of runtime"


def test_a_setup_that_has_nothing_to_do_takes_less_than_a_second(setup: Setup) -> None:
    setup.asked("dev")
    started_s = time.perf_counter()
    setup.run("dev")
    assert time.perf_counter() - started_s < 1


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_is_installed_into_the_same_environment(setup: Setup, name: str) -> None:
    setup.asked()
    mark = setup.mark()
    (setup.tree / name).write_text("changed")
    assert setup.asked() == RUNTIME
    assert mark.exists(), "a town may be running on it"


def test_an_installation_that_failed_is_tried_again(setup: Setup) -> None:
    setup.provide_script("uv", "#!/bin/sh\nexit 1\n")
    assert setup.run().returncode == 1
    setup.provide_script("uv", UV)
    assert setup.asked() == RUNTIME


def test_a_moved_environment_is_made_anew(setup: Setup) -> None:
    setup.asked()
    setup.mark()
    setup.tree = setup.tree.rename(setup.tree.with_name("moved"))
    assert setup.asked() == RUNTIME
    assert not (setup.tree / ".venv/mark").exists()


def test_an_environment_whose_python_has_gone_is_made_anew(setup: Setup) -> None:
    setup.asked()
    mark = setup.mark()
    for python in (setup.tree / ".venv/bin").glob("python*"):
        python.unlink()
    assert setup.asked() == RUNTIME
    assert not mark.exists()


def test_an_environment_made_for_uv_gets_pip_where_uv_has_gone(setup: Setup) -> None:
    setup.asked()
    assert not (setup.tree / ".venv/bin/pip").exists()
    (setup.path / "uv").unlink()
    (setup.tree / "requirements.lock").write_text("flit-core==0.0.0\n")
    ended = setup.run()
    assert ended.returncode == 1
    assert "No matching distribution found for flit-core==0.0.0" in ended.stderr, "pip was asked"
    assert (setup.tree / ".venv/bin/pip").exists()


@pytest.mark.parametrize("old", ["", "#!/bin/sh\nexit 1\n"])
def test_without_a_python_of_3_11_setup_says_what_it_needs(bare: Setup, old: str) -> None:
    if old:
        bare.provide_script("python3", old)
    ended = bare.run()
    assert ended.returncode == 1
    assert "needs Python 3.11 or later" in ended.stderr
    assert not (bare.tree / ".venv").exists()


def test_a_later_python_beside_an_old_one_is_found(setup: Setup) -> None:
    (setup.path / "python3").rename(setup.path / "python3.12")
    setup.provide_script("python3", "#!/bin/sh\nexit 1\n")
    assert setup.asked() == RUNTIME


def test_setup_refuses_a_word_that_it_does_not_know(bare: Setup) -> None:
    ended = bare.run("everything")
    assert ended.returncode == 2
    assert "usage" in ended.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_can_be_run_and_says_what_it_is_for(root: Path, name: str) -> None:
    path = root / "scripts" / name
    first, second, *_ = path.read_text().splitlines()
    assert os.access(path, os.X_OK)
    assert second.startswith(("# ", '"""')), second
    if "python" not in first:
        assert subprocess.run(["sh", "-n", path]).returncode == 0


def test_ci_calls_the_test_command_that_the_readme_names(root: Path) -> None:
    readme = (root / "README.md").read_text()
    first_block = readme.partition("```sh\n")[2].partition("```")[0]
    assert "scripts/test" in first_block
    assert "scripts/up" in first_block
    assert "\nscripts/test\n" in (root / ".ci/run").read_text()
