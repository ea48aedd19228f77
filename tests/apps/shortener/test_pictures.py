"""QR codes of short links, read back by a decoder that is not the encoder's."""

import re
import struct
import zlib
from array import array
from collections.abc import Sequence

import pytest

from bastide.apps.shortener.contract import CODE_CHARACTERS_MAX
from bastide.apps.shortener.core.qr import BORDER, SCALE_MAX

BLACK, WHITE = 0, 255
Pixels = Sequence[Sequence[int]]


def pixels_of_png(data: bytes) -> Pixels:
    """Of one with a bit for each pixel, and rows as they are or as a change of the row above (PNG,
    sections 5 and 9).
    """
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, {}
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        [check] = struct.unpack_from(">I", data, place + 8 + length)
        assert check == zlib.crc32(kind + body)
        chunks[kind] = chunks.get(kind, b"") + body
        place += 12 + length
    width, height, bits, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (bits, colour) == (1, 0), "black and white"
    raw, line = zlib.decompress(chunks[b"IDAT"]), (width + 7) // 8 + 1
    above, rows = bytes(line - 1), []
    for n in range(height):
        filter_, *row = raw[n * line : (n + 1) * line]
        assert filter_ in (0, 2)
        above = bytes((a + b) % 256 for a, b in zip(row, above, strict=True)) if filter_ else row
        rows.append(above)
    return [[WHITE * (row[x // 8] >> (7 - x % 8) & 1) for x in range(width)] for row in rows]


def pixels_of_svg(data: bytes, *, scale: int = 4) -> Pixels:
    """Of a white square and one path of horizontal strokes, a module high."""
    text = data.decode()
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', text).groups())
    assert f'<path fill="#fff" d="M0 0h{width}v{height}h-{width}z"/>' in text
    modules = [[WHITE] * width for _ in range(height)]
    x, y = 0.0, -0.5
    for verb, given in re.findall(
        r"([Mmh])([-\d. ]+)", re.search(r'stroke="#000" d="(.+?)"', text)[1]
    ):
        numbers = [float(number) for number in given.split()]
        if verb == "h":
            for module in range(int(x), int(x + numbers[0])):
                modules[int(y)][module] = BLACK
            x += numbers[0]
        else:
            x, y = (numbers[0], numbers[1]) if verb == "M" else (x + numbers[0], y + numbers[1])
    return [[m for m in row for _ in range(scale)] for row in modules for _ in range(scale)]


def said_by(pixels: Pixels) -> str:
    """What a telephone's camera would read."""
    zxingcpp = pytest.importorskip("zxingcpp", reason="zxing-cpp is not installed")
    flat = array("B", [pixel for row in pixels for pixel in row])
    [found] = zxingcpp.read_barcodes(memoryview(flat).cast("B", (len(pixels), len(pixels[0]))))
    assert found.format == zxingcpp.BarcodeFormat.QRCode
    return found.text


def is_quiet_around(pixels: Pixels, *, scale: int) -> bool:
    """Whether nothing but white is BORDER modules deep around it, and black behind it."""
    edge = BORDER * scale
    sides = [*pixels[:edge], *pixels[-edge:], *([*r[:edge], *r[-edge:]] for r in pixels)]
    return {p for side in sides for p in side} == {WHITE} and pixels[edge][edge] == BLACK


@pytest.fixture
async def linked(visitor):
    """A visitor, and a link."""
    return visitor, await visitor.made()


@pytest.mark.box("shortener.qr")
async def test_the_svg_says_the_short_link(linked):
    visitor, made = linked
    reply = await visitor.client.get(f"/{made['short_code']}/qr.svg")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/svg+xml")
    pixels = pixels_of_svg(reply.content, scale=4)
    assert is_quiet_around(pixels, scale=4)
    assert said_by(pixels) == made["short_url"]


@pytest.mark.box("shortener.qr")
@pytest.mark.parametrize("scale", [None, 1, 3, SCALE_MAX])
async def test_the_png_says_the_short_link_at_every_size(scale, linked):
    visitor, made = linked
    query = {} if scale is None else {"scale": scale}
    reply = await visitor.client.get(f"/{made['short_code']}/qr.png", params=query)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
    pixels, scale = pixels_of_png(reply.content), scale or 10
    assert is_quiet_around(pixels, scale=scale)
    modules = len(pixels) // scale - 2 * BORDER
    assert modules * scale + 2 * BORDER * scale == len(pixels)
    assert modules in range(21, 178, 4), "one of the forty sizes of a QR code"
    assert said_by(pixels) == made["short_url"]


@pytest.mark.box("shortener.qr")
@pytest.mark.parametrize("scale", ["0", str(SCALE_MAX + 1), "-1", "1.5", "x", ""])
async def test_other_sizes_are_not_drawn(scale, linked):
    visitor, made = linked
    reply = await visitor.client.get(f"/{made['short_code']}/qr.png?scale={scale}")
    assert (reply.status_code, reply.json()["type"]) == (400, "urn:bastide:invalid")


@pytest.mark.box("shortener.qr")
async def test_the_public_address_and_the_longest_code_are_said(raised_with):
    visitor = await raised_with(BASTIDE_SHORTENER_PUBLIC_ADDRESS="https://sho.rt")
    code = "aB-_" * (CODE_CHARACTERS_MAX // 4)
    await visitor.made(custom_code=code)
    for kind, pixels_of in (("svg", pixels_of_svg), ("png", pixels_of_png)):
        reply = await visitor.client.get(f"/{code}/qr.{kind}")
        assert said_by(pixels_of(reply.content)) == f"https://sho.rt/{code}"


@pytest.mark.box("shortener.qr")
@pytest.mark.parametrize("kind", ["svg", "png"])
async def test_a_picture_may_be_kept_and_is_no_click(kind, linked):
    visitor, made = linked
    path = f"/{made['short_code']}/qr.{kind}"
    plain = {"accept-encoding": "identity"}
    first = await visitor.client.get(path, headers=plain)
    again = await visitor.client.head(path, headers=plain)
    for reply in (first, again):
        assert reply.headers["cache-control"] == "public, max-age=86400"
        assert reply.headers["content-length"] == str(len(first.content))
    assert (await visitor.stats(made["short_code"], made["manage_key"]))["total_clicks"] == 0


@pytest.mark.box("shortener.qr")
@pytest.mark.parametrize("kind", ["svg", "png"])
async def test_what_is_not_there_is_not_drawn(kind, linked):
    visitor, made = linked
    code, key = made["short_code"], made["manage_key"]
    missing = await visitor.client.get(f"/nowhere/qr.{kind}")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:bastide:link-missing")
    await visitor.change(code, key, disabled=True)
    assert (await visitor.client.get(f"/{code}/qr.{kind}")).status_code == 200, "it may come back"
    await visitor.delete(code, key)
    gone = await visitor.client.get(f"/{code}/qr.{kind}")
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:bastide:link-deleted")
