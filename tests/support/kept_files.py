# SPDX-License-Identifier: Apache-2.0
"""Files in a quarantine's directory, as an inspection leaves them there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tidegate.inspection.quarantine import Item

ID = "20261130T021503-012345670000"
"""Of the file that has the number 0."""


def keep(directory: Path, path: str, content: bytes, *, username: str, number: int = 0) -> Item:
    """Put a file into quarantine; `number` makes its id another one."""
    name = f"{ID[:-4]}{number:04x}"
    item = Item(
        name, 1_796_004_903.0 + number, username, path, "SFTP", "192.0.2.7", len(content),
        "inspector[clamd]", "Win.Test.EICAR_HDB-1",
    )  # fmt: skip
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(asdict(item)))
    (directory / f"{name}.content").write_bytes(content)
    return item
