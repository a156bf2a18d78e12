# SPDX-License-Identifier: Apache-2.0
"""Names of users, folders and administrators: what may be one, and how a typed one is compared.

A name is text in Unicode's composed form (NFC), compared as it is. SASLprep (RFC 4013) is not applied: it
knows no character that is younger than Unicode 3.2, and makes one name of several.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.errors import BadRecord

DEFAULT_NAMING_RULES: Final = DEFAULT_RULES.naming_rules

MAX_NAME_BYTES: Final = 255
"""Bytes of a user, folder, admin or key name: fits an indexed column and an LMDB key (511)."""

MAX_TYPED_CHARS: Final = 1024
"""Longest name of a login that is looked at, before trimming."""

UNREADABLE: Final = "\ufffd/"
"""Stands for a name of a login that is not UTF-8 or too long. Nothing can be called that."""

_UNRESERVED: Final = re.compile(r"[A-Za-z0-9\-._~]+")


def can_be_stored(name: str) -> bool:
    """True if a name could exist in any provider.

    Asked before a lookup, so that odd bytes from a login attempt mean "unknown" and not a database error.
    """
    if not 0 < len(name) <= MAX_NAME_BYTES or "\0" in name:
        return False
    try:
        return len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False


def fold_name(name: str, rules: Rules = DEFAULT_RULES) -> str:
    """The spelling in which a name is stored and looked up: NFC, and what `naming_rules` says."""
    if rules.naming_rules & 4:
        name = name.strip()
    if rules.naming_rules & 2:
        name = name.lower()
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def check_name(where: str, name: str, rules: Rules = DEFAULT_RULES) -> None:
    """Refuse a name that cannot name a user, folder or admin.

    Raises:
        BadRecord: empty, too long, with control characters or slashes, ``.`` or ``..``.
    """
    if not name:
        raise BadRecord(where, "is empty")
    if not can_be_stored(name):
        raise BadRecord(
            where, f"{name[:64]!r} is not a name: at most {MAX_NAME_BYTES} bytes of UTF-8, no NUL"
        )
    if name in (".", "..") or "/" in name or not name.isprintable():
        raise BadRecord(where, f"{name!r} is not a name: no '/', no control characters, not '.' or '..'")
    if name != name.strip():
        raise BadRecord(where, f"{name!r} begins or ends with a space")
    if not rules.naming_rules & 1 and not _UNRESERVED.fullmatch(name):
        raise BadRecord(where, f"{name!r} may hold only letters, digits and - . _ ~ (naming_rules)")


def typed_name(raw: bytes) -> str:
    """The name in a login request as text; `UNREADABLE` if it is none. Never raises."""
    if len(raw) > 4 * MAX_TYPED_CHARS:
        return UNREADABLE
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return UNREADABLE


def login_name(typed: str, naming_rules: int) -> str | None:
    """The name to look up, None if nobody can be called that.

    Every name that `check_name` accepts is found by what `fold_name` makes of it. Impossible ones are
    empty, too long, not Unicode, or hold control characters (which would also forge log lines). That they are
    told at once reveals nothing about who exists.
    """
    if len(typed) > MAX_TYPED_CHARS:
        return None
    name = fold_name(typed, Rules(naming_rules=naming_rules))
    return name if can_be_stored(name) and name.isprintable() else None
