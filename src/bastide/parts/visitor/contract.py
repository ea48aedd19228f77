"""Who asks, as far as a request tells: no more is known here than what is returned."""

from collections.abc import Sequence
from typing import Literal

import msgspec

LANGUAGES_MAX = 20  # of one Accept-Language; the rest is not read
USER_AGENT_CHARACTERS_MAX = 512  # of one User-Agent; the rest is not read

Device = Literal["desktop", "mobile", "tablet", "other"]
System = Literal["android", "chromeos", "ios", "linux", "macos", "windows", "other"]
Browser = Literal["chrome", "edge", "firefox", "opera", "safari", "samsung", "other"]


class Client(msgspec.Struct, frozen=True):
    """What a User-Agent says. `bot`: a program that names itself one."""

    device: Device
    system: System
    browser: Browser
    bot: bool


class Visitor(msgspec.Struct, frozen=True):
    """`country`: ISO 3166-1, two capitals, or '' if the address belongs to none that is known.
    `languages` as RFC 4647 wants them: lower case, the best first. `referrer`: the host that led
    here, or ''.
    """

    client: Client
    country: str
    languages: Sequence[str]
    referrer: str
