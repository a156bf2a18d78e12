# SPDX-License-Identifier: Apache-2.0
"""Documents of event actions, in the shape of SFTPGo's dumps and REST API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from tidegate.errors import BadRecord
from tidegate.model.rule import ACTION_SECRETS, ActionType, EventAction
from tidegate.model.sealing import is_redacted
from tidegate.rules.action_options import OPTIONS
from tidegate.rules.reading import Document, Reader, record_name

_SECTIONS: Final = (
    "http_config", "cmd_config", "email_config", "retention_config", "fs_config", "pwd_expiration_config",
    "user_inactivity_config", "idp_config",
)  # fmt: skip
"""Sections that every answer has, empty ones included."""


def decode_action(
    document: object,
    *,
    base: EventAction | None = None,
    where: str = "",
    enabled: Sequence[str] | None = None,
) -> EventAction:
    """Read and check an event action.

    Args:
        document: the JSON value.
        base: the action it replaces: secrets that the document does not give stay.
        where: prefix of places in errors.
        enabled: programs that commands may run; None does not ask.

    Raises:
        BadRecord: with the place of the first mistake.
    """
    read = Reader(document, where)
    name = record_name(read, base.name if base is not None else "")
    number = read.value.get("type", base.type if base is not None else 0)
    try:
        kind = ActionType(number)
    except ValueError:
        raise read.bad("type", f"{number!r} is no type of action") from None
    options = read.section("options")
    given = OPTIONS[kind](options)
    if base is not None:
        given = _with_kept_secrets(given, options, base)
    _check_secrets(given, where)
    if kind is ActionType.COMMAND and enabled is not None and given["cmd_config"]["cmd"] not in enabled:
        raise read.bad(
            "options.cmd_config.cmd",
            f"{given['cmd_config']['cmd']!r} is not in common.event_manager.enabled_commands",
        )
    return EventAction(
        name=name,
        type=kind,
        description=read.text("description", limit=4096, default=base.description if base else ""),
        options=given,
        id=base.id if base is not None else read.number("id"),
        created_at=base.created_at if base is not None else 0,
        updated_at=base.updated_at if base is not None else 0,
    )


def encode_action(action: EventAction, *, confidential: bool, rules: Sequence[str] | None = None) -> Document:
    """The document of an action; secrets only if `confidential`, else marked as Redacted."""
    options: Document = {section: {} for section in _SECTIONS}
    for section, values in action.options.items():
        options[section] = dict(values) if isinstance(values, Mapping) else values
    options["fs_config"] = {**options["fs_config"], "compress": options["fs_config"].get("compress", {})}
    if not confidential:
        for section, key in ACTION_SECRETS:
            if options.get(section, {}).get(key):
                options[section][key] = {"status": "Redacted"}
    document: Document = {
        "id": action.id,
        "name": action.name,
        "description": action.description,
        "type": int(action.type),
        "options": options,
    }
    if not action.description:
        del document["description"]
    if rules:
        document["rules"] = list(rules)
    return document


def _check_secrets(options: Mapping[str, Any], where: str) -> None:
    for section, key in ACTION_SECRETS:
        if is_redacted((options.get(section) or {}).get(key)):
            what = "is Redacted, and no secret is stored for where it would be sent"
            raise BadRecord(f"{where}options.{section}.{key}", what)


def _with_kept_secrets(given: Document, options: Reader, base: EventAction) -> Document:
    for section, key in ACTION_SECRETS:
        stored = (base.options.get(section) or {}).get(key)
        if not stored or section not in given:
            continue
        value = (options.value.get(section) or {}).get(key)
        same = _destination(given, section) == _destination(base.options, section)
        if (value is None or is_redacted(value)) and same:
            given[section][key] = stored
    return given


def _destination(options: Mapping[str, Any], section: str) -> tuple[str, str, bool]:
    """Scheme and host that a section's secret is sent to, and True if anybody may stand in for the host.

    Kept secrets never go another way: not to another host, not in the clear, not to whoever is between.
    """
    config = options.get(section) or {}
    endpoint, anybody = config.get("endpoint", ""), config.get("skip_tls_verify") is True
    try:
        parts = urlsplit(endpoint if isinstance(endpoint, str) else "")
    except ValueError:
        return "", "", anybody
    return parts.scheme, parts.netloc, anybody
