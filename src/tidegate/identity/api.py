# SPDX-License-Identifier: Apache-2.0
"""The contract between doors and identity.

A door carries credentials and questions, and knows of a login method no more than how its protocol spells it:

1. `LoginService.authenticate` with the first credential. `Principal`: the user is in. `LoginRefused`: not.
2. `PartialLogin`: the credential was right and another one of `remaining` has to follow. The door lets the
   client go on (SSH: partial success, or the next questions) and calls again with ``after``.
3. Before a ``keyboard-interactive`` answer the door shows `LoginService.challenge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from tidegate.abc import Challenge, Credential
from tidegate.model import Account, Peer, Principal


@dataclass(frozen=True, slots=True)
class PartialLogin:
    """A credential was right and another one is still needed.

    Attributes:
        username: who is logging in.
        done: the methods that were accepted, for instance ``publickey`` or ``publickey+password``.
        remaining: SSH method names that may follow, for instance ``("password",)``.
        challenge: the questions if ``keyboard-interactive`` follows; None asks for the password.
        step: for identity alone.
    """

    username: str
    done: str
    remaining: tuple[str, ...]
    challenge: Challenge | None = None
    step: object = field(default=None, repr=False, compare=False)


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

    async def challenge(self, peer: Peer, username: str, *, after: PartialLogin | None = None) -> Challenge:
        """The questions that ``keyboard-interactive`` begins with, or goes on with after a step.

        They do not depend on there being such a user.
        """
        ...

    async def admits(self, protocol: str, address: str) -> bool:
        """True if a new connection may go on; doors ask before they say anything to it.

        Args:
            protocol: family of the door: SSH, FTP, DAV or HTTP.
            address: of the client, without port.
        """
        ...

    async def left(self, peer: Peer) -> None:
        """The connection has ended: what was asked there is over. Doors that show challenges call it."""
        ...

    async def key_is_known(self, peer: Peer, username: str, public_key: bytes) -> bool:
        """True if offering a signature by this key makes sense; used to answer key probes.

        Answers for an unknown user take the same path and time as for a known one.

        Raises:
            LoginRefused: it is a certificate that is refused whoever the user is; for the record.
        """
        ...


class Accounts(Protocol):
    """Accounts by name, stored or not: for whoever looks after those who are in."""

    async def find(self, username: str) -> Account | None:
        """The account as it is now with its usage, None if there is none.

        Raises:
            ProviderUnavailable: not now.
            Unsupported: somebody may know it who can only tell from a login.
        """
        ...
