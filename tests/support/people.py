# SPDX-License-Identifier: Apache-2.0
"""A provider of accounts in a dict, with switches for what goes wrong, and people to put in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tidegate.errors import NotFound, ProviderUnavailable
from tidegate.identity.passwords import HashOptions, hash_password
from tidegate.model import Account, Admin, ApiKey, Peer, Protocol
from tidegate.model.group import Group
from tidegate.store.contract import AdminsGuard, Guard

CHEAP = HashOptions(argon2_memory_kib=64, argon2_iterations=1, argon2_parallelism=1, bcrypt_cost=4)
SECRET = "correct horse"
HASHED = hash_password(SECRET, CHEAP)
LEGACY = "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"
"""Of the password ``password``."""
HOUR_MS = 3_600_000
NOW = 1_790_000_000.0


def person(name: str = "alice", **fields: Any) -> Account:
    """An account that may log in with `SECRET`."""
    defaults: dict[str, Any] = {"password": HASHED, "home_dir": f"/srv/{name}", "permissions": {"/": ("*",)}}
    return Account(username=name, **(defaults | fields))


def peer(protocol: Protocol = Protocol.SFTP, ip: str = "192.0.2.7") -> Peer:
    """Somebody at the door."""
    return Peer("c1", protocol, ip, 4711, "127.0.0.1:22", "SSH-2.0-test")


class People:
    """The part of a provider that identity uses. `down` makes every call fail; `writes` is what was stored."""

    def __init__(
        self, *accounts: Account, admins: tuple[Admin, ...] = (), keys: tuple[ApiKey, ...] = ()
    ) -> None:
        self.accounts = {account.username: account for account in accounts}
        self.admin_records = {admin.username: admin for admin in admins}
        self.key_records = {key.id: key for key in keys}
        self.groups: dict[str, Group] = {}
        self.kept: dict[str, Account] = {}
        self.down = False
        self.writes: list[tuple[str, str]] = []

    def _alive(self) -> None:
        if self.down:
            raise ProviderUnavailable

    async def user(self, username: str) -> Account | None:
        self._alive()
        return self.accounts.get(username)

    async def groups_named(self, names: Sequence[str]) -> list[Group]:
        self._alive()
        return [self.groups[name] for name in names if name in self.groups]

    async def external(self, username: str) -> Account | None:
        self._alive()
        return self.kept.get(username)

    async def keep_external(self, username: str) -> Account:
        self._alive()
        return self.kept.setdefault(username, Account(username=username, created_at=1))

    async def set_password(self, username: str, password_hash: str, *, changed_at: int | None = None) -> None:
        self._alive()
        if username not in self.accounts:
            raise NotFound
        self.accounts[username] = replace(self.accounts[username], password=password_hash)
        self.writes.append(("password", username))

    async def touch_login(self, username: str, when_ms: int, *, logins: int = 1) -> None:
        self._alive()
        held = self.accounts if username in self.accounts else self.kept
        count = held[username].login_count + logins
        held[username] = replace(held[username], last_login=when_ms, login_count=count)
        self.writes.append(("touch", username))

    async def admin(self, username: str) -> Admin | None:
        self._alive()
        return self.admin_records.get(username)

    async def touch_admin(self, username: str, when_ms: int) -> None:
        self._alive()
        self.admin_records[username] = replace(self.admin_records[username], last_login=when_ms)
        self.writes.append(("admin", username))

    async def update_admin(
        self, admin: Admin, *, guard: Guard[Admin] | None = None, admins_guard: AdminsGuard | None = None
    ) -> Admin:
        self._alive()
        if guard is not None:
            guard(self.admin_records[admin.username])
        before = list(self.admin_records.values())
        self.admin_records[admin.username] = admin
        if admins_guard is not None:
            admins_guard(before, list(self.admin_records.values()))
        self.writes.append(("admin", admin.username))
        return admin

    async def api_key(self, key_id: str) -> ApiKey | None:
        self._alive()
        return self.key_records.get(key_id)

    async def touch_api_key(self, key_id: str, when_ms: int) -> None:
        self._alive()
        self.key_records[key_id] = replace(self.key_records[key_id], last_use_at=when_ms)
        self.writes.append(("api_key", key_id))
