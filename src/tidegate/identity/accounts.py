# SPDX-License-Identifier: Apache-2.0
"""The default authenticator: accounts of the data provider."""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from tidegate.abc import Authenticator, Credential
from tidegate.accounts.keys import key_blob
from tidegate.errors import BadRecord, LoginRefused
from tidegate.identity.hashing import PasswordChecker
from tidegate.model import Account, Peer
from tidegate.store.contract import Provider

_DECOY_BLOB: Final = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + secrets.token_bytes(32)
"""Compared with when there is no account; nobody has its private half."""


class ProviderAuthenticator:
    """Checks passwords and public keys against stored accounts."""

    def __init__(self, provider: Provider, checker: PasswordChecker) -> None:
        self._provider = provider
        self._checker = checker

    async def authenticate(self, peer: Peer, username: str, credential: Credential) -> Account | None:
        """See `tidegate.abc.Authenticator`. Costs the same whether or not the account exists.

        Raises:
            LoginRefused: wrong credential (``bad_credential``), or too many checks waiting (``busy``).
            ProviderUnavailable: the provider cannot be asked.
        """
        account = await self._provider.user(username)
        if credential.kind == "publickey":
            right = holds_key(account, credential.public_key)
        elif credential.kind in ("password", "keyboard-interactive"):
            stored = account.password if account is not None else ""
            right = await self._checker.fits(peer.remote_ip, username, stored, credential.secret)
        else:
            raise LoginRefused("method", username=username)
        if account is not None and not right:
            raise LoginRefused("bad_credential", username=username)
        return account


def holds_key(account: Account | None, blob: bytes) -> bool:
    """Whether `blob` is one of the account's keys; every key is compared, wherever the first match is."""
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


def _keeps_contract(authenticator: ProviderAuthenticator) -> Authenticator:
    return authenticator
