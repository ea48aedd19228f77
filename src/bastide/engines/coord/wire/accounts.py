"""Users, roles and what they may: rows below a prefix of the store, and this node's view of them.

    \\0auth/state     is it enabled, and the secret that tokens are signed with
    \\0auth/user/NAME password (scrypt), roles
    \\0auth/role/NAME permissions

They are keys like all others, so a change of them is agreed like any other, and no command of the
state machine knows of accounts. Every node keeps what it sees in memory, by a watch: a change is in
force on the node that made it when it is answered, on others when they have heard of it.

A token is its user's name, until when it holds, and a signature over both and the revision at which
the user was last changed: any node can check it, and a new password ends it.
"""

import asyncio
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from bastide.base.rt import runtime
from bastide.engines.coord.contract import (
    Compare,
    Delete,
    Item,
    Op,
    Put,
    Range,
    RevisionCompacted,
    Txn,
    Watch,
)
from bastide.engines.coord.core.protocol.statuses import (
    AUTH_FAILED,
    AUTH_OFF,
    DENIED,
    NO_LEADER,
    TOKEN_INVALID,
    USER_EMPTY,
    CallFailed,
)
from bastide.engines.coord.model import Keys
from bastide.engines.coord.wire.spans import RESERVED, Span

PREFIX = RESERVED + b"auth/"
PREFIX_END = RESERVED + b"auth0"
STATE = PREFIX + b"state"
USER, ROLE = PREFIX + b"user/", PREFIX + b"role/"
ROOT = "root"
TOKEN_S = 3_600
HASHES_MAX = 2  # passwords that are hashed at once: 16 MB and 50 ms each
SALT_BYTES = 16
SECRET_BYTES = 32
READ, WRITE, READ_WRITE = 0, 1, 2


class Permission(msgspec.Struct, frozen=True):
    kind: int  # READ, WRITE or READ_WRITE
    first: bytes
    end: bytes = b""


class User(msgspec.Struct, frozen=True):
    roles: Sequence[str] = ()
    salt: bytes = b""
    hash: bytes = b""  # b"": no password opens it


class Role(msgspec.Struct, frozen=True):
    permissions: Sequence[Permission] = ()


class State(msgspec.Struct, frozen=True):
    enabled: bool = False
    secret: bytes = b""


class Kept(msgspec.Struct, frozen=True):
    """A user, and since which revision it is as it is."""

    user: User
    changed: int


