# SPDX-License-Identifier: Apache-2.0
"""Section ``mfa``: one-time codes and passkeys."""

from __future__ import annotations

import ipaddress
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from tidegate.config.schema.base import Section, key


class TotpKeys(Section):
    """One kind of one-time codes."""

    name: str = key("Default", "Name by which accounts refer to it; do not change it once one does.")
    issuer: str = key("Tidegate", "Shown by authenticator programs.")
    algo: Literal["sha1", "sha256", "sha512"] = key(
        "sha1", "Digest; many authenticator programs know `sha1` alone."
    )


class PasskeyKeys(Section):
    """Passkeys of administrators (WebAuthn)."""

    origins: list[str] = key(
        [],
        "Addresses at which browsers open the web admin, such as `https://files.example.org`: HTTPS and a "
        "name, as browsers demand, or `http://localhost:8080`. Empty allows passkeys at `localhost` alone.",
    )
    rp_id: str = key(
        "",
        "Domain that passkeys belong to, which every origin is in; empty is the host of the first origin. "
        "Passkeys that were made for another one are of no use.",
    )

    @field_validator("origins")
    @classmethod
    def _origins(cls, origins: list[str]) -> list[str]:
        return [_origin(text) for text in origins]

    @model_validator(mode="after")
    def _one_domain(self) -> Self:
        if self.rp_id and not self.origins:
            raise ValueError("rp_id needs origins")
        domain = self.domain
        if domain != domain.lower() or (self.rp_id and "." not in domain and domain != "localhost"):
            raise ValueError(f"rp_id: expected a domain such as example.org in lower case, got {domain!r}")
        for origin in self.origins:
            host = urlsplit(origin).hostname or ""
            if host != domain and not host.endswith(f".{domain}"):
                raise ValueError(f"origins: {origin} is not in the domain {domain} (rp_id)")
        return self

    @property
    def domain(self) -> str:
        """The domain that passkeys belong to; ``localhost`` unless something is set."""
        return self.rp_id or (urlsplit(self.origins[0]).hostname or "" if self.origins else "localhost")


def _origin(text: str) -> str:
    """The origin as browsers write it.

    Raises:
        ValueError: browsers have no passkeys there.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"expected an address such as https://files.example.org, got {text!r}") from None
    plain = f"{parts.scheme}://{parts.netloc}".lower()
    if not host or text.rstrip("/").lower() != plain or "@" in text or not text.isascii():
        raise ValueError(f"expected an address such as https://files.example.org, got {text!r}")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        raise ValueError(f"browsers have no passkeys for IP addresses, got {text!r}: name the host")
    local = host == "localhost" or host.endswith(".localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError(f"browsers have no passkeys without HTTPS, got {text!r}")
    default = {"https": ":443", "http": ":80"}[parts.scheme]
    return plain.removesuffix(default)


class Mfa(Section):
    """Second factors."""

    totp: list[TotpKeys] = key([TotpKeys()], "Kinds of one-time codes by time (RFC 6238).")
    passkeys: PasskeyKeys = key(PasskeyKeys(), "Passkeys of administrators (WebAuthn).")

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
