# SPDX-License-Identifier: Apache-2.0
"""Checks of options that several kinds of object storage have; each raises ValueError with their name."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

MIB: Final = 1024 * 1024
CONCURRENCY: Final = range(1, 101)
"""Parts of one transfer under way at the same time."""
MAX_TIME: Final = 86_400
"""`upload_part_max_time` and `download_part_max_time` at most; seconds."""


def check(good: bool, name: str, value: str, expected: str) -> None:
    """Refuse a value that is not good."""
    if not good:
        raise ValueError(f"{name} is {value!r}; expected {expected}")


def matches(pattern: re.Pattern[str], name: str, value: str, expected: str) -> None:
    """Refuse a value that is neither empty nor of this form."""
    check(not value or bool(pattern.fullmatch(value)), name, value, expected)


def one_of(values: frozenset[str], name: str, value: str) -> None:
    """Refuse a value that is neither empty nor one of these."""
    check(not value or value in values, name, value, f"one of {', '.join(sorted(values))}")


def within(bounds: range, name: str, value: int, unit: str) -> None:
    """Refuse a number that is neither 0 nor within these bounds."""
    if value and value not in bounds:
        raise ValueError(f"{name} is {value}; expected 0 or {bounds.start} to {bounds.stop - 1}{unit}")


def check_endpoint(endpoint: str) -> None:
    """Check the option ``endpoint``: empty, or the URL of a host."""
    if not endpoint:
        return
    if "@" in endpoint:  # it may hold a secret, so it is not repeated
        raise ValueError("endpoint holds a user; expected https://host:port")
    parts = urlsplit(endpoint)
    good = parts.scheme in {"http", "https"} and parts.hostname and parts.path in {"", "/"}
    check(bool(good) and not (parts.query or parts.fragment), "endpoint", endpoint, "https://host:port")


def is_loopback(url: str) -> bool:
    """True for the URL of a server on this host, to which nobody is in between."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return False
    host = parts.hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check_prefix(prefix: str) -> None:
    """Check the option ``key_prefix``."""
    check(not prefix.startswith("/"), "key_prefix", prefix, "no / at its beginning")
    clean = all(part not in {".", ".."} for part in prefix.split("/"))
    check(clean and "\0" not in prefix, "key_prefix", prefix, "no . or .. as a name")


def prefix_of(prefix: str) -> str:
    """The option ``key_prefix``, empty or with ``/`` at its end."""
    return f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
