# SPDX-License-Identifier: Apache-2.0
"""Credentials of Google Cloud Storage that SFTPGo 0.9.6 to 2.2 kept in files beside its database.

The file of a user is ``NAME_gcs_credentials.json`` in its `credentials_path`, that of a folder lies in
``folders`` there. It holds the JSON that Google gave, or, in later releases, the document of a secret with
that JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tidegate.model.storage import NUMBERED

GCS: Final = NUMBERED.index("gcs")
MAX_BYTES: Final = 256 * 1024
"""Longest file that is read."""
_SUFFIX: Final = "_gcs_credentials.json"
_PLACES: Final = {"users": "", "folders": "folders"}


def adopt_credentials(section: str, name: str, document: dict[str, Any], directory: str) -> str:
    """Give a record the credentials of its file, in place, if it names none.

    Args:
        section: ``users`` or ``folders``; others have no storage.
        name: of the record, as it is written there.
        document: the record.
        directory: `credentials_path`; empty for none.

    Returns:
        the file that was read; empty if there is none, or none that can be used.
    """
    config = _without_credentials(document)
    if config is None or not directory or section not in _PLACES or "/" in name or "\0" in name:
        return ""
    path = Path(directory, _PLACES[section], f"{name}{_SUFFIX}")
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode()
        found = json.loads(text)
    except (OSError, ValueError):
        return ""
    if not isinstance(found, dict):
        return ""
    config["credentials"] = found if "status" in found else {"status": "Plain", "payload": text}
    return str(path)


def _without_credentials(document: dict[str, Any]) -> dict[str, Any] | None:
    """The section of a record whose bucket has no credentials; None for any other."""
    filesystem = document.get("filesystem")
    if not isinstance(filesystem, dict) or filesystem.get("provider") != GCS:
        return None
    config = filesystem.get("gcsconfig")
    if not isinstance(config, dict) or config.get("automatic_credentials"):
        return None
    given = config.get("credentials")
    if isinstance(given, dict):
        given = given.get("payload")
    return None if given else config
