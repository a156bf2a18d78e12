# SPDX-License-Identifier: Apache-2.0
"""Somebody who has proved who they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.model.account import Account


@dataclass(frozen=True, slots=True)
class Principal:
    """An account that has logged in, and how.

    Attributes:
        account: the account as it was when the login was accepted; sessions keep this snapshot, live
            counters (quota, transfer allowance) are asked of the live usage.
        method: the login method that was accepted, for instance ``password`` or ``publickey+password``.
        login_ip: address the login came from.
        sftp_only: the certificate of the login forbids commands.
        asked: `time.monotonic` of just before the data provider was asked for the account; 0 if it was not.
    """

    account: Account
    method: str
    login_ip: str
    asked: float = field(default=0.0, compare=False)
    sftp_only: bool = False

    @property
    def username(self) -> str:
        """The account's name."""
        return self.account.username
