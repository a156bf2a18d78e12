# SPDX-License-Identifier: Apache-2.0
"""Documents of changed records with the sections that SFTPGo's always have, empty ones included.

A program that reads ``filesystem.s3config`` of a user on local disk finds an object there, and no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tidegate.model.secret_names import STORAGE_SECRETS

Document = dict[str, Any]

_HOOKS: Final = ("external_auth_disabled", "pre_login_disabled", "check_password_disabled")


def completed(kind: str, document: Mapping[str, Any]) -> Document:
    """The document of a record with the sections that it lacks; nothing that it has is changed.

    Args:
        kind: of the record, see `Facts.object_type`.
        document: without secrets.
    """
    found = dict(document)
    match kind:
        case "user":
            found["filters"] = _with(
                found.get("filters"), hooks=dict.fromkeys(_HOOKS, False), totp_config={"secret": {}}
            )
            found["filesystem"] = _filesystem(found.get("filesystem"), secrets=False)
        case "folder":
            found["filesystem"] = _filesystem(found.get("filesystem"), secrets=True)
        case "group":
            settings = _with(found.get("user_settings"))
            settings["filters"] = _with(settings.get("filters"), hooks=dict.fromkeys(_HOOKS, False))
            settings["filesystem"] = _filesystem(settings.get("filesystem"), secrets=False)
            found["user_settings"] = settings
        case "admin":
            found["filters"] = _with(found.get("filters"), totp_config={}, preferences={})
        case _:
            pass
    return found


def _with(given: object, **defaults: Any) -> Document:
    """An object with defaults for what it lacks, in objects within it too."""
    found: Document = dict(given) if isinstance(given, Mapping) else {}
    for name, value in defaults.items():
        if isinstance(value, Mapping):
            found[name] = _with(found.get(name), **value)
        else:
            found.setdefault(name, value)
    return found


def _filesystem(given: object, *, secrets: bool) -> Document:
    """A ``filesystem`` with all sections; with `secrets` those that are not there are empty objects."""
    sections: Document = {
        name: {one: {} for one in names} if secrets else {} for name, names in STORAGE_SECRETS.items()
    }
    return _with(given, provider=0, **sections)
