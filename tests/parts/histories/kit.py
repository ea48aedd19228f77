"""Histories by hand, and from plain objects that a seeded run really works on."""

import math
import random

from bastide.parts.histories.contract import Operation


def op(process, kind, argument, invoked, returned, result=None, key="", outcome="ok"):
    return Operation(
        number=round(invoked * 1000) + sum(process.encode()),
        process=process,
        kind=kind,
        key=key,
        argument=argument,
        invoked=invoked,
        returned=returned,
        outcome=outcome,
        result=result,
    )


def lost(process, kind, argument, invoked, key=""):
    """An operation that nobody heard of again."""
    return op(process, kind, argument, invoked, None, key=key, outcome="unknown")


# --- plain objects: `do` works on them, `draw` thinks of something to do --------------------------


class PlainRegister:
    def __init__(self):
        self.value = None

    def draw(self, chance):
        kind = chance.choice(("read", "write", "cas"))
        few = range(4)
        argument = {"read": None, "write": chance.choice(few)}.get(
            kind, (chance.choice(few), chance.choice(few))
        )
        return kind, argument

    def do(self, kind, argument):
        if kind == "read":
            return self.value
        if kind == "write":
            self.value = argument
            return None
        old, new = argument
        same = self.value == old
        self.value = new if same else self.value
        return same


class PlainCounter:
    def __init__(self):
        self.sum = 0

    def draw(self, chance):
        return chance.choice((("read", None), ("add", chance.randint(-2, 2))))

    def do(self, kind, argument):
        self.sum += argument or 0
        return self.sum


class PlainSet:
    def __init__(self):
        self.elements = []

    def draw(self, chance):
        kind = chance.choice(("add", "remove", "has", "read"))
        return kind, None if kind == "read" else chance.randrange(3)

    def do(self, kind, argument):
        there = argument in self.elements
        if kind == "add" and not there:
            self.elements.append(argument)
        if kind == "remove" and there:
            self.elements.remove(argument)
        return {"add": not there, "remove": there, "has": there}.get(kind, tuple(self.elements))


class PlainQueue:
    def __init__(self):
        self.elements = []

    def draw(self, chance):
        return chance.choice((("put", chance.randrange(5)), ("take", None)))

    def do(self, kind, argument):
        if kind == "put":
            self.elements.append(argument)
            return None
        return self.elements.pop(0) if self.elements else None


class PlainMutex:
    def __init__(self):
        self.owner = None

    def draw(self, chance):
        return chance.choice(("acquire", "release")), chance.choice("ab")

    def do(self, kind, argument):
        done = self.owner == (None if kind == "acquire" else argument)
        if done:
            self.owner = argument if kind == "acquire" else None
        return done


class PlainStore:
    """An etcd with one key, "k"."""

    def __init__(self):
        self.revision = 1
        self.entry = None

    def draw(self, chance):
        kind = chance.choice(("put", "get", "delete", "txn"))
        if kind != "txn":
            return kind, chance.randrange(3) if kind == "put" else None
        target = chance.choice(("value", "version", "created", "modified"))
        compare = (target, "k", chance.choice("=<>"), chance.randrange(4))
        then = (("put", "k", chance.randrange(3)), ("get", "k"))
        return kind, ((compare,), then, chance.choice(((("delete", "k"),), (("get", "k"),), ())))

    def do(self, kind, argument):
        if kind == "put":
            self.put(argument)
            return self.revision
        if kind == "get":
            return self.revision, self.entry
        if kind == "delete":
            count = self.delete()
            return self.revision, count
        compares, then, orelse = argument
        yes = all(self.holds(*compare) for compare in compares)
        answers = tuple(self.each(*each) for each in (then if yes else orelse))
        return self.revision, yes, answers

    def each(self, kind, key, value=None):
        if kind == "put":
            return self.put(value)
        return self.entry if kind == "get" else self.delete()

    def put(self, value):
        self.revision += 1
        _, created, _, version = self.entry or (None, self.revision, 0, 0)
        self.entry = (value, created, self.revision, version + 1)

    def delete(self):
        there = self.entry is not None
        self.revision += there
        self.entry = None
        return int(there)

    def holds(self, target, key, relation, wanted):
        if self.entry is None and target == "value":
            return False
        names = ("value", "created", "modified", "version")
        found = dict(zip(names, self.entry or (None, 0, 0, 0), strict=True))[target]
        return {"=": found == wanted, "<": found < wanted, ">": found > wanted}[relation]


# --- runs -----------------------------------------------------------------------------------------


def run(plain, seed, *, operations, clients, unknown=0.0, failed=0.0, key="", overlap=1.0):
    """What `clients` saw who used the object one at a time. Each operation works at a moment of its
    own, and was invoked some time before and answered some time after.
    """
    chance = random.Random(seed)
    free = dict.fromkeys((f"c{n}" for n in range(clients)), 0.0)
    history, now = [], 0.0
    for number in range(operations):
        client = min(free, key=free.get) if chance.random() < 0.8 else chance.choice(list(free))
        now = max(now, free[client]) + chance.random() / clients
        kind, argument = plain.draw(chance)
        invoked = max(free[client], now - overlap * chance.random())
        returned = now + overlap * chance.random()
        outcome, result, fate = "ok", None, chance.random()
        if fate < failed:
            outcome = "failed"
        elif fate < failed + unknown:
            outcome = "unknown"
            if chance.random() < 0.5:
                plain.do(kind, argument)
        else:
            result = plain.do(kind, argument)
        # A moment is given to one event only, as the recorder does; and who does not know what
        # became of an operation goes on under another name.
        free[client] = math.nextafter(returned, math.inf)
        if outcome == "unknown":
            free[f"c{clients + number}"] = free.pop(client)
        history.append(
            Operation(
                number=number,
                process=client,
                kind=kind,
                key=key,
                argument=argument,
                invoked=invoked,
                returned=returned,
                outcome=outcome,
                result=result,
            )
        )
    return history


def by_force(history, model):
    """Whether any order of any choice of the unknown does, by trying all: for a few operations."""
    sure = [o for o in history if o.outcome == "ok"]
    unsure = [o for o in history if o.outcome == "unknown"]
    for choice in range(1 << len(unsure)):
        chosen = sure + [o for n, o in enumerate(unsure) if choice >> n & 1]
        if _any_order(chosen, {model.start()}, model):
            return True
    return False


def _any_order(left, states, model):
    if not left:
        return bool(states)
    for n, operation in enumerate(left):
        others = left[:n] + left[n + 1 :]
        if any(o.outcome == "ok" and o.returned < operation.invoked for o in others):
            continue
        then = {s for state in states for s in model.step(state, operation)}
        if then and _any_order(others, then, model):
            return True
    return False
