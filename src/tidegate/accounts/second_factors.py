# SPDX-License-Identifier: Apache-2.0
"""Verbs on second factors: the one record change that may touch one-time codes and recovery codes.

Whoever calls has settled who may: people about themselves, administrators with the right permission, a shell
on the server. Documents of records cannot change these parts; see `keep_factors`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar, cast

from tidegate.accounts.actor import Actor
from tidegate.accounts.records import Records
from tidegate.errors import BadRecord
from tidegate.model import Account, Admin
from tidegate.policy.second_factor import FAMILIES, HELD, RECOVERY, TOTP, has_passkeys

R = TypeVar("R", Account, Admin)


class Factors(Generic[R]):
    """Sets, removes and renews the second factor of one kind of record.

    Args:
        records: the steps of changes.
        follow: does what follows, of the record before and after.
    """

    def __init__(self, records: Records[R], follow: Callable[[R, R], Awaitable[None]] | None = None) -> None:
        self._records: Final[Records[R]] = records
        self._follow: Final[Callable[[R, R], Awaitable[None]] | None] = follow

    async def enable(
        self, name: str, *, config_name: str, secret: str, protocols: Sequence[str], by: Actor
    ) -> R:
        """Ask for codes made with a secret from now on.

        Args:
            name: of the record.
            config_name: entry of `mfa.totp`, which exists.
            secret: in base32, checked.
            protocols: doors that ask, of `FAMILIES`, at least one; of administrators none.
            by: who does it.

        Raises:
            BadRecord: the protocols are wrong.
            NotFound: there is no such record.
        """
        wrong = next((one for one in protocols if one not in FAMILIES), None)
        if wrong is not None:
            raise BadRecord("protocols", f"{wrong[:40]!r} is not one of {', '.join(FAMILIES)}")
        document: dict[str, Any] = {"enabled": True, "config_name": config_name}
        document["secret"] = {"status": "Plain", "payload": secret}
        if protocols:
            document["protocols"] = list(dict.fromkeys(protocols))
        return await self._change(name, {TOTP: document}, by)

    async def disable(self, name: str, *, by: Actor) -> R:
        """Ask for codes no more, and forget the secret and, unless passkeys need them, the recovery codes.

        Raises:
            NotFound: there is no such record.
        """
        return await self.edit(name, _without_codes, by=by)

    async def set_recovery_codes(self, name: str, hashes: Sequence[str], *, by: Actor) -> R:
        """Replace the recovery codes by new ones, given as their hashes.

        Raises:
            NotFound: there is no such record.
        """
        codes = [{"secret": one, "used": False} for one in hashes]
        return await self._change(name, {RECOVERY: codes}, by)

    async def _change(self, name: str, parts: Mapping[str, object], by: Actor) -> R:
        return await self.edit(name, lambda _: parts, by=by)

    async def edit(self, name: str, edit: Callable[[R], Mapping[str, object]], *, by: Actor) -> R:
        """Replace parts of ``filters``; called again if somebody else was faster.

        Args:
            name: of the record.
            edit: gives the new parts of the stored record; None takes one away.
            by: who does it.

        Raises:
            NotFound: there is no such record; what `edit` raises.
        """

        async def make(stored: R) -> R:
            parts = edit(stored)
            extra = {key: value for key, value in stored.filters.extra.items() if key not in parts}
            extra |= {key: value for key, value in parts.items() if value is not None}
            return cast("R", _with_extra(stored, extra))

        return await self._records.change(name, make, by=by, follow=self._follow)


def keep_factors(record: R, stored: R | None) -> R:
    """A record of a document with the second factor of the stored one, whatever the document says."""
    held = stored.filters.extra if stored is not None else {}
    extra = {key: value for key, value in record.filters.extra.items() if key not in HELD}
    extra |= {key: value for key, value in held.items() if key in HELD}
    return record if extra == record.filters.extra else cast("R", _with_extra(record, extra))


def _without_codes(record: Account | Admin) -> Mapping[str, object]:
    if isinstance(record, Admin) and has_passkeys(record.filters):
        return {TOTP: None}
    return {TOTP: None, RECOVERY: None}


def _with_extra(record: Account | Admin, extra: dict[str, object]) -> Account | Admin:
    if isinstance(record, Admin):
        return replace(record, filters=replace(record.filters, extra=extra))
    return replace(record, filters=replace(record.filters, extra=extra))