class Accounts:
    """This node's view."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._hashing = asyncio.Semaphore(HASHES_MAX)
        self._forget()
        self.known = False
        self.revision = 0  # up to which

    def _forget(self) -> None:
        self.state = State()
        self.state_changed = 0
        self.users: dict[str, Kept] = {}
        self.roles: dict[str, Role] = {}

    @property
    def enabled(self) -> bool:
        return self.state.enabled

    # What is seen

    async def load(self) -> None:
        """All that was answered before is seen afterwards."""
        found = await self._keys.range(Range(PREFIX, PREFIX_END))
        if found.revision >= self.revision:
            self._forget()
            for item in found.items:
                self._learn(item)
            self.revision = found.revision
            self.known = True

    async def follow(self) -> None:
        """For ever. Raises what the watch does."""
        watch = Watch(PREFIX, PREFIX_END, from_revision=self.revision + 1, progress=True)
        try:
            async with self._keys.watch(watch) as changes:
                async for change in changes:
                    if change.revision > self.revision:  # else `load` was faster
                        for event in change.events:
                            self._learn(event.item)
                        self.revision = change.revision
        except RevisionCompacted:
            await self.load()

    def _learn(self, item: Item) -> None:
        is_there = item.version > 0
        if item.key == STATE:
            self.state = _decoded(item.value, State) if is_there else State()
            self.state_changed = item.changed
        elif item.key.startswith(USER):
            name = item.key.removeprefix(USER).decode()
            self.users.pop(name, None)
            if is_there:
                self.users[name] = Kept(_decoded(item.value, User), item.changed)
        elif item.key.startswith(ROLE):
            name = item.key.removeprefix(ROLE).decode()
            self.roles.pop(name, None)
            if is_there:
                self.roles[name] = _decoded(item.value, Role)

    # What is changed

    async def change(self, decide: Callable[[], Iterable[Op]]) -> int:
        """Makes what `decide` says of this view, if nothing has changed since; else it is asked
        again. The store's revision.
        """
        if not self.known:
            await self.load()
        while True:
            seen = self.state_changed
            ops = list(decide())
            if not any(isinstance(op, Put) and op.key == STATE for op in ops):
                ops.append(Put(STATE, msgspec.msgpack.encode(self.state)))  # so that others see it
            done = await self._keys.txn(Txn([Compare("changed", "equal", seen, STATE)], ops))
            await self.load()
            if done.succeeded:
                return done.revision

    def put_user(self, name: str, user: User) -> Op:
        return Put(USER + name.encode(), msgspec.msgpack.encode(user))

    def put_role(self, name: str, role: Role) -> Op:
        return Put(ROLE + name.encode(), msgspec.msgpack.encode(role))

    def put_state(self, *, enabled: bool) -> Op:
        """Tokens of before are worth nothing afterwards."""
        secret = runtime.current().chance.token(SECRET_BYTES) if enabled else b""
        return Put(STATE, msgspec.msgpack.encode(State(enabled, secret)))

    def delete_user(self, name: str) -> Op:
        return Delete(USER + name.encode())

    def delete_role(self, name: str) -> Op:
        return Delete(ROLE + name.encode())

    # Who may

    def admit(self, token: str) -> str:
        """Whose `token` it is; "" while accounts are off: then everybody may everything.

        Raises:
            USER_EMPTY, TOKEN_INVALID; NO_LEADER: nobody could be asked yet.
        """
        if not self.known:
            raise CallFailed(NO_LEADER)
        if not self.state.enabled:
            return ""
        if not token:
            raise CallFailed(USER_EMPTY)
        return self._user_of(token)

    def admit_read(self, token: str, first: bytes, end: bytes = b"") -> None:
        """
        Raises:
            USER_EMPTY, TOKEN_INVALID, DENIED.
        """
        self._admit_to(READ, token, Span(first, end))

    def admit_write(self, token: str, first: bytes, end: bytes = b"") -> None:
        """Raises as `admit_read`."""
        self._admit_to(WRITE, token, Span(first, end))

    def admit_root(self, token: str) -> None:
        """Raises as `admit_read`."""
        name = self.admit(token)
        if name and ROOT not in self.users[name].user.roles:
            raise CallFailed(DENIED)

    def _admit_to(self, kind: int, token: str, span: Span) -> None:
        name = self.admit(token)
        if not name:
            return
        roles = self.users[name].user.roles
        permissions = [p for r in roles if r in self.roles for p in self.roles[r].permissions]
        if ROOT not in roles and not covers(permissions, kind, span):
            raise CallFailed(DENIED)

    # Passwords and tokens

    async def hashed(self, password: str) -> tuple[bytes, bytes]:
        """A salt, and what comes of it and `password`."""
        salt = runtime.current().chance.token(SALT_BYTES)
        return salt, await self._hash(password, salt)

    async def authenticate(self, name: str, password: str) -> str:
        """A token.

        Raises:
            AUTH_OFF, AUTH_FAILED.
        """
        if not self.enabled:
            raise CallFailed(AUTH_OFF)
        kept = self.users.get(name)
        user = kept.user if kept else User()
        found = await self._hash(password, user.salt or name.encode())  # always: as long as others
        if not user.hash or not hmac.compare_digest(found, user.hash):
            raise CallFailed(AUTH_FAILED)
        assert kept is not None
        return self._token(name, kept.changed, runtime.now_ms() + TOKEN_S * 1_000)

    async def _hash(self, password: str, salt: bytes) -> bytes:
        def scrypt() -> bytes:
            return hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32)

        async with self._hashing:
            return await asyncio.get_running_loop().run_in_executor(None, scrypt)

    def _token(self, name: str, changed: int, until_ms: int) -> str:
        told = f"{urlsafe_b64encode(name.encode()).decode()}.{until_ms}"
        signed = f"{told}.{changed}".encode()
        return f"{told}.{hmac.new(self.state.secret, signed, hashlib.sha256).hexdigest()}"

    def _user_of(self, token: str) -> str:
        try:
            shown, until, _ = token.split(".")
            name, until_ms = urlsafe_b64decode(shown).decode(), int(until)
        except (ValueError, Base64Error):
            raise CallFailed(TOKEN_INVALID) from None
        kept = self.users.get(name)
        if kept is None or until_ms < runtime.now_ms():
            raise CallFailed(TOKEN_INVALID)
        if not hmac.compare_digest(
            token.encode(), self._token(name, kept.changed, until_ms).encode()
        ):
            raise CallFailed(TOKEN_INVALID)
        return name


def covers(permissions: Sequence[Permission], kind: int, span: Span) -> bool:
    """Whether they allow all of `span`, one of them or several side by side."""
    spans = [Span(p.first, p.end) for p in permissions if p.kind in (kind, READ_WRITE)]
    reached = span.first
    for one in sorted(spans, key=lambda found: found.first):
        if one.first > reached:
            return False
        above = one.above
        if above is None or (span.above is not None and above >= span.above):
            return True
        reached = max(reached, above)
    return False


def _decoded(value: bytes, type_: Any) -> Any:
    return msgspec.msgpack.decode(value, type=type_)
