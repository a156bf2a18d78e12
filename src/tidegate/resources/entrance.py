# SPDX-License-Identifier: Apache-2.0
"""The questions of doors to the defence of the server, and the answers without one."""

from __future__ import annotations

from typing import Protocol

from tidegate.model.refusal import Refusal


class Entrance(Protocol):
    """Asked by every door about each client; `tidegate.defence.pipeline.Defence` is the one of servers."""

    def check(self, address: str, protocol: str) -> Refusal | None:
        """Refuse by lists and bans; takes no time and has no effect but on bans, which grow by each try.

        Args:
            address: of the client.
            protocol: ``SSH``, ``FTP``, ``DAV`` or ``HTTP``.
        """
        ...

    async def wait(self, address: str, protocol: str) -> Refusal | None:
        """Refuse by slower checks and rate limits, which may make the client wait."""
        ...

    def exceeded(self, address: str, protocol: str) -> None:
        """An address came to a limit of its own, such as that of its connections."""
        ...

    def refused(self, address: str, protocol: str, refusal: Refusal) -> None:
        """A request was answered with a refusal; refused connections are put on record by their doors."""
        ...


class OpenEntrance:
    """Lets everybody in."""

    def check(self, address: str, protocol: str) -> Refusal | None:
        """Refuse nobody."""
        del address, protocol
        return None

    async def wait(self, address: str, protocol: str) -> Refusal | None:
        """Refuse nobody."""
        del address, protocol
        return None

    def exceeded(self, address: str, protocol: str) -> None:
        """Nothing."""
        del address, protocol

    def refused(self, address: str, protocol: str, refusal: Refusal) -> None:
        """Nothing."""
        del address, protocol, refusal
