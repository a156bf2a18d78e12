# SPDX-License-Identifier: Apache-2.0
"""Verbs on passkeys of administrators: add, rename, remove, and let them sign in without a password.

Whoever calls has settled who may: administrators about themselves, those with all permissions, a shell on the
server. A use is no change of a record by somebody: `identity.passkey_login` notes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.second_factors import Factors
from tidegate.errors import BadRecord, Denied, NotFound
from tidegate.model import Admin
from tidegate.policy.passkeys import (
    MOST_NAME_CHARS,
    MOST_PASSKEYS,
    NO_PASSKEYS,
    Passkey,
    Passkeys,
    document_of,
    passkeys_of,
)
from tidegate.policy.second_factor import PASSKEYS, RECOVERY, totp_of


def check_name(name: str) -> str:
    """The name of a passkey without blanks around it.

    Raises:
        BadRecord: ``name`` is empty, too long or has characters that nobody sees.
    """
    name = name.strip()
    if not name:
        raise BadRecord("name", "is missing")
    if len(name) > MOST_NAME_CHARS or not name.isprintable():
        raise BadRecord("name", f"is not {MOST_NAME_CHARS} printable characters at most")
    return name


class PasskeyVerbs:
    """Changes the passkeys of administrators.

    Args:
        factors: changes second factors of administrators.
    """

    def __init__(self, factors: Factors[Admin]) -> None:
        self._factors: Final = factors

    async def add(self, name: str, passkey: Passkey, *, handle: str, by: Actor) -> Admin:
        """Give an administrator a further passkey; its signature was checked.

        Args:
            name: of the administrator.
            passkey: the new one.
            handle: that it was made with.
            by: who does it.

        Raises:
            BadRecord: its name has a mistake, there are too many, it is known already, or others of the
                administrator were made with another handle.
            NotFound: there is no such administrator.
        """
        passkey = replace(passkey, name=check_name(passkey.name))

        def edit(stored: Admin) -> Mapping[str, object]:
            held = passkeys_of(stored.filters)
            if held.keys and held.handle != handle:
                raise BadRecord("credential", "was made while another one was added; try again")
            if held.find(passkey.id) is not None:
                raise BadRecord("credential", "is known already")
            if len(held.keys) >= MOST_PASSKEYS:
                raise BadRecord("credential", f"there are {MOST_PASSKEYS} passkeys already; remove one")
            if any(one.name == passkey.name for one in held.keys):
                raise BadRecord("name", f"{passkey.name!r} is the name of another passkey")
            return {PASSKEYS: document_of(replace(held, handle=handle, keys=(*held.keys, passkey)))}

        return await self._factors.edit(name, edit, by=by)

    async def rename(self, name: str, key_id: str, label: str, *, by: Actor) -> Admin:
        """Give a passkey another name, for people; the authenticator is not asked.

        Raises:
            BadRecord: the name has a mistake, or another passkey has it.
            NotFound: there is no such administrator or passkey.
        """
        label = check_name(label)

        def edit(stored: Admin) -> Mapping[str, object]:
            held = passkeys_of(stored.filters)
            if held.find(key_id) is None:
                raise NotFound(f"no such passkey of {stored.username}: {key_id[:64]}")
            if any(one.name == label for one in held.keys if one.id != key_id):
                raise BadRecord("name", f"{label!r} is the name of another passkey")
            keys = tuple(replace(one, name=label) if one.id == key_id else one for one in held.keys)
            return {PASSKEYS: document_of(replace(held, keys=keys))}

        return await self._factors.edit(name, edit, by=by)

    async def remove(self, name: str, key_id: str, *, by: Actor) -> Admin:
        """Take a passkey away. With the last one, unless there are one-time codes, recovery codes go too.

        Raises:
            Denied: it is the last second factor of somebody who has to have one and removes it themselves.
            NotFound: there is no such administrator or passkey.
        """

        def edit(stored: Admin) -> Mapping[str, object]:
            held = passkeys_of(stored.filters)
            if held.find(key_id) is None:
                raise NotFound(f"no such passkey of {stored.username}: {key_id[:64]}")
            left, codes = held.without(key_id), totp_of(stored.filters).enabled
            if left.keys:
                return {PASSKEYS: document_of(left)}
            if stored.filters.require_two_factor and not codes and by.admin == stored.username:
                raise Denied("a second factor is required of you", rule="require_two_factor")
            return {PASSKEYS: None} if codes else {PASSKEYS: None, RECOVERY: None}

        return await self._factors.edit(name, edit, by=by)

    async def remove_all(self, name: str, *, by: Actor) -> Admin:
        """Take every passkey away, for somebody who has lost them.

        Raises:
            NotFound: there is no such administrator.
        """

        def edit(stored: Admin) -> Mapping[str, object]:
            parts: dict[str, object] = {PASSKEYS: None}
            return parts if totp_of(stored.filters).enabled else {**parts, RECOVERY: None}

        return await self._factors.edit(name, edit, by=by)

    async def set_alone(self, name: str, alone: bool, *, by: Actor) -> Admin:
        """Let passkeys sign in without name and password, or no more.

        Raises:
            BadRecord: there is no passkey.
            NotFound: there is no such administrator.
        """

        def edit(stored: Admin) -> Mapping[str, object]:
            held: Passkeys = passkeys_of(stored.filters)
            if held == NO_PASSKEYS or not held.keys:
                raise BadRecord("alone", "needs a passkey")
            return {PASSKEYS: document_of(replace(held, alone=alone))}

        return await self._factors.edit(name, edit, by=by)
