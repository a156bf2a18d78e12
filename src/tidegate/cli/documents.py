# SPDX-License-Identifier: Apache-2.0
"""Between flags and the JSON documents of accounts, and from documents to what a person reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tidegate.cli.flags import listed
from tidegate.cli.terminal import read_json, read_text
from tidegate.errors import InvalidArgument

_TIMES: Final = frozenset(
    {
        "expiration_date",
        "last_quota_update",
        "last_login",
        "first_download",
        "first_upload",
        "last_password_change",
        "created_at",
        "updated_at",
        "last_use_at",
        "expires_at",
    }
)


def parse_home(text: str) -> str:
    """An absolute directory; ``~`` is the home of whoever runs this.

    Raises:
        InvalidArgument: relative or empty.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InvalidArgument(f"--home: {text[:80]!r} names no user of this host") from None
    if not path.is_absolute():
        raise InvalidArgument(f"--home: {text[:200]!r} is not an absolute directory such as /srv/sftp/alice")
    return str(path)


def parse_permissions(texts: list[str]) -> dict[str, list[str]]:
    """``/in:list,upload`` flags as a permission table.

    Raises:
        InvalidArgument: not of that form.
    """
    table: dict[str, list[str]] = {}
    for text in texts:
        directory, separator, names = text.rpartition(":")
        if not separator or not directory.startswith("/"):
            raise InvalidArgument(f"--permission: {text[:80]!r} is not of the form /dir:list,download")
        table[directory] = list(listed(names))
    return table


def parse_groups(texts: list[str]) -> list[dict[str, Any]]:
    """``NAME``, ``NAME:secondary`` flags as the groups of an account; empty texts are left out.

    Raises:
        InvalidArgument: an unknown kind.
    """
    from tidegate.model.group import MEMBERSHIP_NAMES

    numbers = {word: number for number, word in MEMBERSHIP_NAMES.items()}
    found = []
    for text in texts:
        name, colon, kind = text.rpartition(":")
        if not colon:
            name, kind = text, "primary"
        if kind not in numbers:
            raise InvalidArgument(f"--group: {kind[:40]!r} is not one of {', '.join(numbers)}")
        if name:
            found.append({"name": name, "type": numbers[kind]})
    return found


def parse_expiry(text: str) -> int:
    """Unix milliseconds of the end of a day or of a moment (UTC unless it says otherwise); 0 for never.

    Raises:
        InvalidArgument: no date.
    """
    if text.strip().lower() in ("never", "0", ""):
        return 0
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidArgument(
            f"--expires: {text[:40]!r} is not a date such as 2026-12-31, or never"
        ) from None
    if len(text.strip()) == len("2026-12-31"):
        moment = moment.replace(hour=23, minute=59, second=59)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = int(moment.timestamp() * 1000)
    if milliseconds <= 0:
        raise InvalidArgument(f"--expires: {text[:40]!r} is before 1970")
    return milliseconds


def read_keys(files: list[Path]) -> list[str]:
    """The public keys in files, as OpenSSH lines.

    Raises:
        InvalidArgument, BadRecord: a file cannot be read or holds something else.
    """
    if not files:
        return []
    from tidegate.accounts.keys import parse_public_keys

    return [key.line for file in files for key in parse_public_keys(read_text(file, "--public-key"))]


def read_document(path: Path | None) -> dict[str, Any]:
    """A JSON object from a file; empty without a file.

    Raises:
        InvalidArgument: it is no JSON object.
    """
    if path is None:
        return {}
    document = read_json(path, "--document")
    if not isinstance(document, dict):
        raise InvalidArgument(f"--document: {path}: expected one JSON object")
    # What `user show --json` adds for information is not a field to set.
    for name in ("has_password", "id", "created_at", "updated_at"):
        document.pop(name, None)
    return document


def used_text(account: dict[str, Any]) -> str:
    """The used part of an account's quota, for people."""
    quota = f"/{amount(account['quota_size'])}" if account["quota_size"] else ""
    numbers = ("quota_size", "quota_files", "used_quota_size", "used_quota_files")
    if not any(account[name] for name in numbers):
        return "-"  # accounts without a limit are not counted by default (track_quota 2); 0 would be a lie
    return f"{amount(account['used_quota_size'])}{quota} in {account['used_quota_files']} files"


def account_rows(account: dict[str, Any]) -> tuple[str, ...]:
    """One account's document as a row of a list."""
    return (
        account["username"],
        "enabled" if account["status"] == 1 else "disabled",
        account["home_dir"],
        ",".join(account["permissions"].get("/", ())),
        used_text(account),
        when(account["last_login"]) or "never",
    )


def detail_rows(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A document's fields that say something, one a row."""
    for name, value in document.items():
        if name == "filters" and isinstance(value, dict):
            yield from ((f"filters.{inner}", _shown(inner, item)) for inner, item in value.items() if item)
        elif name == "user_settings" and isinstance(value, dict):
            for inner, shown in detail_rows(value):
                if inner != "filters.ip_order":
                    yield f"user_settings.{inner}", shown
        elif name in ("status", "has_password") or _says_something(value):
            yield name, _shown(name, value)


def _says_something(value: Any) -> bool:
    """True if a value is more than zeros and emptiness."""
    if isinstance(value, dict):
        return any(map(_says_something, value.values()))
    return bool(value)


def _shown(name: str, value: Any) -> str:
    if name in _TIMES and isinstance(value, int):
        return when(value)
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def when(milliseconds: int) -> str:
    """A moment for people, empty for none."""
    if not milliseconds:
        return ""
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)


def amount(size_bytes: int) -> str:
    """Bytes for people."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
