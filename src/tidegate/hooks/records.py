# SPDX-License-Identifier: Apache-2.0
"""Accounts that hooks answer: checked by the rules of every other way, and stored or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from tidegate.accounts.actor import Actor, Channel, operator
from tidegate.accounts.administration import Administration
from tidegate.accounts.names import fold_name
from tidegate.accounts.second_factors import keep_factors
from tidegate.accounts.versions import changed_fields
from tidegate.errors import AlreadyExists, BadRecord
from tidegate.hooks.merging import cleaned, merged
from tidegate.model import Account, Peer
from tidegate.store.contract import Provider
from tidegate.store.documents import decode_account, encode_account

Document = Mapping[str, Any]


class Passwords(Protocol):
    """Hashes and checks passwords off the loop, as `identity.hashing.PasswordChecker`."""

    async def fits(self, source: str, username: str, stored: str, password: str) -> bool:
        """True if a password is the one of a hash."""
        ...

    async def hash(self, password: str, *, source: str = "") -> str:
        """A new hash."""
        ...


class HookRecords:
    """Makes accounts of what hooks answer.

    Args:
        provider: the stored accounts.
        administration: every change goes through it, with all its rules; its events say that a hook did it.
        store: keep accounts; otherwise they are checked and used for this login.
    """

    def __init__(self, provider: Provider, administration: Administration, *, store: bool) -> None:
        self.provider: Final = provider
        self.store: Final = store
        self._administration = administration
        self._rules = administration.options.rules

    async def known(self, username: str) -> Account | None:
        """The stored account."""
        return await self.provider.user(username)

    async def whole(
        self,
        answer: Document,
        peer: Peer,
        *,
        stored: Account | None,
        passwords: Passwords,
        secret: str = "",
        key: str = "",
    ) -> Account:
        """The account of a whole user that external authentication answered.

        Args:
            answer: the user; of the name that it says. Empty keeps the stored one.
            peer: who logs in.
            stored: the account of the name that was typed.
            passwords: hashes the password that was accepted, so that it can be checked without the hook.
            secret: that password.
            key: the public key that was accepted; added to the account's keys.

        Raises:
            BadRecord: the answer has a mistake.
        """
        document = cleaned(dict(answer))
        name = document.get("username")
        if not isinstance(name, str):
            raise BadRecord("username", "should be a text")
        name = fold_name(name, self._rules)
        if stored is None or stored.username != name:
            stored = await self.known(name) if self.store else None
        if not self.store:
            return await self._checked(document)
        if secret and (stored is None or not await _is(passwords, peer, stored, secret)):
            document["password"] = await passwords.hash(secret, source=peer.remote_ip)
        if key:
            given = document.get("public_keys")
            lines = list(given) if isinstance(given, list) else list(stored.public_keys if stored else ())
            if not any(isinstance(line, str) and line.split()[:2] == key.split()[:2] for line in lines):
                lines.append(key)
            document["public_keys"] = lines
        return await self._put(document, stored, _actor("external_auth", peer))

    async def with_secret(
        self, stored: Account, peer: Peer, *, passwords: Passwords, secret: str = "", key: str = ""
    ) -> Account:
        """A stored account after external authentication accepted a credential and changed nothing."""
        document = encode_account(stored, confidential=False)
        return await self.whole(document, peer, stored=stored, passwords=passwords, secret=secret, key=key)

    async def partial(
        self, answer: Document, peer: Peer, *, username: str, stored: Account | None
    ) -> Account:
        """The account after what a hook answered before a login: fields that replace those of the account.

        Args:
            answer: the fields, or a whole user.
            peer: who logs in.
            username: that was typed.
            stored: the account; None makes one.

        Raises:
            BadRecord: the answer has a mistake, or names somebody else.
        """
        change = cleaned(dict(answer))
        name = change.setdefault("username", username)
        if not isinstance(name, str) or fold_name(name, self._rules) != username:
            raise BadRecord(
                "username", f"{str(name)[:255]!r} is not {username!r}, and names cannot be changed"
            )
        base = encode_account(stored, confidential=False) if stored is not None else {}
        return await self._put(merged(base, change), stored, _actor("pre_login", peer))

    async def _put(self, document: Document, stored: Account | None, by: Actor) -> Account:
        users = self._administration.users
        if stored is None:
            try:
                await users.add(document, by=by)
            except AlreadyExists:  # another login of the same user was faster
                stored = await self.known(fold_name(str(document["username"]), self._rules))
                if stored is None:
                    raise
            else:
                account = await self.known(fold_name(str(document["username"]), self._rules))
                assert account is not None
                return account
        wanted = keep_factors(decode_account(document, base=stored, rules=self._rules), stored)
        if not changed_fields(stored, wanted):
            return stored
        await users.change(stored.username, document, by=by)
        account = await self.known(stored.username)  # with what its folders say
        return account if account is not None else wanted

    async def _checked(self, document: Document) -> Account:
        """An account that is not stored."""
        options = self._administration.options
        if options.homes is not None:
            document = options.homes.place(document, self._rules)
        account = keep_factors(decode_account(document, rules=self._rules), None)
        await options.giver(_ANYBODY).check_account(self.provider, account, None)
        mounts = []
        for index, mount in enumerate(account.virtual_folders):
            if not mount.mapped_path:
                folder = await self.provider.folder(mount.name)
                if folder is None:
                    raise BadRecord(f"virtual_folders[{index}].name", f"folder {mount.name!r} does not exist")
                mount = replace(mount, mapped_path=folder.mapped_path, filesystem=folder.filesystem)
            mounts.append(mount)
        return replace(account, id=0, password="", virtual_folders=tuple(mounts))


_ANYBODY: Final = operator("hooks", Channel.HOOK)


def _actor(hook: str, peer: Peer) -> Actor:
    return replace(operator(hook, Channel.HOOK), ip=peer.remote_ip)


async def _is(passwords: Passwords, peer: Peer, stored: Account, secret: str) -> bool:
    if not stored.password:
        return False
    return await passwords.fits(peer.remote_ip, stored.username, stored.password, secret)
