"""What a node asks the one that leads, beside what their group agrees on."""

import msgspec

from bastide.base.errors import Conflict, Invalid, NotFound, Refusal
from bastide.engines.coord.contract import CoordAway, LeaderMissing
from bastide.engines.coord.core.commands import Outcome, Refused, refusal, refused


class Agree(msgspec.Struct, frozen=True, tag="agree"):
    """Propose this entry. Answered by its outcome."""

    entry: bytes


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Keep this lease alive; or, if `only_look`, tell how long it lasts. Answered by Kept."""

    lease: int
    only_look: bool = False


class Regroup(msgspec.Struct, frozen=True, tag="regroup"):
    """Who shall be member. Answered by Regrouped."""

    voters: tuple[int, ...]
    learners: tuple[int, ...]


Question = Agree | Keep | Regroup


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    ttl_s: int
    left_s: float


class Regrouped(msgspec.Struct, frozen=True, tag="regrouped"):
    pass


class Away(msgspec.Struct, frozen=True, tag="away"):
    """It was refused for now. `leads_not`: nothing was done, for another one leads."""

    told: str
    outcome: str
    leads_not: bool = False


class Forbidden(msgspec.Struct, frozen=True, tag="forbidden"):
    """Of a Regroup: `kind` is what the group says to it."""

    kind: str
    told: str


Reply = Outcome | Kept | Regrouped | Away | Forbidden

_KINDS: dict[str, type[Refusal]] = {
    "invalid": Invalid,
    "not-found": NotFound,
    "conflict": Conflict,
}
_encoder = msgspec.msgpack.Encoder()
_questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(said: Question | Reply) -> bytes:
    return _encoder.encode(said)


def decode_question(payload: bytes) -> Question:
    return _questions.decode(payload)


def decode_reply(payload: bytes) -> Reply:
    return _replies.decode(payload)


def reply_of(error: Refusal) -> Reply:
    """To be told to another node, which raises it again: see `checked`."""
    if isinstance(error, CoordAway):
        return Away(str(error), error.outcome, leads_not=isinstance(error, LeaderMissing))
    for kind, error_type in _KINDS.items():
        if type(error) is error_type:
            return Forbidden(kind, str(error))
    return refused(error)


def checked(reply: Reply) -> Reply:
    """
    Raises:
        Refusal: what was told.
    """
    match reply:
        case Away(told, outcome, leads_not):
            raise (LeaderMissing if leads_not else CoordAway)(told, outcome=outcome)
        case Forbidden(kind, told):
            raise _KINDS[kind](told)
        case Refused():
            raise refusal(reply)
    return reply
