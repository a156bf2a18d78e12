# SPDX-License-Identifier: Apache-2.0
"""Verbs on accounts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.effective import effective
from tidegate.accounts.folders import require_moves
from tidegate.accounts.homes import proposed_home
from tidegate.accounts.names import fold_name
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.passwords import NewPassword
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.accounts.second_factors import Factors, keep_factors
from tidegate.errors import BadRecord
from tidegate.identity.passwords import is_hashed
from tidegate.model import Account, Tally
from tidegate.policy.login import disconnect_reason
from tidegate.policy.strength import weakness
from tidegate.store.contract import Provider
from tidegate.store.documents import decode_account

ADD: Final = "add_users"
CHANGE: Final = "edit_users"
REMOVE: Final = "del_users"


class Users(Verbs[Account]):
    """Adds, changes and removes accounts.

    Attributes:
        factors: second factors.
    """

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        super().__init__(
            Stored(
                "user",
                "user",
                provider.user,
                provider.add_user,
                lambda account, guard: provider.update_user(account, guard=guard),
                lambda name, guard: provider.delete_user(name, guard=guard),
                lambda account: account.username,
            ),
            provider,
            options,
            needs,
        )
        self.factors: Final = Factors(self._records)

    async def add(self, document: Document, *, by: Actor, password: str = "") -> Account:
        """Add an account; counters, times and the id of the document do not count.

        Args:
            document: of the account; its password may be plain or a hash.
            by: who adds it.
            password: one that a person typed, instead of the document's.

        Raises:
            BadRecord: the document has a mistake, the password is too weak, or nobody may give the directory.
            Denied: they may not add accounts, or may not give the directory.
            AlreadyExists: the name is taken.
            LoginRefused: too many passwords wait to be hashed (reason ``busy``).
        """
        account = await self.judged(_with_password(document, password), by=by)
        if account.password:
            hashed = await self.hashed(account, account.password, by=by, typed=bool(password))
            account = self.with_hash(account, hashed)
        return await self._records.add(account, by=by)

    async def judged(self, document: Document, *, by: Actor) -> Account:
        """The account that `add` would store, its password as the document has it; nothing is changed.

        Raises:
            BadRecord, Denied: as `add`, but for the password.
        """
        by.require(ADD)
        if self._options.homes is not None:
            document = self._options.homes.place(document, self._options.rules)
        account = keep_factors(_fresh(decode_account(document, rules=self._options.rules)), None)
        if by.role:
            account = replace(account, role=by.role)
        await self._check_place(account, None, by)
        return account

    def usual_home(self, name: str) -> str:
        """The directory that is proposed for a new account; empty for a name that no directory can have."""
        return proposed_home(fold_name(name, self._options.rules), self._options.rules)

    async def hashed(self, account: Account, password: str, *, by: Actor, typed: bool = False) -> str:
        """The stored form of a new password of an account.

        Raises:
            BadRecord: it is too weak, or impossible.
            LoginRefused: too many passwords wait to be hashed (reason ``busy``).
        """
        new = NewPassword(self._needs.hashes, by, typed=typed)
        return await new.stored_form(password, await self._bits(account))

    async def check_password(self, account: Account, password: str) -> None:
        """Return if a new password is good enough for an account; hashes and none at all are.

        Raises:
            BadRecord: it is too weak.
        """
        if not password or is_hashed(password):
            return
        if (weak := weakness(password, await self._bits(account))) is not None:
            raise BadRecord("password", weak)

    def with_hash(self, account: Account, hashed: str) -> Account:
        """An account with a new password."""
        return replace(account, password=hashed, last_password_change=_now_ms())

    async def change(
        self,
        name: str,
        edit: Edit,
        *,
        by: Actor,
        version: str = "",
        password: str = "",
        disconnect: bool = False,
    ) -> Account:
        """Replace an account.

        An absent or empty password or home, absent permissions and hidden secrets stay. Connections of the
        user are closed with `disconnect`, and whenever the account is disabled or expired.

        Args:
            name: of the account.
            edit: its new document, or a function that makes it of the stored account.
            by: who changes it.
            version: change it only if it is of this version; empty for any.
            password: one that a person typed, instead of the document's.
            disconnect: close the user's connections.

        Raises:
            BadRecord, Denied, LoginRefused: as `add`, or they may not set credentials of this account.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(CHANGE)
        new = NewPassword(self._needs.hashes, by, typed=bool(password))

        async def make(stored: Account) -> Account:
            by.require_reach(stored)
            document = _with_password(edit(stored) if callable(edit) else edit, password)
            self._records.require_same_name(document, "username", stored.username)
            account = keep_factors(decode_account(document, base=stored, rules=self._options.rules), stored)
            if by.role:
                account = replace(account, role=by.role)
            renewed = bool(password) or account.password != stored.password
            await self._check_place(account, stored, by)
            await self._check_takeover(account, stored, by, password=renewed)
            changed_at = stored.last_password_change
            if renewed:
                hashed = await new.stored_form(account.password, await self._bits(account))
                account, changed_at = replace(account, password=hashed), _now_ms()
            return replace(
                account, id=stored.id, created_at=stored.created_at, last_password_change=changed_at
            )

        async def follow(_: Account, account: Account) -> None:
            if disconnect or disconnect_reason(account, _now_ms()):
                self._needs.connections.close_user(account.username, by=by.name)

        return await self._records.change(name, make, by=by, version=version, follow=follow)

    async def set_password(self, name: str, password: str, *, by: Actor, version: str = "") -> Account:
        """Replace the password alone by one that a person typed.

        Raises:
            BadRecord, Denied, LoginRefused, NotFound, Outdated: as `change`.
        """
        by.require(CHANGE)
        new = NewPassword(self._needs.hashes, by, typed=True)

        async def make(stored: Account) -> Account:
            by.require_reach(stored)
            await self._check_takeover(stored, stored, by, password=True)
            hashed = await new.stored_form(password, await self._bits(stored))
            return replace(stored, password=hashed, last_password_change=_now_ms())

        return await self._records.change(name, make, by=by, version=version)

    async def set_keys(
        self, name: str, edit: Callable[[Account], Sequence[str]], *, by: Actor, version: str = ""
    ) -> Account:
        """Replace the public keys alone, by OpenSSH lines that `edit` makes of the stored account.

        Raises:
            Denied, NotFound, Outdated: as `change`.
        """
        by.require(CHANGE)

        async def make(stored: Account) -> Account:
            by.require_reach(stored)
            account = replace(stored, public_keys=tuple(edit(stored)))
            await self._check_takeover(account, stored, by, password=False)
            return account

        return await self._records.change(name, make, by=by, version=version)

    async def counters_set(self, name: str, *fields: str, by: Actor) -> None:
        """Tell that somebody set counters, by their names; vfs, which keeps them, has done it."""
        await self._records.counters_set(name, fields, by=by)

    async def remove(self, name: str, *, by: Actor, version: str = "") -> Account:
        """Remove an account and close its connections; its files stay.

        Raises:
            Denied: they may not remove accounts.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(REMOVE)

        async def follow(account: Account) -> None:
            self._needs.connections.close_user(account.username, by=by.name)

        async def check(account: Account) -> None:
            by.require_reach(account)

        return await self._records.remove(name, by=by, version=version, check=check, follow=follow)

    async def get_for(self, name: str, by: Actor) -> Account:
        """One account that somebody may see.

        Raises:
            NotFound: there is none of this name, or it is of another role than they are.
        """
        account = await self.get(name)
        by.require_reach(account)
        return account

    async def _check_place(self, account: Account, stored: Account | None, by: Actor) -> None:
        """Return if they may give an account its home and folders, those that its groups give included."""
        giver, resolver = self._options.giver(by), effective(self._provider, self._options.rules)
        await giver.check_account(self._provider, account, stored)
        await require_moves(self._provider, account, stored, by)
        if account.groups:
            before = None if stored is None else await self._acting(stored)
            await giver.check_account(self._provider, await resolver.of(account), before)

    async def _check_takeover(self, account: Account, stored: Account, by: Actor, *, password: bool) -> None:
        giver, acting = self._options.giver(by), await self._acting(stored)
        await giver.check_takeover(self._provider, account, stored, password=password)
        if acting is not None and acting is not stored:
            await giver.check_takeover(self._provider, account, acting, password=password)

    async def _acting(self, stored: Account) -> Account | None:
        """A stored account with what its groups give; None if that cannot be told."""
        try:
            return await effective(self._provider, self._options.rules).of(stored)
        except BadRecord:
            return None

    async def _bits(self, account: Account) -> float:
        """The entropy that a new password needs; a group may ask for more."""
        acting = await self._acting(account) or account
        return max(
            self._options.user_bits, account.filters.password_strength, acting.filters.password_strength
        )


def _with_password(document: Document, password: str) -> Document:
    return {**document, "password": password} if password else document


def _fresh(account: Account) -> Account:
    """Without what only the server may know about a user."""
    return replace(
        account,
        id=0,
        used_quota_size=0,
        used_quota_files=0,
        last_quota_update=0,
        used_upload_data_transfer=0,
        used_download_data_transfer=0,
        last_login=0,
        login_count=0,
        first_download=0,
        first_upload=0,
        last_password_change=0,
        created_at=0,
        updated_at=0,
        tally=Tally(),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
