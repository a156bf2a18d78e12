# SPDX-License-Identifier: Apache-2.0
"""Secrets in options of storage: plain text, or the document that records of the field have for them.

`open_secret` is the one place where the value of such a secret is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

PLAIN: Final = "Plain"
"""`SecretDocument.status` of what is not encrypted."""
SEALED: Final = "AES-256-GCM-Envelope"
"""`SecretDocument.status` of what `tidegate.sealing` has encrypted; see `tidegate.model.sealing`."""
OLD_FORM: Final = "$aes$"
"""Beginning of secrets that releases 0.9 and 1 of the field's gateway have encrypted."""


@dataclass(frozen=True, slots=True)
class SecretDocument:
    """A secret with a note on how it is kept.

    Attributes:
        status: ``Plain``, or the name of what it was encrypted by.
        payload: the value, or what it was encrypted to.
        key: of the encryption, where it needs one.
        additional_data: likewise.
        mode: likewise.
    """

    status: str = ""
    payload: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    additional_data: str = field(default="", repr=False)
    mode: int = 0

    def __bool__(self) -> bool:
        return bool(self.payload)


Secret = str | SecretDocument
"""A secret in options; empty if there is none."""


def check_secret(name: str, secret: Secret) -> None:
    """Check that a secret can be opened.

    Raises:
        ValueError: it cannot; `name` is the option.
    """
    how = secret.status or "no status" if isinstance(secret, SecretDocument) and secret else PLAIN
    if isinstance(secret, str) and secret.startswith(OLD_FORM):
        how = OLD_FORM
    if how != PLAIN:
        raise ValueError(f"{name} is encrypted ({how}); expected it in plain text")


def open_secret(name: str, secret: Secret) -> str:
    """The value of a secret; empty if there is none.

    Raises:
        ValueError: as `check_secret`.
    """
    check_secret(name, secret)
    return secret.payload if isinstance(secret, SecretDocument) else secret
