# SPDX-License-Identifier: Apache-2.0
"""Taking secrets out of log lines, by the name of a field and by the look of a value.

Rules of this file: it only ever removes. A field whose name says that it holds a secret is masked whatever
it holds; any text is searched for things that look like secrets. Fields that hold paths are evidence and are
left alone but for private keys: no program puts a secret into a path, and a file may be called anything.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

MASK: Final = "********"

TEXT_LIMIT: Final = 16_384
"""characters of one value; the rest is cut off"""

DEPTH_LIMIT: Final = 8
"""levels of nested values"""

ITEMS_LIMIT: Final = 256
"""items of one nested value"""

_WORDS: Final = (
    r"pass(?:words?|wd|phrases?|codes?)|pwd|secret|token|credential|authori[sz]ation|cookie|private_?key|priv_?key|"
    r"api[_-]?key|connection_string|hash(?:es)?\b|totp|otp\b|recovery_code"
)

SECRET_NAMES: Final = re.compile(rf"{_WORDS}|^pass$|^pw$|signature", re.IGNORECASE)
"""Field names that are masked whatever they hold."""

PATH_NAMES: Final = frozenset(
    {"virtual_path", "virtual_target_path", "file_path", "target_path", "path", "full_path", "home_dir"}
)
"""Fields that hold paths."""

_PRIVATE_KEYS: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)"
    r"|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----.*?(?:---- END SSH2 ENCRYPTED PRIVATE KEY ----|\Z)"
    r"|PuTTY-User-Key-File-\d.*?(?:Private-MAC: [0-9a-f]+|\Z)"
    r"|\bb3BlbnNzaC1rZXktdjE[A-Za-z0-9+/=\s]+",
    re.DOTALL,
)

_LOOKS: Final = (
    # crypt, argon2, pbkdf2, bcrypt, yescrypt, apr1
    (
        re.compile(
            r"\$(?:argon2(?:id|i|d)|pbkdf2[\w-]*|2[abxy]|1|5|6|7|y|gy|apr1|scrypt|sha1|md5)\$[./A-Za-z0-9+=,$_:-]{4,}"
        ),
        MASK,
    ),
    (
        re.compile(r"\{(?:SSHA\d*|S?MD5|SHA\d*|CRYPT|PBKDF2[\w-]*)\}[./A-Za-z0-9+=$-]{4,}", re.IGNORECASE),
        MASK,
    ),
    # JSON web tokens
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?"), MASK),
    # HTTP credentials
    (re.compile(r"\b(Bearer|Basic|Digest|Negotiate)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(
            r"\b(X-SFTPGO-API-KEY|X-API-KEY|X-SFTPGO-OTP|Set-Cookie|Cookie)(\s*[:=]\s*)\S+", re.IGNORECASE
        ),
        rf"\1\2{MASK}",
    ),
    # user:password@host
    (
        re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,256}:)[^\s/@]{1,1024}@", re.IGNORECASE),
        rf"\1{MASK}@",
    ),
    # password=..., "password": "...", 'secret': '...', Credential(secret='...')
    (
        re.compile(
            rf"""((?:{_WORDS})\w{{0,40}}["']?\s{{0,4}}(?:=>|[=:])\s{{0,4}})"""
            r"""(b?"(?:[^"\\]|\\.)*"?|b?'(?:[^'\\]|\\.)*'?|[\[({][^\[\](){}]*[\])}]?|[^\s,;&)}\]]+)""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
)


@lru_cache(1024)
def is_secret_name(name: str) -> bool:
    """True if a field of this name is masked whatever it holds."""
    return SECRET_NAMES.search(name) is not None


def text(value: str) -> str:
    """A text without what looks like a secret; the very same object if there was nothing to take out."""
    if len(value) > TEXT_LIMIT:
        value = value[:TEXT_LIMIT] + "..."
    value = _without_private_keys(value)
    for pattern, replacement in _LOOKS:
        if pattern.search(value) is not None:  # `sub` reads the replacement first, which costs as much
            value = pattern.sub(replacement, value)
    return value


def path(value: str) -> str:
    """A path without private keys."""
    return _without_private_keys(value if len(value) <= TEXT_LIMIT else value[:TEXT_LIMIT])


def _without_private_keys(value: str) -> str:
    if "KEY" in value or "Key-File" in value or "b3BlbnNzaC1rZXk" in value:
        return _PRIVATE_KEYS.sub(MASK, value)
    return value


def fields(line: dict[str, Any]) -> dict[str, Any]:
    """A line's fields without secrets; nothing but plain JSON values comes out."""
    return {str(name): _clean(str(name), value, 0) for name, value in line.items()}


def _clean(name: str, value: Any, depth: int) -> Any:
    if name and is_secret_name(name) and not isinstance(value, bool) and value not in (None, "", 0, -1):
        return MASK
    if isinstance(value, str):
        if name in PATH_NAMES:
            return path(value)
        return text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= DEPTH_LIMIT:
        return "..."
    if isinstance(value, dict):
        return {
            str(key): _clean(str(key), inner, depth + 1) for key, inner in list(value.items())[:ITEMS_LIMIT]
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", inner, depth + 1) for inner in list(value)[:ITEMS_LIMIT]]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    return text(repr(value))
