"""The shortener's tables, and every statement on them.

links           one row for each code ever given out; a deleted link keeps its row, emptied, so that
                the unique index refuses its code for good
links_totals    clicks counted so far; made with the link, so that counting is one UPDATE
links_tags      the owner's links by tag; the link's own row has them too
links_visits    how many redirects a link with a limit has left
links_days      clicks of one link on one day (UTC; its number since 1970), and by what they told
links_reports   what visitors said of links to bad places
links_ended     how far the ends of links were told
reserved_codes  codes that nobody gets: who said so, and when
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from bastide.apps.shortener.contract import Link, Rule, Stats
from bastide.apps.shortener.model import Counted, Report, Reserved
from bastide.base.tx import Statement, Value, among, changes
from bastide.engines.sql.contract import Migrations

MIGRATIONS = Migrations(
    steps=[
        """
        CREATE TABLE links (
            id {key}, code TEXT NOT NULL, target TEXT NOT NULL, target_hash TEXT NOT NULL,
            owner TEXT NOT NULL, created_at_ms BIGINT NOT NULL, expires_at_ms BIGINT NOT NULL,
            permanent BOOLEAN NOT NULL, disabled BOOLEAN NOT NULL, custom BOOLEAN NOT NULL,
            deleted BOOLEAN NOT NULL);
        CREATE UNIQUE INDEX links_by_code ON links (code);
        CREATE INDEX links_by_owner ON links (owner, id);
        CREATE INDEX links_by_target ON links (owner, target_hash);
        CREATE TABLE links_totals (
            link_id {key}, clicks BIGINT NOT NULL, bots BIGINT NOT NULL);
        CREATE TABLE reserved_codes (
            code TEXT NOT NULL PRIMARY KEY, reserved_by TEXT NOT NULL,
            reserved_at_ms BIGINT NOT NULL);
        """,
        """
        ALTER TABLE links ADD COLUMN blocked BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE links ADD COLUMN title TEXT NOT NULL DEFAULT '';
        ALTER TABLE links ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
        ALTER TABLE links ADD COLUMN rules TEXT NOT NULL DEFAULT '[]';
        ALTER TABLE links ADD COLUMN visits_max BIGINT NOT NULL DEFAULT 0;
        CREATE INDEX links_by_end ON links (expires_at_ms);
        CREATE TABLE links_tags (
            owner TEXT NOT NULL, tag TEXT NOT NULL, link_id BIGINT NOT NULL,
            PRIMARY KEY (owner, tag, link_id));
        CREATE INDEX links_tags_by_link ON links_tags (link_id);
        CREATE TABLE links_visits (link_id {key}, visits_left BIGINT NOT NULL);
        CREATE TABLE links_days (
            link_id BIGINT NOT NULL, day BIGINT NOT NULL, clicks BIGINT NOT NULL,
            bots BIGINT NOT NULL, shares TEXT NOT NULL, PRIMARY KEY (link_id, day));
        CREATE INDEX links_days_by_day ON links_days (day);
        CREATE TABLE links_reports (
            id {key}, link_id BIGINT NOT NULL, reason TEXT NOT NULL,
            reported_at_ms BIGINT NOT NULL);
        CREATE INDEX links_reports_by_link ON links_reports (link_id);
        CREATE TABLE links_purges (id {key}, code TEXT NOT NULL, changed_at_ms BIGINT NOT NULL);
        """,
        """
        DROP TABLE links_purges;
        CREATE TABLE links_ended (at_ms BIGINT NOT NULL, link_id BIGINT NOT NULL);
        """,
    ]
)

METADATA = MetaData()
links = Table(
    "links",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("code", Text, unique=True, nullable=False),
    Column("target", Text, nullable=False),
    Column("target_hash", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("permanent", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("custom", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("blocked", Boolean, nullable=False),
    Column("title", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("visits_max", BigInteger, nullable=False),
)
totals = Table(
    "links_totals",
    METADATA,
    Column("link_id", BigInteger, primary_key=True),
    Column("clicks", BigInteger, nullable=False),
    Column("bots", BigInteger, nullable=False),
)
tagged = Table(
    "links_tags",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("link_id", BigInteger, primary_key=True),
)
visits = Table(
    "links_visits",
    METADATA,
    Column("link_id", BigInteger, primary_key=True),
    Column("visits_left", BigInteger, nullable=False),
)
days = Table(
    "links_days",
    METADATA,
    Column("link_id", BigInteger, primary_key=True),
    Column("day", BigInteger, primary_key=True),
    Column("clicks", BigInteger, nullable=False),
    Column("bots", BigInteger, nullable=False),
    Column("shares", Text, nullable=False),
)
reports = Table(
    "links_reports",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("link_id", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("reported_at_ms", BigInteger, nullable=False),
)
ended = Table(
    "links_ended",
    METADATA,
    Column("at_ms", BigInteger, nullable=False),
    Column("link_id", BigInteger, nullable=False),
)
reserved = Table(
    "reserved_codes",
    METADATA,
    Column("code", Text, primary_key=True),
    Column("reserved_by", Text, nullable=False),
    Column("reserved_at_ms", BigInteger, nullable=False),
)


class DayRow(msgspec.Struct, frozen=True):
    """`shares` is JSON: clicks by kind and name."""

    link_id: int
    day: int
    clicks: int
    bots: int
    shares: str


class Ended(msgspec.Struct, frozen=True, order=True):
    """The end of a link. In this order they are told."""

    at_ms: int
    link_id: int
    code: str = ""


_TAGS = msgspec.json.Decoder(tuple[str, ...])
_RULES = msgspec.json.Decoder(tuple[Rule, ...])
_NOTHING = "[]"


def _text(value: str) -> str:
    """The row of a statement that gives one text."""
    return value


def _number(value: int) -> int:
    """The row of a statement that gives one number."""
    return value


def _link(*columns: Any) -> Link:
    *plain, title, tags, rules, visits_max = columns
    return Link(
        **dict(zip(_PLAIN, plain, strict=True)),
        title=title,
        tags=() if tags == _NOTHING else _TAGS.decode(tags),
        rules=() if rules == _NOTHING else _RULES.decode(rules),
        visits_max=visits_max,
    )


def row_of(link: Link, target_hash: str) -> dict[str, Value]:
    return {
        **msgspec.structs.asdict(link),
        "tags": msgspec.json.encode(link.tags).decode(),
        "rules": msgspec.json.encode(link.rules).decode(),
        "target_hash": target_hash,
    }


def tag_rows(link: Link) -> Sequence[Mapping[str, Value]]:
    return [{"owner": link.owner, "tag": tag, "link_id": link.id} for tag in link.tags]


def _counted(*columns: Any) -> Counted:
    *link, clicks, bots, visits_left = columns
    return Counted(_link(*link), Stats(clicks, bots), visits_left)


_LINK = tuple(column for column in links.c if column.name != "target_hash")
_PLAIN = tuple(c.name for c in _LINK if c.name not in ("title", "tags", "rules", "visits_max"))
_MINE = links.c.owner == bindparam("owner")
_SAME_ID = links.c.id == bindparam("link_id")
_WITH_COUNTS = (
    select(*_LINK, totals.c.clicks, totals.c.bots, visits.c.visits_left)
    .join(totals, totals.c.link_id == links.c.id)
    .outerjoin(visits, visits.c.link_id == links.c.id)
)
_NEWEST = (
    _WITH_COUNTS.where(_MINE, links.c.id < bindparam("after"))
    .order_by(links.c.id.desc())
    .limit(bindparam("limit", type_=BigInteger))
)

LINK_BY_CODE = Statement(select(*_LINK).where(links.c.code == bindparam("code")), _link)
LINKS_BY_CODES = Statement(select(*_LINK).where(among(links.c.code, "codes")), _link)
LINK_COUNTED = Statement(_WITH_COUNTS.where(_SAME_ID), _counted)
LINKS_OF_OWNER = Statement(_NEWEST, _counted)
LINKS_TAGGED = Statement(
    _NEWEST.join(
        tagged,
        and_(
            tagged.c.link_id == links.c.id,
            tagged.c.owner == links.c.owner,
            tagged.c.tag == bindparam("tag"),
        ),
    ),
    _counted,
)
TAGS_OF_OWNER = Statement(
    select(tagged.c.tag)
    .where(tagged.c.owner == bindparam("owner"))
    .group_by(tagged.c.tag)
    .order_by(func.count().desc(), tagged.c.tag)
    .limit(bindparam("limit", type_=BigInteger)),
    _text,
)
# The owner's live links by the hash of their target, that do nothing but lead there; newest last,
# so that in a dictionary it stays.
LINKS_TO_TARGETS = Statement(
    select(*_LINK, links.c.target_hash)
    .where(
        _MINE,
        among(links.c.target_hash, "target_hashes"),
        links.c.expires_at_ms > bindparam("now_ms"),
        ~links.c.disabled,
        ~links.c.blocked,
        ~links.c.custom,
        links.c.rules == _NOTHING,
        links.c.visits_max == 0,
    )
    .order_by(links.c.id),
    lambda *columns: (columns[-1], _link(*columns[:-1])),
)
CODES_TAKEN = Statement(select(links.c.code).where(among(links.c.code, "codes")), _text)
CODES_RESERVED = Statement(select(reserved.c.code).where(among(reserved.c.code, "codes")), _text)
# A reserved code changes no row; one that is taken breaks the unique index.
LINK_ADD = changes(
    insert(links).from_select(
        [column.name for column in links.c],
        select(*(bindparam(c.name, type_=c.type) for c in links.c)).where(
            ~exists(select(literal_column("1")).where(reserved.c.code == bindparam("code")))
        ),
    )
)
TOTALS_ADD = changes(insert(totals).values(link_id=bindparam("id"), clicks=0, bots=0))
_CHANGED = ("target", "target_hash", "expires_at_ms", "disabled", "title", "tags", "rules")
LINK_CHANGE = changes(
    update(links)
    .where(_SAME_ID)
    .values({name: bindparam(name, type_=links.c[name].type) for name in (*_CHANGED, "visits_max")})
)
LINK_BLOCK = changes(update(links).where(_SAME_ID).values(blocked=bindparam("blocked")))
LINK_DELETE = changes(
    update(links)
    .where(_SAME_ID)
    .values(
        target="",
        target_hash="",
        owner="",
        deleted=True,
        title="",
        tags=_NOTHING,
        rules=_NOTHING,
        visits_max=0,
    )
)
TAG_ADD = changes(insert(tagged))
# All that hangs on a link, but its own row.
PARTS_DELETE = tuple(
    changes(delete(table).where(table.c.link_id == bindparam("link_id")))
    for table in (totals, tagged, visits, days, reports)
)
TAGS_DELETE = changes(delete(tagged).where(tagged.c.link_id == bindparam("link_id")))
VISITS_ADD = changes(insert(visits))
VISITS_DELETE = changes(delete(visits).where(visits.c.link_id == bindparam("link_id")))
VISITS_SPEND = changes(
    update(visits)
    .where(visits.c.link_id == bindparam("link_id"), visits.c.visits_left > 0)
    .values(visits_left=visits.c.visits_left - 1)
)
TOTALS_RAISE = changes(
    update(totals)
    .where(totals.c.link_id == bindparam("link_id"))
    .values(
        clicks=totals.c.clicks + bindparam("more_clicks", type_=BigInteger),
        bots=totals.c.bots + bindparam("more_bots", type_=BigInteger),
    )
)
STATS = Statement(
    select(totals.c.clicks, totals.c.bots).where(totals.c.link_id == bindparam("link_id")), Stats
)
LINKS_THERE = Statement(
    select(totals.c.link_id).where(among(totals.c.link_id, "link_ids")), _number
)
DAYS_OF_LINKS = Statement(
    select(*days.c).where(
        among(days.c.link_id, "link_ids"), days.c.day.between(bindparam("first"), bindparam("last"))
    ),
    DayRow,
)
DAYS_OF_LINK = Statement(
    select(*days.c).where(days.c.link_id == bindparam("link_id"), days.c.day >= bindparam("first")),
    DayRow,
)
DAY_ADD = changes(insert(days))
DAY_CHANGE = changes(
    update(days)
    .where(days.c.link_id == bindparam("link_id"), days.c.day == bindparam("day"))
    .values(
        clicks=bindparam("clicks", type_=BigInteger),
        bots=bindparam("bots", type_=BigInteger),
        shares=bindparam("shares", type_=Text),
    )
)
DAYS_OLD = Statement(
    select(days.c.link_id, days.c.day, days.c.clicks, days.c.bots, literal_column("''"))
    .where(days.c.day < bindparam("below"))
    .limit(bindparam("limit", type_=BigInteger)),
    DayRow,
)
DAY_DELETE = changes(
    delete(days).where(days.c.link_id == bindparam("link_id"), days.c.day == bindparam("day"))
)
ENDED_UNTIL = Statement(select(ended.c.at_ms, ended.c.link_id), Ended)
ENDED_BEGIN = changes(insert(ended).values(at_ms=bindparam("at_ms"), link_id=0))
ENDED_MOVE = changes(
    update(ended).values(
        at_ms=bindparam("to_ms", type_=BigInteger),
        link_id=bindparam("to_link_id", type_=BigInteger),
    )
)
ENDS_NEXT = Statement(
    select(links.c.expires_at_ms)
    .where(links.c.expires_at_ms > bindparam("now_ms", type_=BigInteger), ~links.c.deleted)
    .order_by(links.c.expires_at_ms)
    .limit(1),
    _number,
)
ENDED_AFTER = Statement(
    select(links.c.expires_at_ms, links.c.id, links.c.code)
    .where(
        links.c.expires_at_ms >= bindparam("at_ms", type_=BigInteger),
        or_(
            links.c.expires_at_ms > bindparam("at_ms", type_=BigInteger),
            links.c.id > bindparam("link_id", type_=BigInteger),
        ),
        links.c.expires_at_ms <= bindparam("now_ms", type_=BigInteger),
        ~links.c.deleted,
    )
    .order_by(links.c.expires_at_ms, links.c.id)
    .limit(bindparam("limit", type_=BigInteger)),
    Ended,
)
REPORT_ADD = changes(insert(reports))
REPORTS_OF = Statement(
    select(func.count()).where(reports.c.link_id == bindparam("link_id")), _number
)
REPORTS_AFTER = Statement(
    select(reports.c.id, links.c.code, links.c.target, reports.c.reason, reports.c.reported_at_ms)
    .join(links, links.c.id == reports.c.link_id)
    .where(reports.c.id > bindparam("after"))
    .order_by(reports.c.id)
    .limit(bindparam("limit", type_=BigInteger)),
    Report,
)
REPORTS_DELETE = changes(delete(reports).where(reports.c.link_id == bindparam("link_id")))
RESERVED_ADD = changes(insert(reserved))
RESERVED_DROP = changes(delete(reserved).where(reserved.c.code == bindparam("code")))
RESERVED_AFTER = Statement(
    select(reserved.c.code, reserved.c.reserved_by, reserved.c.reserved_at_ms)
    .where(reserved.c.code > bindparam("after"))
    .order_by(reserved.c.code)
    .limit(bindparam("limit", type_=BigInteger)),
    Reserved,
)
