# SPDX-License-Identifier: Apache-2.0
"""Placeholders in the texts of actions: ``{{.Name}}``, or ``{{Name}}`` as before SFTPGo 2.6.

A text is read once, so what a placeholder stands for is never read for placeholders again. One that has no
value stays as it is typed, as in SFTPGo; `KNOWN` has all names, in the order of the reference.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal
from urllib.parse import quote, quote_plus

from tidegate.model.rule import Trigger
from tidegate.rules.facts import FAILED, OK, QUOTA, Facts

Escape = Literal["", "json", "html", "url"]
"""The text that values are escaped for."""

_PLACE: Final = re.compile(r"\{\{\.?([A-Za-z]{1,64})\}\}")
_RAW: Final = frozenset(("ObjectData", "ObjectDataString", "Metadata", "MetadataString"))
"""JSON values, and those that are escaped in any text: they are written as they are into a JSON text."""
_STATUS: Final = {OK: "OK", FAILED: "KO", QUOTA: "Quota exceeded"}


def _date(facts: Facts) -> time.struct_time:
    return time.gmtime(facts.at // 1_000_000_000)


def _date_time(facts: Facts) -> str:
    milliseconds = facts.at // 1_000_000 % 1000
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', _date(facts))}.{milliseconds:03}"


def _error(facts: Facts) -> str:
    if not facts.error or facts.trigger is not Trigger.FILE or facts.error.startswith(('"', "action ")):
        return facts.error
    return f'"{facts.event}" failed: {facts.error}'


def _base(facts: Facts) -> str:
    if facts.trigger is Trigger.PROVIDER or not facts.virtual_path:
        return facts.object_name
    return posixpath.basename(facts.virtual_path)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _if(text: str, value: Callable[[str], str]) -> str | None:
    return value(text) if text else None


VALUES: Final[dict[str, tuple[str, Callable[[Facts], str | None]]]] = {
    "Name": ("account, or administrator of a change of records", lambda facts: facts.name),
    "Event": ("name of the event", lambda facts: facts.event),
    "Status": ("1 good, 2 failed, 3 quota exceeded", lambda facts: str(facts.status)),
    "StatusString": ("OK, KO or Quota exceeded", lambda facts: _STATUS.get(facts.status, "KO")),
    "ErrorString": ("why it failed, or which action did", _error),
    "VirtualPath": ("path as the client sees it", lambda facts: facts.virtual_path),
    "EscapedVirtualPath": ("the same, escaped for a query", lambda facts: quote_plus(facts.virtual_path)),
    "VirtualDirPath": (
        "its directory", lambda facts: _if(facts.virtual_path, posixpath.dirname)
    ),
    "FsPath": ("place on the host, or key", lambda facts: facts.fs_path),
    "VirtualTargetPath": ("new path of a rename or copy", lambda facts: facts.virtual_target_path),
    "VirtualTargetDirPath": (
        "its directory", lambda facts: _if(facts.virtual_target_path, posixpath.dirname)
    ),
    "TargetName": ("its last name", lambda facts: _if(facts.virtual_target_path, posixpath.basename)),
    "FsTargetPath": ("its place on the host, or key", lambda facts: facts.fs_target_path),
    "ObjectName": ("last name of the path, or name of the changed record", _base),
    "ObjectBaseName": (
        "the same without its extension", lambda facts: posixpath.splitext(_base(facts))[0]
    ),
    "ObjectType": ("kind of the changed record", lambda facts: facts.object_type),
    "ObjectData": ("the changed record as JSON", lambda facts: facts.object_data or "{}"),
    "ObjectDataString": (
        "the same, escaped to stand in a text of JSON", lambda facts: _escaped(facts.object_data)
    ),
    "Ext": ("extension with its dot", lambda facts: posixpath.splitext(_base(facts))[1]),
    "FileSize": ("bytes", lambda facts: str(facts.file_size)),
    "Elapsed": ("milliseconds", lambda facts: str(facts.elapsed)),
    "Protocol": ("SFTP, SCP, SSH, FTP, DAV, HTTP", lambda facts: facts.protocol),
    "IP": ("address of the client", lambda facts: facts.ip),
    "Role": ("role of the account", lambda facts: facts.role),
    "Email": ("e-mail address of the account", lambda facts: facts.email),
    "Timestamp": ("nanoseconds since 1970", lambda facts: str(facts.at)),
    "DateTime": ("UTC, with milliseconds", _date_time),
    "Year": ("UTC", lambda facts: time.strftime("%Y", _date(facts))),
    "Month": ("01 to 12, UTC", lambda facts: time.strftime("%m", _date(facts))),
    "Day": ("01 to 31, UTC", lambda facts: time.strftime("%d", _date(facts))),
    "Hour": ("00 to 23, UTC", lambda facts: time.strftime("%H", _date(facts))),
    "Minute": ("00 to 59, UTC", lambda facts: time.strftime("%M", _date(facts))),
    "UID": ("id of the event: the same at each try", lambda facts: facts.id),
    "SSHCommand": ("name of the SSH command (ours)", lambda facts: facts.ssh_command),
    "SessionID": ("id of the connection (ours)", lambda facts: facts.session_id),
    "Metadata": ("metadata of the object as JSON", lambda _: "{}"),
    "MetadataString": ("the same, escaped to stand in a text of JSON", lambda _: ""),
}  # fmt: skip
"""Names of placeholders, each with its meaning and its value; None leaves the placeholder as it is typed."""


DIGEST: Final = {
    "Count": "messages that a digest holds (ours)",
    "RuleName": "rule that has gathered them (ours)",
}
"""Placeholders of titles of digests, beside those of the first event that a digest holds."""


def render(text: str, facts: Facts, escape: Escape = "", more: Mapping[str, str] | None = None) -> str:
    """A text with its placeholders filled in.

    Args:
        text: the text.
        facts: of the event.
        escape: see `Escape`.
        more: values of placeholders that no event has (`DIGEST`), by name.
    """
    if "{{" not in text:
        return text

    def value(found: re.Match[str]) -> str:
        known = VALUES.get(found[1])
        filled = (more or {}).get(found[1]) if known is None else known[1](facts)
        if filled is None:
            return found[0]
        if escape == "json" and found[1] not in _RAW:
            return _escaped(filled)
        if escape == "url":
            return quote(filled, safe="", errors="surrogateescape")
        return html.escape(filled) if escape == "html" else filled

    return _PLACE.sub(value, text)


def unknown_placeholders(text: str) -> list[str]:
    """Names in a text that no placeholder has."""
    return [name for name in _PLACE.findall(text) if name not in VALUES and not name.startswith("IDPField")]
