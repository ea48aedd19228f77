"""QR codes (ISO/IEC 18004) of short links: a few milliseconds of CPU, so the last ones are kept."""

from functools import lru_cache
from io import BytesIO

import segno

SCALE_MAX = 20
KEPT = 1_024
BORDER = 4  # modules of quiet zone, as the standard asks for


@lru_cache(KEPT)
def qr_svg(text: str) -> bytes:
    """Black on white whatever the page around it is: readers want the contrast that way round."""
    out = BytesIO()
    segno.make_qr(text, error="m").save(
        out, kind="svg", border=BORDER, light="#fff", xmldecl=False, omitsize=True, nl=False
    )
    return out.getvalue()


@lru_cache(KEPT // 16)
def qr_png(text: str, scale: int) -> bytes:
    """`scale` pixels a module, 1 to SCALE_MAX."""
    out = BytesIO()
    segno.make_qr(text, error="m").save(out, kind="png", border=BORDER, scale=scale)
    return out.getvalue()
