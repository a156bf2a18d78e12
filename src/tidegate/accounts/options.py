# SPDX-License-Identifier: Apache-2.0
"""Settings that the administration works by; a reload of the configuration replaces them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tidegate.accounts.actor import Actor
from tidegate.accounts.directories import Giver
from tidegate.accounts.homes import Homes
from tidegate.accounts.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministrationOptions:
    """Settings that the administration works by.

    Attributes:
        rules: what a valid record is, `users_base_dir`, and the configuration directory, which must be there.
        user_bits: entropy that new passwords of users need; an account may ask for more.
        admin_bits: likewise of administrators.
        endpoints: hosts of storage that administrators without all permissions may give.
        commands: programs that event actions may run; None does not ask.
        outside: the reason why a directory of the host cannot be reached by the server, None if it can.
        homes: storage in which new accounts that name no home get one; None leaves that to the rules.
    """

    rules: Rules
    user_bits: float = 0.0
    admin_bits: float = 0.0
    endpoints: tuple[str, ...] = ()
    homes: Homes | None = None
    outside: Callable[[str], str | None] | None = None
    commands: tuple[str, ...] | None = None

    def giver(self, by: Actor) -> Giver:
        """Somebody as one who gives directories of the host to accounts and folders."""
        return Giver(
            self.rules.users_base_dir,
            Path(self.rules.server_dir),
            unlimited=by.unlimited,
            storages=self.rules.storages,
            endpoints=self.endpoints,
            given=None if self.homes is None else self.homes.of,
            outside=self.outside,
        )
