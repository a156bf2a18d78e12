# SPDX-License-Identifier: Apache-2.0
"""The contract of checks that a client passes before a server talks to it."""

from __future__ import annotations

from typing import Protocol

from tidegate.model.refusal import Refusal

__all__ = ["AdmissionCheck", "Refusal"]


class AdmissionCheck(Protocol):
    """Says of an address if it may come. Life: constructed, `open`, `check`..., `close`.

    It is asked after lists and bans, while the connection already counts against the limits of connections:
    so many answers are under way at most. Answers should come from memory wherever they can; one that has not
    come after `defence.pipeline.CHECK_SECONDS` counts as "may come".

    A check may have two more members, which ``tidegate explain --connect`` uses: ``name``, a word for people
    instead of the name of its class, and ``describe(address: str) -> str``, one sentence of why it lets an
    address pass, from memory.
    """

    async def open(self) -> None:
        """Get ready.

        Raises:
            ConfigError: it cannot be used as configured.
        """
        ...

    async def check(self, address: str, protocol: str) -> Refusal | None:
        """Refuse an address, or None.

        Args:
            address: of the client, without brackets, zone and port.
            protocol: ``SSH``, ``FTP``, ``DAV`` or ``HTTP``.
        """
        ...

    async def close(self) -> None:
        """Release everything."""
        ...
