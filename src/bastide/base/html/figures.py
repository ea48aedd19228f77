"""Numbers as a person reads them. Digits are kept to what was measured: three at most."""

_PARTS_OF_A_SECOND = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BINARY = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
TEXT_SHOWN_MAX = 200  # characters
BYTES_SHOWN_MAX = 32  # of what is no text
_THOUSANDS = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))


def count_text(count: float) -> str:
    """12345 as 12,345."""
    return f"{count:,.0f}"


def rate_text(per_s: float) -> str:
    """0.26 as 0.3, 12.34 as 12, 123456 as 123 k; without a unit."""
    for least, divisor, letter in _THOUSANDS:
        if per_s >= least:
            return f"{_three_digits(per_s / divisor)} {letter}"
    if per_s >= 9.95 or per_s == 0:
        return f"{per_s:,.0f}"
    return f"{per_s:.1f}" if per_s >= 0.05 else "<0.1"


def time_text(seconds: float) -> str:
    """0.00025 as 250 µs. Nothing takes no time: 0 stands where nothing was timed."""
    if not seconds:
        return "\N{EN DASH}"
    parts = _PARTS_OF_A_SECOND
    size, unit = next((part for part in parts if seconds >= part[0]), parts[-1])
    return f"{_three_digits(seconds / size)} {unit}"


def value_text(value: float) -> str:
    """Any metric's value: whole numbers whole, others to three digits."""
    return count_text(value) if float(value).is_integer() else f"{value:,.3g}"


def size_text(size: int) -> str:
    """1536 bytes as 1.5 KiB."""
    for least, unit in _BINARY:
        if size >= least:
            digits = ",.0f" if size >= 100 * least else ".3g"
            return f"{size / least:{digits}} {unit}"
    return f"{size} B"


def bytes_text(given: bytes) -> str:
    """As text, if it is that, else as hexadecimal digits; what is long is cut."""
    try:
        text = given[: 4 * TEXT_SHOWN_MAX].decode()
    except UnicodeDecodeError as error:
        if error.start < 4 * TEXT_SHOWN_MAX - 4 or len(given) <= 4 * TEXT_SHOWN_MAX:
            more = "…" if len(given) > BYTES_SHOWN_MAX else ""
            return given[:BYTES_SHOWN_MAX].hex(" ") + more
        text = given[: error.start].decode()
    cut = text[:TEXT_SHOWN_MAX]
    more = "…" if len(cut.encode()) < len(given) else ""
    return "".join(c if c.isprintable() else " " for c in cut) + more


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
