"""What of librdkafka's tests is asked of a broker like ours, and what is not, with the reasons.

A file of the suite holds one or more tests. Which they are stands in the table in its `test.c`,
which `tests_of` reads. What that table can't say stands here: `NOT_OURS`, files that no single
broker without TLS, users and racks can run; and `CHANGES`, small changes without which a file asks
for more than it tests. A changed file is counted, and named as changed wherever it is.
"""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

VERSION = "2.0.2"
FILES_MIN = 120  # fewer were read wrongly
NO_CREATE = "noautocreate"  # the suite's word for a broker that makes no topic by itself

NOT_OURS: Mapping[str, str] = {
    "0028": "left out by the suite as a known issue: a topic's name of 255 bytes, Kafka takes 249",
    "0047": "left out by the suite as a known issue: requests that are cut off in the middle",
    "0097": "TLS, with the certificates that the suite's own cluster makes",
    "0101": "three brokers in three racks, to fetch from a follower",
    "0115": "users and access rules (SASL, ACLs)",
    "0119": "users and access rules (SASL, ACLs)",
    "0126": "users that an OpenID provider vouches for (SASL/OAUTHBEARER)",
    "0135": "users (SASL)",
    "1000": "is not part of the suite's program any more",
    "8000": "run by hand: it waits for a person",
}

# Measured: one node of Apache Kafka 3.9.2, in KRaft mode, with the changes below. 4.4.0 fails these
# and what it took back since: small segments (0077, 0129) and clients before 0.10 (0052).
KAFKA_VERSION = "3.9.2"
KAFKA_FAILS: Mapping[str, str] = {
    "0045": "librdkafka's client never ends after a topic that it reads was deleted",
    "0081": "a topic's setting that does not exist is taken",
    "0092": "message.format.version is no setting any more",
    "0107": "librdkafka's client never ends after a topic that it reads was deleted",
    "0113": "librdkafka's client never ends after a topic that it reads was deleted",
}

SPLIT = re.compile(r"^ *_TEST\(", re.MULTILINE)
HEAD = re.compile(r"\s*(\w+)\s*,\s*([A-Z0-9_|\s]+?)\s*[,)]")
SCENARIO = re.compile(r'\.scenario\s*=\s*"([a-z0-9,]+)"')


class Change(Struct, frozen=True):
    """In every file named, `new` in place of what matches `old`."""

    numbers: Sequence[str]
    old: str
    new: str
    why: str


CHANGES: Sequence[Change] = (
    Change(
        numbers=("0098", "0103", "0107", "0111"),
        old=r"(create_topic\([^;]*), 3\);",
        new=r"\1, 1);",
        why="its topics have 1 replica in place of 3: it looks at none of the others",
    ),
    Change(
        numbers=("0081",),
        old=r"do_test_(Create|Describe|Delete)Acls\(rk, mainq, [01]\);",
        new="",
        why="without its sub-tests of access rules (ACLs)",
    ),
    Change(
        numbers=("0109",),
        old=r"bool has_acl_cli = [^;]*;",
        new="bool has_acl_cli = false;",
        why="without the topic that access rules (ACLs) deny",
    ),
)
JAVA_CHANGES: Sequence[Change] = (
    Change(
        numbers=("0098",),
        old=r"do_test_consumer_txn_test\(true /\* with java producer \*/\);",
        new="",
        why="with librdkafka's producer only, not with Java's too",
    ),
    Change(
        numbers=("0113",),
        old=r"^  o_java_interop\(\);",
        new="",
        why="without the sub-test with a Java consumer in the group",
    ),
)


class Entry(Struct, frozen=True):
    """One entry of the suite's table."""

    name: str
    needs_broker: bool
    scenarios: Sequence[str]

    @property
    def number(self) -> str:
        return self.name[:4]


class File(Struct, frozen=True):
    """`tests` are those that need a broker; none: the file tests the library alone."""

    name: str  # as "0012-produce_consume"
    tests: Sequence[Entry]

    @property
    def number(self) -> str:
        return self.name[:4]


def tests_of(source: str) -> Sequence[Entry]:
    """Of `test.c`, in its order."""
    _, found, table = source.partition("struct test tests[] = {")
    if not found:
        raise SystemExit("test.c has no table of tests: it is not librdkafka's")
    entries = SPLIT.split(table.partition("{NULL}}")[0])[1:]
    return [_test(entry) for entry in entries]


def _test(entry: str) -> Entry:
    head = HEAD.match(entry)
    if head is None:
        raise SystemExit(f"test.c: an entry that is not understood: {entry[:60]!r}")
    scenario = SCENARIO.search(entry)
    return Entry(
        name=head[1],
        needs_broker="TEST_F_LOCAL" not in head[2],
        scenarios=(scenario[1] if scenario else "default").split(","),
    )


def files_of(names: Sequence[str], tests: Sequence[Entry]) -> Sequence[File]:
    """By number. `names` are the source files', without their endings."""
    return [
        File(name, [test for test in tests if test.needs_broker and test.number == name[:4]])
        for name in sorted(names)
        if re.match(r"[0-9]{4}-", name)
    ]


def changes(*, with_java: bool) -> Sequence[Change]:
    return CHANGES if with_java else (*CHANGES, *JAVA_CHANGES)


def changed(number: str, source: str, wanted: Sequence[Change]) -> str:
    """The file's text with its changes made. Raises SystemExit if one has nothing to change."""
    for change in wanted:
        if number in change.numbers:
            source, count = re.subn(change.old, change.new, source, flags=re.MULTILINE)
            if not count:
                raise SystemExit(f"{number}: nothing to change ({change.why})")
    return source
