"""What a case of the corpus is: bytes to send, and what our server owes them.

    script     pieces of bytes, pauses, and pieces that are repeated, in the order of sending
    end        what the client does when all is sent
    answers    the replies that come first, each with what the handler must have seen
    fate       what comes then: a refusal and the end, the end alone, or the next request's reply

Behind the script stands one more request of the same connection. Where the server goes on, its
path is /next/ID, and it must be answered; where it may not, /smuggled/ID, and it must neither be
answered nor reach a handler. ID is the case's id, so each path that a handler sees tells by which
case it came. Every case ends with the server closing: the last request asks for it.

`leave` tells how far the RFC lets a server take what ours refuses.
"""

from collections.abc import Iterable, Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from bastide.parts.http.contract import Limits

# Times short enough to wait for, and a body that is quickly sent. The rest is as it is served.
LIMITS = Limits(
    body_bytes=64 * 1024, first_byte_s=1.0, head_s=1.0, body_s=1.0, idle_s=1.0, stall_s=1.0
)
ID = b"@ID@"  # in a script: the case's id
HOST = "a.example"
BAD = frozenset({400})
OK = frozenset({200})


class Drip(Struct, frozen=True):
    """The same piece again and again."""

    piece: bytes
    count: int
    pause_s: float = 0.0


class Pause(Struct, frozen=True):
    seconds: float


Step = bytes | Drip | Pause


class End(Enum):
    """What the client does when it has sent all."""

    READ = "reads until the server closes"
    SHUT = "says that it sends no more, and reads"
    RESET = "resets the connection"
    DEAF = "never reads"


class Fate(Enum):
    REFUSED = "refused, then closed"
    DROPPED = "refused or not, then closed"
    CLOSED = "closed without another word"
    GOES_ON = "the next request is answered"
    EITHER = "goes on or closes"


class Leave(Enum):
    """What the RFC lets a server do with a request that ours refuses."""

    NONE = ""
    ONCE = "may take it, must close then"
    FULL = "may take it"


class Seen(Struct, frozen=True, kw_only=True):
    """A request as the handler saw it: the path decoded and without its query, the body as latin-1,
    or None where it may be left unread.
    """

    method: str = "GET"
    path: str = ""
    host: str = HOST
    body: str | None = ""


class Answer(Struct, frozen=True):
    """One reply. What of `seen` is wanted holds for a 200 with a body."""

    statuses: frozenset[int] = OK
    seen: Seen | None = None


class Case(Struct, frozen=True, kw_only=True):
    id: str
    group: str
    script: Sequence[Step]
    end: End
    answers: Sequence[Answer]
    fate: Fate
    statuses: frozenset[int]
    rfc: str
    leave: Leave
    slow: bool
    interims: Sequence[int] | None  # the 1xx replies, where they matter

    @property
    def expected(self) -> str:
        """In a few words."""
        words = ["/".join(map(str, sorted(answer.statuses))) for answer in self.answers]
        if self.fate in (Fate.REFUSED, Fate.DROPPED):
            words.append("/".join(map(str, sorted(self.statuses))))
        ends = {Fate.GOES_ON: "goes on", Fate.EITHER: "any", Fate.DROPPED: "or closed"}
        return " ".join([*words, ends.get(self.fate, "closed")])

    @property
    def shape(self) -> str:
        """All that is sent and how, without the id: two cases of one shape would be one."""
        return repr((self.script, self.end)).replace(self.id, "ID")

    @property
    def sent(self) -> bytes:
        """The bytes in one piece; what is repeated stands twice."""
        pieces = [s.piece * 2 if isinstance(s, Drip) else s for s in self.script]
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))

    @property
    def asks_head(self) -> bool:
        """Its first reply has no body."""
        return self.sent.lstrip(b"\r\n").startswith(b"HEAD ")


