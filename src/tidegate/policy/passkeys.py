# SPDX-License-Identifier: Apache-2.0
"""Passkeys (WebAuthn credentials) of an administrator, as their record holds them in ``filters.passkeys``.

Public keys are no secrets. `identity.passkeys` checks signatures, `accounts.passkeys` changes what is stored.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from typing import Any, Final

from tidegate.model import AdminFilters
from tidegate.policy.second_factor import PASSKEYS

MOST_PASSKEYS: Final = 20
"""Passkeys of one administrator."""
MOST_NAME_CHARS: Final = 64
HANDLE_BYTES: Final = 32
"""Random bytes by which a passkey names its administrator (WebAuthn section 5.4.3: nothing personal)."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The site that passkeys belong to.

    Attributes:
        rp_id: its domain.
        origins: addresses of its pages, such as ``https://files.example.org``.
        name: that authenticators show.
    """

    rp_id: str
    origins: frozenset[str]
    name: str = "Tidegate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """One passkey. Times are Unix milliseconds, 0 for never.

    Attributes:
        id: of the credential, base64url.
        name: that its owner gave it.
        public_key: COSE key (RFC 9052 section 7) as CBOR, base64url.
        rp_id: domain that it was made for.
        sign_count: signature counter of the last use; authenticators without one say 0.
        synced: it is kept in more than one place (WebAuthn section 6.1.3, backup state).
        transports: ways to the authenticator that the browser named.
        created_at: when it was made.
        last_use_at: when it was used last.
    """

    id: str
    name: str
    public_key: str
    rp_id: str
    sign_count: int = 0
    synced: bool = False
    transports: tuple[str, ...] = ()
    created_at: int = 0
    last_use_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkeys:
    """All passkeys of an administrator.

    Attributes:
        handle: names the administrator within a passkey, base64url.
        alone: a passkey signs in without name and password.
        keys: the passkeys, the oldest first.
    """

    handle: str = ""
    alone: bool = False
    keys: tuple[Passkey, ...] = ()

    def find(self, key_id: str) -> Passkey | None:
        """The passkey with an id; None if there is none."""
        return next((one for one in self.keys if one.id == key_id), None)

    def of(self, rp_id: str) -> tuple[Passkey, ...]:
        """Those that were made for a domain."""
        return tuple(one for one in self.keys if one.rp_id == rp_id)

    def without(self, key_id: str) -> Passkeys:
        """The same without one of them."""
        return replace(self, keys=tuple(one for one in self.keys if one.id != key_id))

    def with_use(self, used: Passkey) -> Passkeys:
        """The same with another state of one of them."""
        return replace(self, keys=tuple(used if one.id == used.id else one for one in self.keys))


NO_PASSKEYS: Final = Passkeys()


def passkeys_of(filters: AdminFilters) -> Passkeys:
    """The passkeys of a record. Total: those of an odd form are left out."""
    document = filters.extra.get(PASSKEYS)
    if not isinstance(document, dict):
        return NO_PASSKEYS
    listed, handle = document.get("credentials"), document.get("handle")
    keys = [_passkey(one) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return Passkeys(
        handle=handle if isinstance(handle, str) else "",
        alone=document.get("alone") is True,
        keys=tuple(one for one in keys if one is not None),
    )


def document_of(held: Passkeys) -> dict[str, Any]:
    """The document that a record holds."""
    return {
        "handle": held.handle,
        "alone": held.alone,
        "credentials": [
            {
                "id": one.id,
                "name": one.name,
                "public_key": one.public_key,
                "rp_id": one.rp_id,
                "sign_count": one.sign_count,
                "synced": one.synced,
                "transports": list(one.transports),
                "created_at": one.created_at,
                "last_use_at": one.last_use_at,
            }
            for one in held.keys
        ],
    }


def shown(held: Passkeys) -> list[dict[str, Any]]:
    """The passkeys as REST and the command line show them: without keys and counters."""
    return [
        {
            "id": one.id,
            "name": one.name,
            "rp_id": one.rp_id,
            "created_at": one.created_at,
            "last_use_at": one.last_use_at,
        }
        for one in held.keys
    ]


def encode(raw: bytes) -> str:
    """Bytes in base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes of `encode`.

    Raises:
        ValueError: it is no base64url.
    """
    if not text.isascii() or any(char in text for char in "+/="):
        raise ValueError("is not base64url")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("is not base64url") from None


def _passkey(document: dict[str, Any]) -> Passkey | None:
    def text(name: str) -> str:
        value = document.get(name)
        return value if isinstance(value, str) else ""

    def number(name: str) -> int:
        value = document.get(name)
        return value if type(value) is int else 0

    transports = document.get("transports")
    found = Passkey(
        id=text("id"),
        name=text("name"),
        public_key=text("public_key"),
        rp_id=text("rp_id"),
        sign_count=number("sign_count"),
        synced=document.get("synced") is True,
        transports=tuple(str(one) for one in transports) if isinstance(transports, list) else (),
        created_at=number("created_at"),
        last_use_at=number("last_use_at"),
    )
    return found if found.id and found.name and found.public_key and found.rp_id else None
