# SPDX-License-Identifier: Apache-2.0
"""``tidegate explain --connect``: may an address connect, and which rule decides?"""

from __future__ import annotations

import sys
from typing import Final

import typer

from tidegate.cli.terminal import say_json
from tidegate.cli.where import Where
from tidegate.defence.explaining import render_text
from tidegate.model.address import plain_address
from tidegate.policy import mistakes

FAMILIES: Final = {
    "SSH": "SSH", "SFTP": "SSH", "SCP": "SSH", "FTP": "FTP", "FTPS": "FTP", "DAV": "DAV", "DAVS": "DAV",
    "HTTP": "HTTP",
}  # fmt: skip
"""The family of a protocol, as lists and limiters know it."""


async def explained(address: str, protocol: str, where: Where, *, as_json: bool) -> bool:
    """Print the answer; True if the address may connect.

    Raises:
        BadParameter: the address or the protocol is none.
    """
    wrong = mistakes.address(address)
    if wrong is not None:
        raise typer.BadParameter(wrong, param_hint="--connect")
    family = FAMILIES.get(protocol.upper())
    if family is None:
        known = ", ".join(FAMILIES)
        raise typer.BadParameter(
            f"{protocol!r} is no protocol; expected one of {known}", param_hint="--protocol"
        )
    async with where.opened() as target:
        document = await target.explain_connect(plain_address(address), family)
    if as_json:
        say_json(document)
    else:
        sys.stdout.write(render_text(document))
    return bool(document["allowed"])
