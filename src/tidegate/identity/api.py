# SPDX-License-Identifier: Apache-2.0
"""The contract between doors and identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tidegate.abc import Credential
from tidegate.model import Peer, Principal


@dataclass(frozen=True, slots=True)
class PartialLogin:
    """A credential was right and another one is still needed.

    Attributes:
        username: who is logging in.
        done: the method that was accepted, for instance ``publickey``.
        remaining: SSH method names that may follow, for instance ``("password",)``.
    """

    username: str
    done: str
    remaining: tuple[str, ...]


class LoginService(Protocol):
    """Says who somebody is and whether they may come in now, by this door, from there."""

    async def authenticate(
        self, peer: Peer, username: str, credential: Credential, *, after: PartialLogin | None = None
    ) -> Principal | PartialLogin:
        """Check a credential and every login rule (status, expiry, addresses, protocols, methods, hours).

        Takes as long for an unknown user as for a wrong password.

        Args:
            after: what was accepted before on this connection for the same user name.

        Raises:
            LoginRefused: with the reason for the log. Clients are told nothing.
        """
        ...

    async def key_is_known(self, peer: Peer, username: str, public_key: bytes) -> bool:
        """Whether offering a signature by this key makes sense; used to answer key probes.

        Answers for an unknown user take the same path and time as for a known one.
        """
        ...
