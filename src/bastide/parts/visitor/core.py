"""What the headers of one request say of who asks; pure.

    User-Agent: Mozilla/5.0 (Linux; Android 14; SM-X710) ... Chrome/126.0.0.0 Safari/537.36
                                    │         └─ no "Mobile" ─> device tablet    │
                                    └─ family "Android" ─> system android        │
                                                   browser chrome <─ family "Chrome"
    Accept-Language: de-CH,de;q=0.9,en;q=0.7,fr;q=0   ─> de-ch, de, en
    Referer: https://www.Example.com/page?q=secret    ─> example.com

The families come from ua-parser's expressions (see reader.py). The device is judged here, by the
few words that makers agree on: Android says "Mobile" on phones and not on tablets, and "Mobi" is
what Mozilla tells sites to look for. ua-parser's expressions for devices name thousands of models,
which nobody here asks for, and cost as much memory again.

Who is a bot? Whoever says so: BOTS are words of the User-Agents by which crawlers and preview
fetchers name themselves, and the "+http" of the address at which they explain themselves. HEAD
counts as a bot's, since no browser follows a link by HEAD. A client library (curl, requests) says
that it is a program, not whose: a person may sit in front of it. It counts as no bot.

What can't be known: an iPad in its default desktop mode says that it is a Mac; Brave, Arc and other
kin of Chrome say that they are Chrome; and anyone may say anything.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from bastide.parts.visitor.contract import LANGUAGES_MAX, Browser, Client, Device, System

REFERRER_CHARACTERS_MAX = 100  # of a host; a longer one is taken for none
ACCEPT_LANGUAGE_CHARACTERS_MAX = 1_000  # what comes behind is not read
REFERER_CHARACTERS_MAX = 512  # the same; the host stands at the front

BOTS = (
    *("bot", "crawl", "spider", "slurp", "archiver", "preview", "scraper", "monitor", "validator"),
    *("facebookexternalhit", "whatsapp", "embedly", "linkcheck", "headlesschrome", "lighthouse"),
    *("mediapartners", "feedfetcher", "google-inspectiontool", "googleother", "externalagent"),
    *("chatgpt-user", "claude-user", "perplexity-user", "scrapy", "nutch", "heritrix", "+http"),
)
_PHONES_WITH_BOT = "cubot"  # a maker of phones

_SYSTEMS: dict[str, System] = {
    "Android": "android",
    "Chrome OS": "chromeos",
    "iOS": "ios",
    "Mac OS": "macos",
    "Mac OS X": "macos",
    "Windows": "windows",
    "Windows Mobile": "windows",
    "Windows Phone": "windows",
    "Linux": "linux",
    # Distributions that ua-parser tells from Linux.
    **dict.fromkeys(("Arch Linux", "BackTrack", "CentOS", "Debian", "Fedora", "Gentoo"), "linux"),
    **dict.fromkeys(("Kubuntu", "Lubuntu", "Mageia", "Mandriva", "Mint", "PCLinuxOS"), "linux"),
    **dict.fromkeys(("Puppy", "Red Hat", "Slackware", "SUSE", "openSUSE", "Ubuntu"), "linux"),
}
_BROWSERS: tuple[tuple[str, Browser], ...] = (  # by how a family begins
    ("Chrome Frame", "other"),  # Internet Explorer
    ("Chrome", "chrome"),
    ("Chromium", "chrome"),
    ("HeadlessChrome", "chrome"),
    ("Edge", "edge"),
    ("Firefox", "firefox"),
    ("Opera", "opera"),
    ("Mobile Safari", "safari"),
    ("Safari", "safari"),
    ("Samsung Internet", "samsung"),
)

# Windows said "Tablet PC" of every machine that had the software for it.
_TABLET = re.compile(r"ipad|tablet(?! pc)|playbook|kindle|silk/")
_PHONE = re.compile(r"mobi|phone|ipod|opera mini")
_SCREEN = re.compile(r"\btv\b|smart-?tv|appletv|bravia|\baft[a-z]|crkey|xbox|playstation|nintendo")
_DESKTOPS = ("chromeos", "linux", "macos", "windows")

_LANGUAGE = re.compile(
    r"\s*([a-z]{1,8}(?:-[a-z0-9]{1,8})*)\s*(?:;\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*)?"
)
_REFERER = re.compile(
    r"\s*https?://(?:[^/?#@\\]*@)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])\.?(?::\d*)?"
    r"(?:[/?#].*)?",
    re.DOTALL,
)

# ISO 3166-1 alpha-2, all 249 that are assigned.
_ASSIGNED = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ "
    "BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM "
    "DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS "
    "GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN "
    "KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ "
    "MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
    "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
    "SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI "
    "VN VU WF WS YE YT ZA ZM ZW"
)
COUNTRIES = frozenset(_ASSIGNED.split())


def client_from(user_agent: str, *, system_family: str, browser_family: str) -> Client:
    """The client of a User-Agent in which ua-parser found these families ('' for none)."""
    lower = user_agent.lower()
    system = _SYSTEMS.get(system_family, "other")
    return Client(_device(lower, system), system, _browser(browser_family), is_bot(user_agent))


def _browser(family: str) -> Browser:
    for start, browser in _BROWSERS:
        if family.startswith(start):
            return browser
    return "other"


def _device(lower: str, system: System) -> Device:
    if _SCREEN.search(lower):
        return "other"
    mobile = _PHONE.search(lower) is not None
    if _TABLET.search(lower) or (system == "android" and not mobile):
        return "tablet"
    if mobile:
        return "mobile"
    return "desktop" if system in _DESKTOPS else "other"


def is_bot(user_agent: str, method: str = "GET") -> bool:
    lower = user_agent.lower().replace(_PHONES_WITH_BOT, "")
    return method == "HEAD" or any(word in lower for word in BOTS)


def languages_of(accept_language: str) -> tuple[str, ...]:
    """What an Accept-Language (RFC 9110, 12.5.4) takes, the best first: at most LANGUAGES_MAX of
    its pieces are read. "*" names no language, and a piece that is malformed is passed over.
    """
    if len(accept_language) > ACCEPT_LANGUAGE_CHARACTERS_MAX:  # and not half a piece
        accept_language = accept_language[:ACCEPT_LANGUAGE_CHARACTERS_MAX].rpartition(",")[0]
    weighed = sorted(_weighed(accept_language.lower()), key=lambda pair: -pair[0])
    return tuple(dict.fromkeys(language for _, language in weighed))


def _weighed(accept_language: str) -> Iterator[tuple[float, str]]:
    for piece in accept_language.split(",", LANGUAGES_MAX)[:LANGUAGES_MAX]:
        match = _LANGUAGE.fullmatch(piece)
        if match and (weight := float(match[2] or 1)):
            yield weight, match[1]


def accepts(languages: Sequence[str], range_: str) -> bool:
    """Basic filtering (RFC 4647, 3.3.1), both in lower case: "de" takes "de" and "de-ch", not
    "deu"; "*" takes any.
    """
    if range_ in languages:
        return True
    if range_ == "*":
        return bool(languages)
    start = f"{range_}-"
    for tag in languages:  # noqa: SIM110 (`any` with a generator takes twice as long)
        if tag.startswith(start):
            return True
    return False


def is_range(text: str) -> bool:
    """Whether `text`, in lower case, is a basic language range (RFC 4647, 2.1)."""
    return text == "*" or re.fullmatch(r"[a-z]{1,8}(-[a-z0-9]{1,8})*", text) is not None


def referrer_of(referer: str, own_hosts: Collection[str]) -> str:
    """The host of a Referer, in lower case, without port and "www.", so that a site is one; '' if
    it is one of `own_hosts` (lower case, no ports), or no http(s) address. Nothing else of the
    address is returned: paths and queries hold secrets.
    """
    match = _REFERER.fullmatch(referer[:REFERER_CHARACTERS_MAX].lower())
    if match is None:
        return ""
    site = match[1].removeprefix("www.")
    if len(site) > REFERRER_CHARACTERS_MAX or site in own_hosts or match[1] in own_hosts:
        return ""
    return site
