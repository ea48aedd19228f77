"""Accounts: Auth's methods. Rules are etcd's; whoever changes anything has the role root."""

from collections.abc import Iterable
from typing import Any

import msgspec

from bastide.engines.coord.contract import Op
from bastide.engines.coord.core.protocol.messages import messages
from bastide.engines.coord.core.protocol.statuses import (
    AUTH_MANAGEMENT,
    PERMISSION_NOT_GRANTED,
    ROLE_EMPTY,
    ROLE_MISSING,
    ROLE_NOT_GRANTED,
    ROLE_THERE,
    ROOT_MISSING,
    ROOT_ROLE_MISSING,
    USER_EMPTY,
    USER_MISSING,
    USER_THERE,
    CallFailed,
    Code,
    Status,
    etcd,
)
from bastide.engines.coord.wire.accounts import ROOT, Accounts, Permission, Role, User
from bastide.engines.coord.wire.desk import Asker, Desk

NAME_BYTES_MAX = 256
NAME_LONG = etcd(Code.INVALID_ARGUMENT, f"a name of over {NAME_BYTES_MAX} bytes")


# --- on and off -----------------------------------------------------------------------------------


async def enable(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts = desk.accounts

    def decide() -> Iterable[Op]:
        if accounts.enabled:
            return
        kept = accounts.users.get(ROOT)
        if kept is None:
            raise CallFailed(ROOT_MISSING)
        if ROOT not in kept.user.roles:
            raise CallFailed(ROOT_ROLE_MISSING)
        yield accounts.put_state(enabled=True)

    revision = await accounts.change(decide)
    return messages().AuthEnableResponse(header=await desk.header(revision))


async def disable(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts = desk.accounts

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        yield accounts.put_state(enabled=False)

    revision = await accounts.change(decide)
    return messages().AuthDisableResponse(header=await desk.header(revision))


async def status(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    return messages().AuthStatusResponse(
        header=await desk.header(),
        enabled=desk.accounts.enabled,
        authRevision=desk.accounts.state_changed,
    )


async def authenticate(desk: Desk, asker: Asker, message: Any) -> Any:
    token = await desk.accounts.authenticate(message.name, message.password)
    return messages().AuthenticateResponse(header=await desk.header(), token=token)


# --- users ----------------------------------------------------------------------------------------


async def add_user(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts, name = desk.accounts, message.name
    accounts.admit_root(asker.token)
    _check_name(name, USER_EMPTY)
    salt = hash_ = b""
    if not message.options.no_password:
        salt, hash_ = await accounts.hashed(message.password)

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        if name in accounts.users:
            raise CallFailed(USER_THERE)
        yield accounts.put_user(name, User(salt=salt, hash=hash_))

    revision = await accounts.change(decide)
    return messages().AuthUserAddResponse(header=await desk.header(revision))


async def get_user(desk: Desk, asker: Asker, message: Any) -> Any:
    """A user may see itself."""
    if desk.accounts.admit(asker.token) != message.name:
        desk.accounts.admit_root(asker.token)
    user = _user(desk.accounts, message.name)
    return messages().AuthUserGetResponse(header=await desk.header(), roles=user.roles)


async def list_users(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    users = sorted(desk.accounts.users)
    return messages().AuthUserListResponse(header=await desk.header(), users=users)


async def delete_user(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts, name = desk.accounts, message.name

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        if accounts.enabled and name == ROOT:
            raise CallFailed(AUTH_MANAGEMENT)
        _user(accounts, name)
        yield accounts.delete_user(name)

    revision = await accounts.change(decide)
    return messages().AuthUserDeleteResponse(header=await desk.header(revision))


async def change_password(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts, name = desk.accounts, message.name
    accounts.admit_root(asker.token)
    salt, hash_ = await accounts.hashed(message.password)

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        user = _user(accounts, name)
        yield accounts.put_user(name, msgspec.structs.replace(user, salt=salt, hash=hash_))

    revision = await accounts.change(decide)
    return messages().AuthUserChangePasswordResponse(header=await desk.header(revision))


async def grant_role(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts, name, role = desk.accounts, message.user, message.role

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        user = _user(accounts, name)
        if role not in accounts.roles and role != ROOT:
            raise CallFailed(ROLE_MISSING)
        roles = sorted({*user.roles, role})
        yield accounts.put_user(name, msgspec.structs.replace(user, roles=roles))

    revision = await accounts.change(decide)
    return messages().AuthUserGrantRoleResponse(header=await desk.header(revision))


async def revoke_role(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts, name, role = desk.accounts, message.name, message.role

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        if accounts.enabled and name == role == ROOT:
            raise CallFailed(AUTH_MANAGEMENT)
        user = _user(accounts, name)
        if role not in user.roles:
            raise CallFailed(ROLE_NOT_GRANTED)
        roles = [one for one in user.roles if one != role]
        yield accounts.put_user(name, msgspec.structs.replace(user, roles=roles))

    revision = await accounts.change(decide)
    return messages().AuthUserRevokeRoleResponse(header=await desk.header(revision))


# --- roles ----------------------------------------------------------------------------------------


async def add_role(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts, name = desk.accounts, message.name
    _check_name(name, ROLE_EMPTY)

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        if name in accounts.roles:
            raise CallFailed(ROLE_THERE)
        yield accounts.put_role(name, Role())

    revision = await accounts.change(decide)
    return messages().AuthRoleAddResponse(header=await desk.header(revision))


async def get_role(desk: Desk, asker: Asker, message: Any) -> Any:
    """A user may see the roles it has."""
    accounts = desk.accounts
    caller = accounts.admit(asker.token)
    if caller and message.role not in accounts.users[caller].user.roles:
        accounts.admit_root(asker.token)
    names = messages()
    perm = [
        names.Permission(permType=one.kind, key=one.first, range_end=one.end)
        for one in _role(accounts, message.role).permissions
    ]
    return names.AuthRoleGetResponse(header=await desk.header(), perm=perm)


async def list_roles(desk: Desk, asker: Asker, message: Any) -> Any:
    desk.accounts.admit_root(asker.token)
    roles = sorted(desk.accounts.roles)
    return messages().AuthRoleListResponse(header=await desk.header(), roles=roles)


async def delete_role(desk: Desk, asker: Asker, message: Any) -> Any:
    """Those who have it lose it."""
    accounts, name = desk.accounts, message.role

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        if accounts.enabled and name == ROOT:
            raise CallFailed(AUTH_MANAGEMENT)
        _role(accounts, name)
        yield accounts.delete_role(name)
        for who, kept in accounts.users.items():
            if name in kept.user.roles:
                roles = [one for one in kept.user.roles if one != name]
                yield accounts.put_user(who, msgspec.structs.replace(kept.user, roles=roles))

    revision = await accounts.change(decide)
    return messages().AuthRoleDeleteResponse(header=await desk.header(revision))


async def grant_permission(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts, name = desk.accounts, message.name
    perm = Permission(message.perm.permType, message.perm.key, message.perm.range_end)

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        rest = _without(_role(accounts, name), perm.first, perm.end)
        permissions = sorted([*rest, perm], key=lambda one: (one.first, one.end))
        yield accounts.put_role(name, Role(permissions))

    revision = await accounts.change(decide)
    return messages().AuthRoleGrantPermissionResponse(header=await desk.header(revision))


async def revoke_permission(desk: Desk, asker: Asker, message: Any) -> Any:
    accounts, name = desk.accounts, message.role

    def decide() -> Iterable[Op]:
        accounts.admit_root(asker.token)
        role = _role(accounts, name)
        rest = _without(role, message.key, message.range_end)
        if len(rest) == len(role.permissions):
            raise CallFailed(PERMISSION_NOT_GRANTED)
        yield accounts.put_role(name, Role(rest))

    revision = await accounts.change(decide)
    return messages().AuthRoleRevokePermissionResponse(header=await desk.header(revision))


def _check_name(name: str, empty: Status) -> None:
    if not name:
        raise CallFailed(empty)
    if len(name.encode()) > NAME_BYTES_MAX:
        raise CallFailed(NAME_LONG)


def _user(accounts: Accounts, name: str) -> User:
    kept = accounts.users.get(name)
    if kept is None:
        raise CallFailed(USER_MISSING)
    return kept.user


def _role(accounts: Accounts, name: str) -> Role:
    found = accounts.roles.get(name)
    if found is None:
        raise CallFailed(ROLE_MISSING)
    return found


def _without(role: Role, first: bytes, end: bytes) -> list[Permission]:
    return [one for one in role.permissions if (one.first, one.end) != (first, end)]
