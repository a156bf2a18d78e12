# SPDX-License-Identifier: Apache-2.0
"""Checks of single values: texts, paths, networks, numbers, words of a set."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Final, TypeVar

from tidegate.errors import BadRecord

MAX_PATH_BYTES: Final = 4096
MAX_TEXT_CHARS: Final = 65_536
"""Characters of a free text such as a description."""
MAX_ITEMS: Final = 10_000
"""Entries of any list in a record."""
MAX_INTEGER: Final = 2**63 - 1
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
Item = TypeVar("Item")


def check_text(where: str, text: str) -> None:
    """Refuse text that some database could not keep.

    Raises:
        BadRecord: NUL, a lone surrogate, or longer than `MAX_TEXT_CHARS`.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise BadRecord(where, f"is longer than {MAX_TEXT_CHARS} characters")
    if "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
        raise BadRecord(where, "holds a NUL or an unpaired surrogate")


def check_path(where: str, path: str) -> str:
    """An absolute path without empty, ``.`` or ``..`` components and without a trailing slash.

    Raises:
        BadRecord: relative, with ``..`` or control characters, or too long.
    """
    if path == "/":
        return path
    check_text(where, path)
    if not path.startswith("/"):
        raise BadRecord(where, f"{path[:200]!r} is not an absolute path")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise BadRecord(where, f"is longer than {MAX_PATH_BYTES} bytes")
    if _CONTROL.search(path):
        raise BadRecord(where, f"{path[:200]!r} holds a control character")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadRecord(where, f"{path[:200]!r} holds '..'")
    return "/" + "/".join(parts)


def check_networks(where: str, networks: Sequence[str]) -> tuple[str, ...]:
    """Check addresses in CIDR form; a plain address becomes the network of itself.

    Raises:
        BadRecord: not an address or network.
    """
    checked = []
    for index, text in enumerate(bounded(where, networks)):
        try:
            checked.append(_network(text))
        except ValueError:
            raise BadRecord(
                f"{where}[{index}]", f"{text[:100]!r} is not a network such as 10.0.0.0/8"
            ) from None
    return tuple(checked)


@lru_cache(maxsize=1024)
def _network(text: str) -> str:
    """An address or network as it is stored; accounts share them.

    Raises:
        ValueError: it is neither.
    """
    if "%" in text:
        raise ValueError("zone")
    network = ipaddress.ip_network(text, strict=False)
    return text if "/" in text else str(network)


def bounded(where: str, items: Sequence[Item]) -> Sequence[Item]:
    """The items, if there are at most `MAX_ITEMS`.

    Raises:
        BadRecord: there are more.
    """
    if len(items) > MAX_ITEMS:
        raise BadRecord(where, f"has more than {MAX_ITEMS} entries")
    return items


def check_known(where: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Refuse a word that is not among the known ones.

    Raises:
        BadRecord: names the first.
    """
    if not names:
        return
    known = frozenset(known)
    for index, name in enumerate(bounded(where, names)):
        if name not in known:
            raise BadRecord(f"{where}[{index}]", f"{name[:64]!r} is not one of {', '.join(sorted(known))}")


def check_some_left(where: str, denied: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a list of denials with an unknown word, or with all of the known ones.

    Raises:
        BadRecord: says which.
    """
    check_known(where, denied, known)
    if denied and set(denied) >= set(known):
        raise BadRecord(where, "denies all of them: set status to 0 instead")


def check_flag(where: str, value: int, allowed: Sequence[int]) -> None:
    """Refuse a number that is not among those allowed.

    Raises:
        BadRecord: it is not.
    """
    if value not in allowed:
        raise BadRecord(where, f"{value} is not one of {', '.join(map(str, allowed))}")


def check_one_of(where: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not among those allowed.

    Raises:
        BadRecord: it is not.
    """
    if value not in allowed:
        raise BadRecord(where, f"{value[:20]!r} is not one of {', '.join(allowed)}")


def check_integers(record: object, where: str, least: Mapping[str, int] | None = None) -> None:
    """Every integer of a record is 0 or more and fits a database column."""
    names, take = _integer_fields(type(record))
    values = take(record)
    if not values or (min(values) >= 0 and max(values) <= MAX_INTEGER):
        return
    for name, value in zip(names, values, strict=True):
        if not (least or {}).get(name, 0) <= value <= MAX_INTEGER:
            raise BadRecord(f"{where}{name}", f"{value} is out of range")


def checked_integers(record: Item, where: str) -> Item:
    """The record, if `check_integers` has nothing against it.

    Raises:
        BadRecord: as there.
    """
    check_integers(record, where)
    return record


_INTEGERS: dict[type, tuple[tuple[str, ...], Callable[[object], tuple[int, ...]]]] = {}


def _integer_fields(record: type) -> tuple[tuple[str, ...], Callable[[object], tuple[int, ...]]]:
    """Names of a record's integers, and a getter for all of them at once."""
    known = _INTEGERS.get(record)
    if known is None:
        names = tuple(item.name for item in fields(record) if item.type == "int")
        known = _INTEGERS[record] = names, _getter(names)
    return known


def _getter(names: Sequence[str]) -> Callable[[object], tuple[int, ...]]:
    if len(names) < 2:  # attrgetter of one name gives no tuple
        return lambda record: tuple(getattr(record, name) for name in names)
    take: Callable[[object], tuple[int, ...]] = attrgetter(*names)
    return take
