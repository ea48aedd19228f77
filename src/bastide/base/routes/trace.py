"""One request's way through many systems (W3C Trace Context, https://www.w3.org/TR/trace-context/).

    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
                 │  └ trace-id: the whole way        │                └ flags: 01 is "sampled"
                 └ version                           └ parent-id: the caller's step
    tracestate:  rojo=00f067aa0ba902b7,congo=t61rcWkgMzE        what others note for themselves

Each system takes the trace-id over, and writes the id of its own step where the caller's was. What
can't be read starts a new trace (3.2.4): hex in lower case, ids that are not all zero, a version
that is not ff. Of a version above 00 the first 55 characters are read as if it were 00, if the end
or a dash follows; it is passed on as 00, with all flags but "sampled" at 0 (4.3).

tracestate is opaque to us and passed on as it came, or not at all: without a traceparent "it is
invalid and MUST be discarded" (4.2); so is one that is malformed, names a key twice, or is over the
limits (3.3.1.5 asks for at least 512 characters).

Ids come from the caller's chance, as bytes. Cost: one match, one format.
"""

import re

from msgspec import Struct

from bastide.base.routes.fields import listed

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
TRACESTATE_CHARACTERS_MAX = 512
TRACESTATE_MEMBERS_MAX = 32

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?P<trace_id>(?!0{32})[0-9a-f]{32})"
    r"-(?P<parent_id>(?!0{16})[0-9a-f]{16})"
    r"-[0-9a-f](?P<flags>[0-9a-f])(?P<more>-|\Z)"
)
_MEMBER = re.compile(
    r"(?P<key>[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class Trace(Struct, frozen=True):
    """Where a request comes from. Ids are hex in lower case; `parent_id` is "" where it begins."""

    trace_id: str
    parent_id: str
    sampled: bool


def trace_of(traceparent: str | None) -> Trace | None:
    """What a traceparent says; None if there is none that can be read: begin a new one."""
    match = _TRACEPARENT.match(traceparent) if traceparent else None
    if match is None or (match["version"] == "00" and match["more"]):
        return None
    return Trace(match["trace_id"], match["parent_id"], int(match["flags"], 16) & 1 == 1)


def begun(trace_id: bytes, *, sampled: bool) -> Trace:
    """A new trace; `trace_id` is 16 bytes of chance."""
    assert len(trace_id) == TRACE_ID_BYTES
    assert any(trace_id), "an id of zeros is none"
    return Trace(trace_id.hex(), "", sampled)


def child(trace: Trace, span_id: bytes) -> str:
    """The traceparent to send from a step of `trace`; `span_id` is 8 bytes of chance, its own."""
    assert len(span_id) == SPAN_ID_BYTES
    assert any(span_id), "an id of zeros is none"
    return f"00-{trace.trace_id}-{span_id.hex()}-{'01' if trace.sampled else '00'}"


def state_of(tracestate: str | None) -> str:
    """What of a tracestate is to be passed on beside a `child`: all of it, or ""."""
    if not tracestate or len(tracestate) > TRACESTATE_CHARACTERS_MAX:
        return ""
    members = listed(tracestate, _MEMBER, members_max=TRACESTATE_MEMBERS_MAX)
    if not members or len({member["key"] for member in members}) < len(members):
        return ""
    return tracestate
