"""kcat, as its package installs it, against our broker."""

import os
import shutil
import subprocess
from uuid import uuid4

import pytest

REQUIRED = os.environ.get("BASTIDE_TEST_ENGINES_REQUIRED") == "1"
WITHIN_S = 30


@pytest.fixture
def kcat(kafka):
    """`kcat(words..., given=...)`: what it printed."""
    program = shutil.which("kcat")
    if program is None:
        assert not REQUIRED, "kcat is not installed"
        pytest.skip("kcat is not installed")

    def run(*words, given=""):
        command = [program, "-b", kafka.address, *words]
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=WITHIN_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.box("log.clients")
@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4"])
def test_kcat_lists_produces_and_consumes(kcat, codec):
    topic = f"kcat-{uuid4().hex[:8]}"
    lines = [f"k{n % 3}:line {n}" for n in range(100)]
    kcat(
        "-P",
        "-t",
        topic,
        "-K",
        ":",
        "-z",
        codec,
        "-X",
        "enable.idempotence=true",
        given="\n".join(lines),
    )
    assert kcat("-C", "-t", topic, "-K", ":", "-e", "-q").splitlines() == lines
    assert kcat("-C", "-t", topic, "-o", "-2", "-e", "-q").splitlines() == ["line 98", "line 99"]
    assert f'topic "{topic}" with 1 partitions' in kcat("-L", "-t", topic)


@pytest.mark.box("log.clients")
def test_kcat_reads_as_a_group_and_goes_on_where_it_was(kcat):
    topic, group = f"kcat-{uuid4().hex[:8]}", f"kcat-{uuid4().hex[:8]}"
    read = ("-G", group, "-X", "auto.offset.reset=earliest", "-e", "-q", topic)
    kcat("-P", "-t", topic, given="one\ntwo")
    assert kcat(*read).splitlines() == ["one", "two"]
    kcat("-P", "-t", topic, given="three")
    assert kcat(*read).splitlines() == ["three"]
