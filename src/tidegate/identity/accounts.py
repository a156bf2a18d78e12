# SPDX-License-Identifier: Apache-2.0
"""The last authenticator of every server: accounts of the data provider."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from tidegate.abc import Credential, KnowsKeys, LoginAttempt
from tidegate.accounts.effective import Effective
from tidegate.accounts.key_kinds import is_security_key
from tidegate.accounts.keys import NO_TOUCH, VERIFY, key_blob, key_options
from tidegate.errors import BadRecord, LoginRefused
from tidegate.identity.hashing import PasswordChecker
from tidegate.model import Account, Peer
from tidegate.policy.anonymous import DOORS, takes_any_password
from tidegate.policy.methods import CERTIFICATE, uses_certificate
from tidegate.store.contract import Provider

_DECOY_BLOB: Final = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + secrets.token_bytes(32)
"""Compared with when there is no account; nobody has its private half."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An account with which stored accounts, or hooks around them, answer a credential.

    Attributes:
        account: it may be of another name than the one that was typed.
        stored: it is the provider's.
        hashed: the password fits the stored hash.
        coded: a one-time code was right.
        unverified: the password was not verified, as the account takes any. It may come in as such an account
            alone, whatever is found out about it afterwards.
    """

    account: Account
    stored: bool
    hashed: bool = False
    coded: bool = False
    unverified: bool = False


class StoredAccounts:
    """Checks passwords and public keys against stored accounts.

    Accounts are answered as they are stored; what their groups give is put in by who asked.

    Args:
        provider: where they are.
        checker: of passwords.
        groups: resolves groups.
    """

    def __init__(self, provider: Provider, checker: PasswordChecker, groups: Effective | None = None) -> None:
        self._provider = provider
        self._checker = checker
        self._groups = groups or Effective(provider)

    async def open(self) -> None:
        """Nothing: the provider is opened by its owner."""

    async def close(self) -> None:
        """Nothing: the provider is closed by its owner."""

    async def find(self, username: str) -> Account | None:
        """The stored account.

        Raises:
            ProviderUnavailable: the provider cannot be asked.
        """
        return await self._provider.user(username)

    async def verify(self, attempt: LoginAttempt) -> Accepted | Account | None:
        """As `Authenticator.verify`; `Accepted` if the password was not verified.

        Costs the same whether or not the account exists.

        Nothing is computed where any password is right; that those accounts exist is no secret.

        Raises:
            LoginRefused: wrong credential (``bad_credential``), a security key that was not touched or did
                not verify its owner (``security_key``), an account that uses no TLS certificates
                (``certificate_unused``), or too many checks waiting (``busy``).
            ProviderUnavailable: the provider cannot be asked.
        """
        username, credential = attempt.username, attempt.credential
        account = await self._provider.user(username)
        if credential.kind == "publickey":
            right = holds_key(account, credential.public_key)
            if right and is_security_key(credential.public_key):
                require_flags(account, credential)
        elif credential.kind in ("password", "keyboard-interactive"):
            if account is not None and await self.takes_any_password(account, attempt):
                return Accepted(account, stored=True, unverified=True)
            stored = account.password if account is not None else ""
            right = await self._checker.fits(attempt.peer.remote_ip, username, stored, credential.secret)
        elif credential.kind == CERTIFICATE:
            if account is not None and not uses_certificate(await self._groups.of(account)):
                raise LoginRefused("certificate_unused", username=username)
            from tidegate.identity.client_certificates import names_user  # few log in so

            right = names_user(credential.certificate, username)
        else:
            raise LoginRefused("method", username=username)
        if account is not None and not right:
            raise LoginRefused("bad_credential", username=username)
        return account

    async def takes_any_password(self, account: Account, attempt: LoginAttempt) -> bool:
        """True if the password of this attempt need not be verified.

        Raises:
            ProviderUnavailable: the provider cannot be asked for the account's groups.
        """
        family = attempt.peer.protocol.family
        if family not in DOORS or attempt.credential.kind != "password":
            return False
        try:
            return takes_any_password(await self._groups.of(account), family)
        except BadRecord:
            return False  # who has the right password is told, by the log, what is wrong with the groups

    async def knows_key(self, peer: Peer, username: str, public_key: bytes) -> bool:  # noqa: ARG002  (the contract's signature)
        """True if the stored account lists the key; costs the same without an account."""
        return holds_key(await self._provider.user(username), public_key)


def holds_key(account: Account | None, blob: bytes) -> bool:
    """True if `blob` is one of the account's keys; every key is compared, wherever the first match is."""
    found = False
    blobs = [_DECOY_BLOB]
    for line in account.public_keys if account is not None else ():
        try:
            blobs.append(key_blob(line))
        except BadRecord:
            continue
    for known in blobs:
        found |= hmac.compare_digest(known, blob)
    return found and account is not None and bool(blob)


def require_flags(account: Account | None, credential: Credential) -> None:
    """Return if a security key was touched, and verified its owner, as the options of its line want it.

    Raises:
        LoginRefused: reason ``security_key``, with the option as the rule.
    """
    lines = account.public_keys if account is not None else ()
    for line in lines:
        try:
            if key_blob(line) != credential.public_key:
                continue
        except BadRecord:
            continue
        options = key_options(line)
        if VERIFY in options and not credential.verified:
            raise LoginRefused("security_key", rule=VERIFY)
        if NO_TOUCH in options or credential.touched:
            return
    raise LoginRefused("security_key", rule=NO_TOUCH)


def _keeps_contract(stored: StoredAccounts) -> KnowsKeys:
    return stored
