# SPDX-License-Identifier: Apache-2.0
"""Verbs on administrators, and what each may do about themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.administrators import ENABLED, EVERYTHING, check_owner_remains
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.passwords import NewPassword
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.accounts.second_factors import Factors, keep_factors
from tidegate.errors import BadRecord, Denied, InvalidArgument
from tidegate.model import Admin
from tidegate.store.contract import Provider
from tidegate.store.documents import decode_admin
from tidegate.store.validate import check_admin

if TYPE_CHECKING:
    from tidegate.accounts.passkeys import PasskeyVerbs


class Admins(Verbs[Admin]):
    """Adds, changes and removes administrators; only who has all permissions may.

    Attributes:
        factors: second factors.
    """

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        super().__init__(
            Stored(
                "admin",
                "administrator",
                provider.admin,
                provider.add_admin,
                lambda admin, guard: provider.update_admin(
                    admin, guard=guard, admins_guard=check_owner_remains
                ),
                lambda name, guard: provider.delete_admin(
                    name, guard=guard, admins_guard=check_owner_remains
                ),
                lambda admin: admin.username,
            ),
            provider,
            options,
            needs,
        )
        self.factors: Final = Factors(self._records)

    @property
    def passkeys(self) -> PasskeyVerbs:
        """Verbs on passkeys; loaded by the first who asks."""
        from tidegate.accounts.passkeys import PasskeyVerbs

        return PasskeyVerbs(self.factors)

    async def add(self, document: Document, *, by: Actor, password: str = "") -> Admin:
        """Add an administrator; times and the id of the document do not count.

        Args:
            document: of the administrator; its password may be plain or a hash.
            by: who adds them.
            password: one that a person typed, instead of the document's.

        Raises:
            BadRecord: the document has a mistake, or the password is missing or too weak.
            Denied: they may not manage administrators.
            AlreadyExists: the name is taken.
            LoginRefused: too many passwords wait to be hashed (reason ``busy``).
        """
        by.require(EVERYTHING)
        if password:
            document = {**document, "password": password}
        admin = keep_factors(decode_admin(document, rules=self._options.rules), None)
        if not admin.password:
            raise BadRecord("password", "is missing")
        new = NewPassword(self._needs.hashes, by, typed=bool(password))
        hashed = await new.stored_form(admin.password, self._options.admin_bits)
        return await self._records.add(
            replace(admin, id=0, password=hashed, created_at=0, updated_at=0, last_login=0), by=by
        )

    async def change(
        self, name: str, edit: Edit, *, by: Actor, version: str = "", password: str = ""
    ) -> Admin:
        """Replace an administrator; an absent or empty password stays. All of their tokens become void.

        Nobody can take permissions from, disable or lock out themselves, and one enabled administrator with
        all permissions must remain.

        Raises:
            BadRecord, Denied, LoginRefused: as `add`.
            InvalidArgument: they would lock themselves, or everybody, out.
            NotFound: there is none of this name.
            Outdated: they are of another version by now.
        """
        by.require(EVERYTHING)
        new = NewPassword(self._needs.hashes, by, typed=bool(password))

        async def make(stored: Admin) -> Admin:
            document = edit(stored) if callable(edit) else edit
            if password:
                document = {**document, "password": password}
            self._records.require_same_name(document, "username", stored.username)
            admin = keep_factors(decode_admin(document, base=stored, rules=self._options.rules), stored)
            if by.admin == stored.username:
                _check_own(by, stored, admin)
            if password or admin.password != stored.password:
                hashed = await new.stored_form(admin.password, self._options.admin_bits)
                admin = replace(admin, password=hashed)
            return replace(admin, id=stored.id, created_at=stored.created_at, last_login=stored.last_login)

        return await self._replace(name, make, by=by, version=version)

    async def set_password(self, name: str, password: str, *, by: Actor, version: str = "") -> Admin:
        """Replace the password alone by one that a person typed. All tokens become void.

        Raises:
            BadRecord, Denied, LoginRefused, NotFound, Outdated: as `change`.
        """
        by.require(EVERYTHING)
        new = NewPassword(self._needs.hashes, by, typed=True)

        async def make(stored: Admin) -> Admin:
            return replace(stored, password=await new.stored_form(password, self._options.admin_bits))

        return await self._replace(name, make, by=by, version=version)

    async def remove(self, name: str, *, by: Actor, version: str = "") -> Admin:
        """Remove an administrator with the API keys bound to them; nobody can remove themselves.

        Raises:
            Denied: they may not manage administrators.
            InvalidArgument: it is themselves, or the last who may do everything.
            NotFound: there is none of this name.
            Outdated: they are of another version by now.
        """
        by.require(EVERYTHING)

        async def check(stored: Admin) -> None:
            if by.admin == stored.username:
                raise InvalidArgument("you cannot delete yourself")

        async def follow(admin: Admin) -> None:
            await self._needs.tokens.revoke_all(admin.username)

        return await self._records.remove(name, by=by, version=version, check=check, follow=follow)

    # -- oneself -----------------------------------------------------------------------------------------

    async def change_own_password(self, password: str, *, by: Actor) -> Admin:
        """Replace the actor's own password; whoever calls has asked for the current one. Tokens become void.

        Raises:
            BadRecord: ``new_password`` is too weak.
            Denied: they are no administrator.
            LoginRefused: too many passwords wait to be hashed (reason ``busy``).
        """
        new = NewPassword(self._needs.hashes, by, typed=True, label="new_password")

        async def make(stored: Admin) -> Admin:
            hashed = await new.stored_form(password, self._options.admin_bits)
            filters = replace(stored.filters, require_password_change=False)
            return replace(stored, password=hashed, filters=filters)

        return await self._replace(_own(by), make, by=by)

    async def change_profile(
        self, *, by: Actor, email: str, description: str, allow_api_key_auth: bool
    ) -> Admin:
        """Replace what anybody may change about themselves.

        Raises:
            BadRecord: a value has a mistake.
            Denied: they are no administrator.
        """

        async def make(stored: Admin) -> Admin:
            changed = replace(
                stored,
                email=email,
                description=description,
                filters=replace(stored.filters, allow_api_key_auth=allow_api_key_auth),
            )
            return check_admin(changed, self._options.rules)

        return await self._records.change(_own(by), make, by=by)

    async def _replace(
        self, name: str, make: Callable[[Admin], Awaitable[Admin]], *, by: Actor, version: str = ""
    ) -> Admin:
        """Replace them, and void their tokens."""

        async def follow(_: Admin, admin: Admin) -> None:
            await self._needs.tokens.revoke_all(admin.username)

        return await self._records.change(name, make, by=by, version=version, follow=follow)


def _own(by: Actor) -> str:
    if not by.admin:
        raise Denied("only administrators can change themselves")
    return by.admin


def _check_own(by: Actor, stored: Admin, wanted: Admin) -> None:
    """Return unless it is what nobody may do to themselves.

    Raises:
        InvalidArgument: they try.
    """
    if by.by_key:
        raise InvalidArgument("an API key cannot change the administrator it acts for")
    if wanted.status != ENABLED:
        raise InvalidArgument("you cannot disable yourself")
    if not set(stored.permissions) <= set(wanted.permissions) and EVERYTHING not in wanted.permissions:
        raise InvalidArgument("you cannot take permissions from yourself")
