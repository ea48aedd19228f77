"""From an answer to what is sent: codings, conditions, ranges.

    Reply ──► is it text, and large enough? packed ──► is it what the client has? 304
    File  ──► the same ──► the same ──► which ranges? 206, 416 ──► pieces, and what is between

A reply that is small and has no validator is sent as it is: nothing here looks at it twice.

Conditions are looked at for what is read only. What writes has been done when its reply is here:
its conditions were its handler's to look at, and its tag is already the new one.
"""

import asyncio
import errno
import gzip
import sys
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from bastide.base.errors import Unavailable
from bastide.base.routes.rows import File, NoSuchPage, Reply, Request
from bastide.base.rt import runtime
from bastide.base.rt.disk import File as DiskFile
from bastide.parts.http.core.coding import chosen, compressible, with_vary
from bastide.parts.http.core.conditions import Current, Outcome, evaluate, takes_part
from bastide.parts.http.core.dates import http_date
from bastide.parts.http.core.ranges import (
    Byteranges,
    Range,
    content_range,
    content_range_unsatisfied,
    ranges_of,
)
from bastide.parts.http.heads import WITHOUT_LENGTH

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACK_BYTES_MIN = 1_000  # below, a packet is a packet
PACK_AT_ONCE_BYTES_MAX = 32 * 1024  # on the loop: under a millisecond
PACKED_FILE_BYTES_MAX = 4 << 20
PACKED_FILES_BYTES_MAX = 32 << 20  # kept, of all files
CODINGS = ("zstd", "gzip")
GZIP_LEVEL = 5
ZSTD_LEVEL = 4
BOUNDARY_BYTES = 12
PARTIAL = 206
READS = ("GET", "HEAD")
NO_FILE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG))
NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE))
OF_CONTENT = frozenset(
    (
        *("content-disposition", "content-encoding", "content-language", "content-range"),
        *("content-type",),
    )
)


class Part(msgspec.Struct, frozen=True):
    """`count` bytes of the file from `at` on."""

    at: int
    count: int


class Shaped(msgspec.Struct, frozen=True):
    """What is sent: `pieces` in order, `length` bytes together. `file` is open if one of them is a
    part of it, and is whoever's that sends it.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Sequence[bytes | Part] = ()
    length: int = 0
    file: DiskFile | None = None


def is_plain(reply: Reply) -> bool:
    """Nothing is to be decided about it."""
    return len(reply.body) < PACK_BYTES_MIN and "etag" not in reply.headers


async def shaped_reply(reply: Reply, request: Request) -> Shaped:
    status, body, headers = reply.status, reply.body, dict(reply.headers)
    if status in WITHOUT_LENGTH:
        return Shaped(status, headers)
    coding = None
    if status != PARTIAL and _gets_smaller(len(body), headers):
        coding = _negotiated(headers, request)
    if coding:
        _weaken(headers)
    tag = headers.get("etag") if status == 200 else None
    if tag and (settled := _settled(request, headers, Current(tag))) is not None:
        return settled
    if coding:
        body = await _packed(body, coding)
    return Shaped(status, headers, (body,), len(body))


class Files:
    """Published files, and their packed forms, which are kept while they are small together."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], bytes] = {}
        self._kept_bytes = 0
        self._packing: dict[tuple[str, str, str], asyncio.Task[bytes]] = {}

    async def shaped(self, file: File, request: Request) -> Shaped:
        """
        Raises:
            NoSuchPage. Unavailable: no more files can be opened, or it changes.
            OSError: it is there, and can't be read.
        """
        opened = _opened(file)
        try:
            shaped = await self._shaped(file, opened, request)
        except BaseException:
            opened.close()
            raise
        if shaped.file is None:
            opened.close()
        return shaped

    async def _shaped(self, file: File, opened: DiskFile, request: Request) -> Shaped:
        size, modified_s = opened.size(), opened.modified_s()
        tag = file.tag or f"{modified_s:x}-{size:x}"
        headers = {
            "content-type": file.content_type,
            "etag": f'"{tag}"',
            "last-modified": http_date(modified_s),
            **file.headers,
        }
        coding = None
        if size <= PACKED_FILE_BYTES_MAX and _gets_smaller(size, headers):
            coding = _negotiated(headers, request)
        if coding:  # other bytes, another tag
            headers["etag"] = f'{headers["etag"][:-1]}-{coding}"'
        current = Current(headers["etag"], modified_s)
        if (settled := _settled(request, headers, current)) is not None:
            return settled
        if coding is None:
            return _ranged(file, opened, size, headers, current, request)
        key = (str(file.path), headers["etag"], coding)
        body = self._kept.get(key) or await self._packed_now(key, opened, size, modified_s)
        return Shaped(200, headers, (body,), len(body))

    async def _packed_now(
        self, key: tuple[str, str, str], opened: DiskFile, size: int, modified_s: int
    ) -> bytes:
        """Once for all who ask meanwhile; one of them who leaves takes it from nobody else."""
        packing = self._packing.get(key)
        if packing is None:
            body = opened.read(size, at=0)
            if len(body) != size:
                raise Unavailable("the file changes")
            packing = self._packing[key] = asyncio.create_task(_packed(body, key[-1]))
            settled = modified_s < _now_s()  # this second may bring another one of the same size
            packing.add_done_callback(partial(self._packed_one, key, keep=settled))
        return await asyncio.shield(packing)

    def _packed_one(
        self, key: tuple[str, str, str], packing: asyncio.Task[bytes], *, keep: bool
    ) -> None:
        del self._packing[key]
        if packing.cancelled() or packing.exception() is not None or not keep:
            return
        self._kept[key] = packing.result()
        self._kept_bytes += len(self._kept[key])
        while self._kept_bytes > PACKED_FILES_BYTES_MAX:
            oldest = next(iter(self._kept))
            self._kept_bytes -= len(self._kept.pop(oldest))


