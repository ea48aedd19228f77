"""Who reads what: each topic's partitions in ranges over the members that want it.

    t: 0 1 2 3 4    a, b ──► a: 0 1 2   b: 3 4

Members are in the order of their ids, so that all who compute it get the same. The first get one
more if it does not come out even.
"""

from collections.abc import Mapping, Sequence

Partitions = Sequence[tuple[str, int]]


def ranges(
    wanted: Mapping[str, Sequence[str]], counts: Mapping[str, int]
) -> Mapping[str, Partitions]:
    """By member id. `wanted`: the topics of each member; `counts`: partitions of each topic. A
    topic that is not there yet has none.
    """
    found: dict[str, list[tuple[str, int]]] = {member: [] for member in wanted}
    for topic in sorted({topic for topics in wanted.values() for topic in topics}):
        members = sorted(member for member, topics in wanted.items() if topic in topics)
        share, more = divmod(counts.get(topic, 0), len(members))
        at = 0
        for place, member in enumerate(members):
            end = at + share + (place < more)
            found[member] += [(topic, number) for number in range(at, end)]
            at = end
    return found
