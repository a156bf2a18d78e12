# SPDX-License-Identifier: Apache-2.0
"""Many users at once from a table: looked at first, then added in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.loads import Loads
from tidegate.accounts.passwords import generate_password
from tidegate.accounts.user_table import Mistake, TableRow, UserTable, column_of, fields_of
from tidegate.accounts.users import ADD, Users
from tidegate.accounts.versions import given_fields
from tidegate.errors import BadRecord, Denied, LoginRefused, NotFound
from tidegate.identity.passwords import HashOptions, hash_password, is_hashed
from tidegate.model import Account
from tidegate.store.contract import ADD_ONLY, Provider
from tidegate.store.documents import encode_account

MAX_TOLD_OF_A_ROW: Final = 8
"""Mistakes of one row that are looked for."""
AT_ONCE: Final = 20
"""Plain passwords of a table while whose hashing somebody may wait: each takes some 50 to 200 ms of a
processor at the usual costs."""
HASHED_AT_ONCE: Final = 8
BUSY_TRIES: Final = 600
BUSY_SECONDS: Final = 0.1
"""Pause before a hash is asked for again that could not be taken."""

_QUICK: Final = HashOptions(argon2_memory_kib=64, argon2_iterations=1, argon2_parallelism=1)
"""Costs for passwords of a hundred random bits, which nobody can guess however fast; the first login replaces
the hash by one of the usual costs."""
_NOT_COPIED: Final = (
    "id", "username", "password", "has_password", "public_keys", "home_dir", "email", "description",
    "status", "expiration_date",
)  # fmt: skip
"""Fields of a template that are its own."""


@dataclass(frozen=True, slots=True)
class PlannedUser:
    """One user who would be added.

    Attributes:
        row: of the table.
        account: as it would be stored, but for its password, which is plain if `plain` says so.
        plain: the password has to be hashed.
        generated: the password is a new one, to be told once.
    """

    row: int
    account: Account
    plain: bool = False
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome that a table would have; only one without mistakes can be carried out.

    Attributes:
        users: who would be added.
        mistakes: by row and column.
    """

    users: tuple[PlannedUser, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def hashes(self) -> int:
        """Passwords that have to be hashed at the usual costs."""
        return sum(one.plain and not one.generated for one in self.users)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One user of a plan that was carried out.

    Attributes:
        username: the name.
        added: False if the name was taken meanwhile; that account was left as it is.
        password: the generated one; empty if it was given, if there is none, or nothing was added.
    """

    username: str
    added: bool
    password: str = ""


class Bulk:
    """Adds the users of a table.

    Args:
        provider: has the records.
        users: judges each account, as for one.
        loads: stores them at once, and tells it.
    """

    def __init__(self, provider: Provider, users: Users, loads: Loads) -> None:
        self._provider: Final = provider
        self._users: Final = users
        self._loads: Final = loads

    async def plan(self, table: UserTable, *, by: Actor, generate: bool = False) -> Plan:
        """Look at a table; nothing is changed.

        Args:
            table: that was read.
            by: who would add the users.
            generate: each user without a password gets a new one.

        Raises:
            Denied: they may not add accounts.
        """
        by.require(ADD)
        mistakes = list(table.mistakes)
        templates: dict[str, Account | str] = {}
        roles: dict[str, bool] = {}
        planned: list[PlannedUser] = []
        for row in table.rows:
            planned += await self._planned(row, by, templates, roles, mistakes, generate=generate)
            await asyncio.sleep(0)  # others have their turn
        rows: dict[str, int] = {}
        for one in planned:
            first = rows.setdefault(one.account.username, one.row)
            if first != one.row:
                mistakes.append(Mistake(one.row, "username", f"is the name of row {first} too"))
        taken = await self._provider.existing("user", list(rows))
        mistakes += [Mistake(rows[name], "username", f"{name!r} exists already") for name in taken]
        return Plan(tuple(planned), tuple(sorted(mistakes)))

    async def create(
        self,
        plan: Plan,
        *,
        by: Actor,
        hashed: Callable[[], object] = lambda: None,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> list[Outcome]:
        """Add all users of a plan in one transaction; a name that was taken meanwhile is left as it is.

        Args:
            plan: without mistakes.
            by: who adds them.
            hashed: called for each of `Plan.hashes` that is done.
            check: called before anything is stored; what it raises leaves everything as it is.

        Raises:
            BadRecord: the plan has mistakes, or a password cannot be hashed; nothing was changed.
            Denied: they may not add accounts.
            LoginRefused: too many passwords wait to be hashed (reason ``busy``); nothing was changed.
            ProviderError: it cannot be stored; nothing was changed.
        """
        by.require(ADD)
        if plan.mistakes:
            raise BadRecord("", str(plan.mistakes[0]))
        given = {one.account.username: one for one in plan.users}
        accounts = await self._hashed(plan.users, by, hashed)
        if check is not None:
            await check()

        async def batches() -> AsyncIterator[Sequence[Account]]:
            yield accounts

        fields = {one.username: given_fields(one) for one in accounts}
        report = await self._loads.store(batches(), by=by, mode=ADD_ONLY, requires=ADD, fields=fields)
        made: list[Outcome] = []
        for kind, name, action in report.rows:
            if kind == "user":
                one, added = given[name], action == "added"
                made.append(Outcome(name, added, one.account.password if one.generated and added else ""))
        return made

    # -- one row ---------------------------------------------------------------------------------------

    async def _planned(
        self,
        row: TableRow,
        by: Actor,
        templates: dict[str, Account | str],
        roles: dict[str, bool],
        mistakes: list[Mistake],
        *,
        generate: bool,
    ) -> list[PlannedUser]:
        base: dict[str, Any] = {}
        if row.template:
            found = await self._template(row.template, by, templates)
            if isinstance(found, str):
                mistakes.append(Mistake(row.number, "template", found))
                return []
            base = found_settings(found)
        elif "permissions" not in row.document:
            base = {"permissions": {"/": ["*"]}}
        document = {**base, **row.document, "filters": {**base.get("filters", {}), **row.filters}}
        generated = generate and not document.get("password")
        if generated:
            document["password"] = generate_password()
        if by.role and document.get("role", by.role) != by.role:
            mistakes.append(Mistake(row.number, "role", "you may add users of your own role only"))
            return []
        account = await self._judged(row, document, by, mistakes)
        if account is None:
            return []
        if account.role and not await self._has_role(account.role, roles):
            mistakes.append(Mistake(row.number, "role", f"there is no role {account.role!r}"))
            return []
        plain = bool(account.password) and (generated or not is_hashed(account.password))
        return [PlannedUser(row.number, account, plain, generated)]

    async def _judged(
        self, row: TableRow, document: dict[str, Any], by: Actor, mistakes: list[Mistake]
    ) -> Account | None:
        """The account of a row; None if it has mistakes, of which several are looked for."""
        clean = True
        for _ in range(MAX_TOLD_OF_A_ROW + 1):
            try:
                account = await self._users.judged(document, by=by)
                await self._users.check_password(account, account.password)
            except BadRecord as error:
                if self._gives_home(document, error):
                    continue
                column = column_of(error.field)
                mistakes.append(Mistake(row.number, column, error.what))
                clean = False
                if not _without(document, column):
                    break
            except Denied as error:
                if not clean:  # about what is not in the table any more
                    return None
                column, colon, what = error.text.partition(": ")
                known = colon and fields_of(column_of(column))
                mistakes.append(
                    Mistake(row.number, column_of(column) if known else "", what if known else error.text)
                )
                return None
            else:
                return account if clean else None
        return None

    def _gives_home(self, document: dict[str, Any], error: BadRecord) -> bool:
        """Give an account that has no home of its own or of its group the usual one; False if it has one."""
        if error.field != "home_dir" or document.get("home_dir"):
            return False
        document["home_dir"] = self._users.usual_home(str(document.get("username", "")))
        return bool(document["home_dir"])

    async def _template(self, name: str, by: Actor, known: dict[str, Account | str]) -> Account | str:
        """The account of a template, or the reason why it can be none."""
        if name not in known:
            try:
                account = await self._users.get_for(name, by)
                known[name] = account
                if not account.filesystem.is_local:
                    known[name] = (
                        f"{name!r} has its files in a bucket or on another server, which two accounts would "
                        "share; a group gives each a place of its own"
                    )
            except NotFound:
                known[name] = f"there is no account {name[:60]!r}"
        return known[name]

    async def _has_role(self, name: str, known: dict[str, bool]) -> bool:
        if name not in known:
            known[name] = await self._provider.role(name) is not None
        return known[name]

    # -- passwords -------------------------------------------------------------------------------------

    async def _hashed(
        self, users: Sequence[PlannedUser], by: Actor, done: Callable[[], object]
    ) -> list[Account]:
        room = asyncio.Semaphore(HASHED_AT_ONCE)

        async def one(planned: PlannedUser) -> Account:
            account = planned.account
            if planned.generated:
                hashed = await asyncio.to_thread(hash_password, account.password, _QUICK)
                return self._users.with_hash(account, hashed)
            if not planned.plain:
                return self._users.with_hash(account, account.password) if account.password else account
            async with room:
                hashed = await self._patiently(account, by)
            done()
            return self._users.with_hash(account, hashed)

        tasks = [asyncio.ensure_future(one(planned)) for planned in users]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _patiently(self, account: Account, by: Actor) -> str:
        """The hash of a password; logins go first where there is little room."""
        for left in reversed(range(BUSY_TRIES)):
            try:
                return await self._users.hashed(account, account.password, by=by)
            except LoginRefused as error:
                if error.reason != "busy" or not left:
                    raise
                await asyncio.sleep(BUSY_SECONDS)
        raise AssertionError  # the last try returns or raises


def found_settings(account: Account) -> dict[str, Any]:
    """The settings of a template as the beginning of a document."""
    document = encode_account(account, confidential=False)
    return {name: value for name, value in document.items() if name not in _NOT_COPIED}


def _without(document: dict[str, Any], column: str) -> bool:
    """Take what a column gave out of a document; False if that cannot make it better."""
    path = fields_of(column)
    holder, name = (document["filters"], path[8:]) if path.startswith("filters.") else (document, path)
    if column == "username" or name not in holder:
        return False
    del holder[name]
    if name == "permissions":
        document["permissions"] = {"/": ["*"]}
    return True
