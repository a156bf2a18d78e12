# SPDX-License-Identifier: Apache-2.0
"""Names whose values are secrets. Going by the name needs no knowledge of who reads the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_HIDDEN: Final = frozenset(
    (
        "totp_config",
        "recovery_codes",
        "passkeys",
        "tls_certs",
        "password",
        "payload",
        "key",
        "access_secret",
        "sse_customer_key",
        "account_key",
        "sas_url",
        "credentials",
        "passphrase",
        "private_key",
        "key_passphrase",
        "api_key",
        "session_token",
        "secret",
        "additional_data",
    )
)
"""Names whose values are secrets, or may hold one, in the documents of the field's other gateway."""
STORAGE_SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    "osconfig": (),
    "s3config": ("access_secret", "sse_customer_key"),
    "gcsconfig": ("credentials",),
    "azblobconfig": ("account_key", "sas_url"),
    "cryptconfig": ("passphrase",),
    "sftpconfig": ("password", "private_key", "key_passphrase"),
    "httpconfig": ("password", "api_key"),
}
"""Sections of ``filesystem`` in documents for programs, and their secrets, shown as empty objects."""
_SECRET_ENDS: Final = frozenset(("secret", "password", "passphrase", "token"))


def is_hidden(name: str) -> bool:
    """True if a value of this name in a record may be a secret."""
    return name in _HIDDEN


def is_secret_option(name: str) -> bool:
    """True for options of storage whose values are never shown, whatever kind of storage they are of.

    They hold as well for records of a kind whose package is gone.
    """
    return name in _HIDDEN or name.rpartition("_")[2] in _SECRET_ENDS
