# SPDX-License-Identifier: Apache-2.0
"""Section ``mfa``: one-time codes."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from tidegate.config.schema.base import Section, key


class TotpKeys(Section):
    """One kind of one-time codes."""

    name: str = key("Default", "Name by which accounts refer to it; do not change it once one does.")
    issuer: str = key("Tidegate", "Shown by authenticator programs.")
    algo: Literal["sha1", "sha256", "sha512"] = key(
        "sha1", "Digest; many authenticator programs know `sha1` alone."
    )


class Mfa(Section):
    """Second factors."""

    totp: list[TotpKeys] = key([TotpKeys()], "Kinds of one-time codes by time (RFC 6238).")

    @field_validator("totp")
    @classmethod
    def _named_once(cls, kinds: list[TotpKeys]) -> list[TotpKeys]:
        names = [kind.name for kind in kinds]
        if not all(names):
            raise ValueError("an entry has no name")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the name {twice!r} is given twice")
        return kinds
