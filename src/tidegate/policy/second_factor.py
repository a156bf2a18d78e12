# SPDX-License-Identifier: Apache-2.0
"""One-time codes of a record: whether one is asked for, where, and whether one has to be set up first.

The documents (``filters.totp_config``, ``filters.recovery_codes``) are those of the field's other gateway.
They hold secrets, so a record keeps them as they are stored (`tidegate.model.sealing`); this file reads them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final

from tidegate.model import Account, AdminFilters, Filters

TOTP: Final = "totp_config"
RECOVERY: Final = "recovery_codes"
PASSKEYS: Final = "passkeys"
HELD: Final = (TOTP, RECOVERY, PASSKEYS)
"""Parts of ``filters`` that only `accounts.second_factors` and `accounts.passkeys` change."""
FAMILIES: Final = ("SSH", "FTP", "HTTP")
"""Words of `two_factor_protocols` and of ``totp_config.protocols``."""
LEAST_SECRET_BYTES: Final = 10
MOST_SECRET_BYTES: Final = 128
"""Of a secret of one-time codes that comes from elsewhere."""
_HASHED: Final = "$sha256$"
WITHOUT_PASSWORD: Final = frozenset(("publickey", "TLSCertificate"))
"""Methods that no code follows by itself."""


@dataclass(frozen=True, slots=True)
class Totp:
    """The part of a record about its codes.

    Attributes:
        enabled: codes are asked for.
        config_name: entry of `mfa.totp` that the secret was made for.
        protocols: doors that ask, of `FAMILIES`; administrators have none and are asked always.
    """

    enabled: bool = False
    config_name: str = ""
    protocols: tuple[str, ...] = ()


NO_TOTP: Final = Totp()


def totp_of(filters: Filters | AdminFilters) -> Totp:
    """The codes of a record. Total: a document of an odd form that is enabled asks everywhere."""
    document = filters.extra.get(TOTP)
    if not isinstance(document, dict) or document.get("enabled") in (None, False):
        return NO_TOTP
    name, protocols = document.get("config_name"), document.get("protocols")
    known = isinstance(protocols, list) and all(one in FAMILIES for one in protocols)
    listed: tuple[str, ...] = tuple(protocols) if known and protocols else ()
    return Totp(True, name if isinstance(name, str) else "", listed)


def asks_code(account: Account, family: str) -> bool:
    """True if logins by a password need a code at a door of this family; without protocols all doors ask."""
    totp = totp_of(account.filters)
    return totp.enabled and family in FAMILIES and (not totp.protocols or family in totp.protocols)


def code_follows(account: Account, family: str, method: str) -> bool:
    """True if a code has to follow what was proved.

    Args:
        account: who logs in.
        family: of the door.
        method: what was proved, for instance ``password`` or ``publickey+password``. A key alone is followed
            by a code only where `denied_login_methods` asks for a second step.
    """
    return method not in WITHOUT_PASSWORD and asks_code(account, family)


def judged_method(account: Account, family: str, method: str) -> str:
    """The method that `denied_login_methods` is asked about: without the code, which is none of its own.

    A key followed by keyboard-interactive is a pair of its own, whatever was asked there.
    """
    before = method.removesuffix("+keyboard-interactive")
    if before in ("publickey", method) or not asks_code(account, family):
        return method
    return before


def has_to_set_up(account: Account, family: str) -> bool:
    """True if the account may not come in at a door before it has set up codes for it."""
    return family in account.filters.two_factor_protocols and not asks_code(account, family)


def has_passkeys(filters: AdminFilters) -> bool:
    """True if there are passkeys (`policy.passkeys`), even odd ones, which nobody can use."""
    document = filters.extra.get(PASSKEYS)
    return isinstance(document, dict) and bool(document.get("credentials"))


def has_factor(filters: AdminFilters) -> bool:
    """True if a password alone does not sign in: there are one-time codes or passkeys."""
    return totp_of(filters).enabled or has_passkeys(filters)


def recovery_codes_of(filters: Filters | AdminFilters) -> list[dict[str, Any]]:
    """The documents of the recovery codes, a copy; odd ones are left out."""
    listed = filters.extra.get(RECOVERY)
    return [dict(one) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


# -- texts of codes and secrets ------------------------------------------------------------------------


def decode_secret(text: str) -> bytes:
    """The bytes of a secret in base32; blanks, dashes, lower case and missing padding are borne.

    Raises:
        ValueError: it is none, too short or too long; the text holds nothing of it.
    """
    clean = "".join(text.split()).replace("-", "").rstrip("=").upper()
    try:
        raw = base64.b32decode(clean + "=" * (-len(clean) % 8))
    except (binascii.Error, ValueError):
        raise ValueError("is not base32") from None
    if not LEAST_SECRET_BYTES <= len(raw) <= MOST_SECRET_BYTES:
        raise ValueError(f"has {len(raw)} bytes, expected {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES}")
    return raw


def clean_code(text: str) -> str:
    """A code as it is compared: without blanks and dashes, in upper case."""
    return "".join(text[:64].split()).replace("-", "").upper()


def hash_recovery_code(code: str) -> str:
    """The stored form of a recovery code, whose 80 random bits nobody can guess."""
    return _HASHED + hashlib.sha256(clean_code(code).encode()).hexdigest()


def recovery_code_fits(code: str, stored: str) -> bool:
    """True if a code is the one that was hashed."""
    return stored.startswith(_HASHED) and hmac.compare_digest(hash_recovery_code(code), stored)
