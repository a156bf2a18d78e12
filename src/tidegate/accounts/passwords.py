# SPDX-License-Identifier: Apache-2.0
"""New passwords: strong enough, hashed off the loop, never stored or repeated as text."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from tidegate.accounts.actor import Actor
from tidegate.accounts.needs import HashesPasswords
from tidegate.errors import BadRecord, InvalidArgument
from tidegate.identity.passwords import is_hashed
from tidegate.policy.strength import weakness

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else
_GROUPS = 4


def generate_password() -> str:
    """A password that is safe and can be typed: four groups of five letters and digits, 99 random bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(_GROUPS))


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A new password of one record; hashed at most once, however often a change is tried.

    Attributes:
        by: who gives it.
        typed: a person typed it, so that it is a password even if it looks like a hash.
        label: the field that errors name.
    """

    hashes: HashesPasswords
    by: Actor
    typed: bool = False
    label: str = "password"
    _made: dict[str, str] = field(default_factory=dict)

    async def stored_form(self, text: str, least_bits: float) -> str:
        """The hash to store; a text that is a hash already stays as it is, unless it was typed.

        Args:
            text: the password.
            least_bits: strength that it needs.

        Raises:
            BadRecord: too weak, or impossible.
            LoginRefused: too many hashes are waiting (reason ``busy``).
        """
        if not self.typed and is_hashed(text):
            return text
        if (weak := weakness(text, least_bits)) is not None:
            raise BadRecord(self.label, weak)
        if text not in self._made:
            try:
                self._made[text] = await self.hashes.hash(text, source=self.by.ip)
            except InvalidArgument as error:
                raise BadRecord(self.label, error.text) from None
        return self._made[text]