def _opened(file: File) -> DiskFile:
    try:
        opened = runtime.current().disk.open_to_read(file.path)
        try:
            opened.read(1, at=0)  # most systems open a directory too
        except BaseException:
            opened.close()
            raise
    except OSError as error:
        if error.errno in NO_FILE:
            raise NoSuchPage(f"there is no file {file.path.name[:200]!r}") from error
        if error.errno in NO_ROOM:
            raise Unavailable("no more files can be opened now") from error
        raise
    return opened


def _ranged(
    file: File,
    opened: DiskFile,
    size: int,
    headers: Mapping[str, str],
    current: Current,
    request: Request,
) -> Shaped:
    headers = {**headers, "accept-ranges": "bytes"}
    wanted = _wanted(request, current, size)
    if wanted is None:
        return Shaped(200, headers, (Part(0, size),), size, opened)
    if not wanted:
        refused = _without_content(416, headers)
        told = {**refused.headers, "content-range": content_range_unsatisfied(size)}
        return msgspec.structs.replace(refused, headers=told)
    if len(wanted) == 1:
        [one] = wanted
        headers["content-range"] = content_range(one, size)
        return Shaped(PARTIAL, headers, (_part(one),), one.length, opened)
    boundary = runtime.current().chance.token(BOUNDARY_BYTES).hex()
    many = Byteranges(wanted, size, file.content_type, boundary)
    headers["content-type"] = many.content_type
    pieces = [piece for one in wanted for piece in (many.head(one), _part(one))]
    return Shaped(PARTIAL, headers, (*pieces, many.end), many.length, opened)


def _wanted(request: Request, current: Current, size: int) -> Sequence[Range] | None:
    """None: the whole. Empty: nothing that there is."""
    range_ = request.headers.get("range") if request.method == "GET" else None
    if range_ is None or not takes_part(request.headers.get("if-range"), current, now_s=_now_s()):
        return None
    return ranges_of(range_, size)


def _part(range_: Range) -> Part:
    return Part(range_.first, range_.length)


def _settled(request: Request, headers: Mapping[str, str], current: Current) -> Shaped | None:
    """The answer, if the request's conditions give it."""
    if request.method not in READS:
        return None
    match evaluate(request.method, request.headers, current, now_s=_now_s()):
        case Outcome.NOT_MODIFIED:
            return _without_content(304, headers)
        case Outcome.FAILED:
            return _without_content(412, headers)
        case Outcome.PROCEED:
            return None


def _now_s() -> int:
    return runtime.now_ms() // 1000


def _without_content(status: int, headers: Mapping[str, str]) -> Shaped:
    """What a cache needs to go on with what it has (RFC 9110, section 15.4.5): all but what tells
    of content.
    """
    return Shaped(status, {n: value for n, value in headers.items() if n not in OF_CONTENT})


def _gets_smaller(size: int, headers: Mapping[str, str]) -> bool:
    """And may: nobody has packed it, and nobody forbids it."""
    return (
        size >= PACK_BYTES_MIN
        and compressible(headers.get("content-type", ""))
        and "content-encoding" not in headers
        and "no-transform" not in headers.get("cache-control", "")
    )


def _negotiated(headers: dict[str, str], request: Request) -> str | None:
    """How it is packed for this client; caches are told that it depends on that. A part is one of
    the bytes as they are.
    """
    headers["vary"] = with_vary(headers.get("vary", ""), "accept-encoding")
    if "range" in request.headers:
        return None
    coding = chosen(request.headers.get("accept-encoding"), CODINGS)
    if coding:
        headers["content-encoding"] = coding
    return coding


def _weaken(headers: dict[str, str]) -> None:
    """Equal tags would promise equal bytes, and these were packed for this client."""
    if headers.get("etag", "W/")[:2] != "W/":
        headers["etag"] = f"W/{headers['etag']}"


async def _packed(body: bytes, coding: str) -> bytes:
    if len(body) <= PACK_AT_ONCE_BYTES_MAX:
        return _pack(body, coding)
    return await asyncio.to_thread(_pack, body, coding)


def _pack(body: bytes, coding: str) -> bytes:
    if coding == "zstd":
        return zstd.compress(body, ZSTD_LEVEL)
    return gzip.compress(body, GZIP_LEVEL, mtime=0)
