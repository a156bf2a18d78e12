# SPDX-License-Identifier: Apache-2.0
"""Events as JSON documents, for what keeps or sends them: names of kinds, and both ways between.

A document has ``event`` (the name), ``type`` (the class), ``at``, ``origin`` and the fields of the kind.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

from tidegate.events import kinds
from tidegate.model.action import Action
from tidegate.model.entry import Attrs
from tidegate.model.origin import Origin

_NAMES: Final[dict[type[kinds.Event], str]] = {
    kinds.LoggedIn: "login",
    kinds.Connected: "connected",
    kinds.Disconnected: "disconnected",
    kinds.ConnectionRefused: "connection_refused",
    kinds.Banned: "banned",
    kinds.LoginFailed: "login_failed",
    kinds.Refused: "refused",
    kinds.Quarantined: "quarantined",
    kinds.Failed: "failed",
    kinds.QuotaWarning: "quota_warning",
    kinds.Administered: "administration",
}

_compact: Final = json.JSONEncoder(separators=(",", ":")).encode
_NESTED: Final[dict[str, type[Origin | Attrs]]] = {"origin": Origin, "attrs": Attrs}
"""Fields with fields of their own; `dataclasses.asdict` copies each value, which costs five times as much."""

NAMES: Final = frozenset(
    {action.value for action in Action} | {"upload_failed", "download_failed", *_NAMES.values()}
)
"""Names of all events."""

KEPT: Final = ("upload", "download", "remove", "rmdir", "rename", "login", "administration")
"""The events that a kept sink gets if the configuration names nothing."""


def name_of(event: kinds.Event) -> str:
    """The name of an event in the configuration and in documents: its action, or what happened."""
    if isinstance(event, kinds.Transferred):
        return event.action.value if event.status == "ok" else f"{event.action.value}_failed"
    if isinstance(event, kinds.Operated):
        return event.action.value
    return _NAMES.get(type(event), type(event).__name__.lower())


def document_of(event: kinds.Event) -> dict[str, Any]:
    """An event as values of JSON."""
    if isinstance(event, kinds.Transferred):
        fields: dict[str, Any] = event._asdict()
    else:
        assert dataclasses.is_dataclass(event)
        fields = {item.name: getattr(event, item.name) for item in dataclasses.fields(event)}
    for name, cls in _NESTED.items():
        if name in fields:
            fields[name] = {key: getattr(fields[name], key) for key in cls.__slots__}
    return {"event": name_of(event), "type": type(event).__name__, **fields}


def encode(event: kinds.Event) -> str:
    """A document as text: ASCII, so that names of any bytes pass every database and file."""
    return _compact(document_of(event))


def decode(text: str) -> tuple[kinds.Event, dict[str, Any]]:
    """The event of a text that `encode` made, here or in another version, and its document.

    Raises:
        ValueError, TypeError, KeyError: it is no event that this version knows.
    """
    document: dict[str, Any] = json.loads(text)
    cls = _classes().get(document.get("type", ""))
    if cls is None:
        raise ValueError(f"unknown kind of event {document.get('type')!r}")
    names = getattr(cls, "_fields", None) or [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value := document[name], list) else value
        for name in names
        if name in document
    }
    fields["origin"] = Origin(**fields.get("origin", {}))
    if cls in (kinds.Transferred, kinds.Operated):
        fields["action"] = Action(fields["action"])
    if "attrs" in fields:
        fields["attrs"] = Attrs(**fields["attrs"])
    return cls(**fields), document


def _classes() -> dict[str, type[kinds.Event]]:
    found: dict[str, type[kinds.Event]] = {}
    left = [kinds.Event]
    while left:
        for cls in left.pop().__subclasses__():
            left.append(cls)
            found[cls.__name__] = cls
    return found