class Group:
    """Cases on one subject, of one section of an RFC unless they say otherwise."""

    def __init__(self, name: str, rfc: str) -> None:
        self.name = name
        self.rfc = rfc
        self.cases: list[Case] = []

    def refused(
        self,
        name: str,
        *script: Step,
        statuses: Iterable[int] = BAD,
        fate: Fate = Fate.REFUSED,
        after: Sequence[Answer] = (),
        end: End = End.READ,
        rfc: str = "",
        leave: Leave = Leave.NONE,
        slow: bool = False,
        interims: Sequence[int] | None = None,
    ) -> None:
        """Nothing of it may reach a handler, but for `after`, which is answered before."""
        case = Case(
            id=f"{self.name}.{name}",
            group=self.name,
            script=script if slow or end is not End.READ else [*script, SMUGGLED],
            end=end,
            answers=after,
            fate=fate,
            statuses=frozenset(statuses),
            rfc=rfc or self.rfc,
            leave=leave,
            slow=slow,
            interims=interims,
        )
        self.cases.append(_named(case))

    def answered(
        self,
        name: str,
        *script: Step,
        answers: Sequence[Answer] | None = None,
        then: Fate = Fate.GOES_ON,
        end: End = End.READ,
        rfc: str = "",
        slow: bool = False,
        interims: Sequence[int] | None = None,
    ) -> None:
        """Without `answers`: one 200, from a handler that saw a GET of /ID without a body."""
        follow = SMUGGLED if then is Fate.CLOSED else NEXT
        case = Case(
            id=f"{self.name}.{name}",
            group=self.name,
            script=script if slow or end is not End.READ else [*script, follow],
            end=end,
            answers=[answer()] if answers is None else answers,
            fate=then,
            statuses=frozenset(),
            rfc=rfc or self.rfc,
            leave=Leave.NONE,
            slow=slow,
            interims=interims,
        )
        self.cases.append(_named(case))


CLOSE = b"Connection: close"


def request(target: bytes, *lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """With a Host, and the header lines that are given; no length is added."""
    head = (method + b" " + target + b" HTTP/1.1", b"Host: " + HOST.encode(), *lines)
    return b"\r\n".join((*head, b"", body))


def get(*lines: bytes) -> bytes:
    return request(b"/" + ID, *lines)


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return request(b"/" + ID, *lines, method=b"POST", body=body)


def chunked(body: bytes, *lines: bytes) -> bytes:
    """A POST whose chunks are as written."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


def answer(
    *, method: str = "GET", path: str = "/" + ID.decode(), host: str = HOST, body: str | None = ""
) -> Answer:
    return Answer(OK, Seen(method=method, path=path, host=host, body=body))


def posted(body: str | None = "") -> Sequence[Answer]:
    return [answer(method="POST", body=body)]


def smuggled(id_: str) -> bytes:
    """Inside of a body, whose length has to be right: with the id as it will be."""
    return request(b"/smuggled/" + id_.encode(), CLOSE)


SMUGGLED = smuggled(ID.decode())
NEXT = request(b"/next/" + ID, CLOSE)


def status(*statuses: int) -> Sequence[Answer]:
    return [Answer(frozenset(statuses))]


def _named(case: Case) -> Case:
    """With its id wherever ID stands."""
    id_ = case.id.encode()
    return replace(
        case,
        script=[_step_named(step, id_) for step in case.script],
        answers=[_answer_named(wanted, case.id) for wanted in case.answers],
    )


def _step_named(step: Step, id_: bytes) -> Step:
    if isinstance(step, bytes):
        return step.replace(ID, id_)
    if isinstance(step, Drip):
        return replace(step, piece=step.piece.replace(ID, id_))
    return step


def _answer_named(wanted: Answer, id_: str) -> Answer:
    if wanted.seen is None:
        return wanted
    path = wanted.seen.path.replace(ID.decode(), id_)
    return Answer(wanted.statuses, replace(wanted.seen, path=path))
