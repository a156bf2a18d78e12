# SPDX-License-Identifier: Apache-2.0
"""Section ``doors``: protocols that other packages speak."""

from __future__ import annotations

from typing import Any, Literal

from tidegate.config.schema.base import Section, key


class OtherDoor(Section):
    """One door of another package."""

    use: str = key(
        "", "Name of an installed door (entry point group `tidegate.doors`), or `package.module:name`."
    )
    name: str = key(
        "",
        "Its name in the log, in upper case, and in messages; empty takes the last part of `use`.",
        pattern=r"^([a-z][a-z0-9_]{0,15})?$",
        like="up to 16 small letters and digits, a letter first",
    )
    enabled: bool = key(True, "Start it.")
    counts_as: Literal["SSH", "FTP", "DAV", "HTTP"] = key(
        "FTP", "The protocol that rules on logins, such as `denied_protocols`, take it for."
    )
    options: dict[str, Any] = key(
        {}, "What the door is given; see its documentation. Secrets belong into files that an option names."
    )

    @property
    def called(self) -> str:
        """The name of the door."""
        return self.name or self.use.replace(":", ".").rpartition(".")[2].lower()


class DoorKeys(Section):
    """Protocols that other packages speak."""

    others: list[OtherDoor] = key([], "Doors of other packages, started in this order.")
