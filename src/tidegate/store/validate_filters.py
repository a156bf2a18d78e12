# SPDX-License-Identifier: Apache-2.0
"""Checks of the filters and permissions of an account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from tidegate.errors import BadRecord
from tidegate.model import (
    BandwidthLimit,
    FilePatterns,
    Filters,
    Permission,
    TallyLimits,
    TimeWindow,
    TransferLimit,
)
from tidegate.model.changes import changed
from tidegate.model.geography import GeoRules
from tidegate.policy import globs
from tidegate.policy.hours import parse_clock
from tidegate.policy.methods import LOGIN_METHODS
from tidegate.policy.presets import PRESETS
from tidegate.policy.renames import RENAME_ONTO
from tidegate.store.validate_values import (
    MAX_ITEMS,
    bounded,
    check_flag,
    check_integers,
    check_known,
    check_networks,
    check_one_of,
    check_path,
    check_some_left,
    checked_integers,
)

PERMISSIONS: Final = frozenset(str(name) for name in Permission)
PROTOCOLS: Final = ("SSH", "FTP", "DAV", "HTTP")
TWO_FACTOR: Final = ("SSH", "FTP", "HTTP")
LIMIT_TYPES: Final = ("soft", "hard")
PATTERN_ORDERS: Final = ("allowed", "denied")
PATTERN_DIRECTORIES: Final = ("denied", "all", "whole", "none")
IP_ORDERS: Final = ("denied", "allowed")
TLS_USERNAMES: Final = ("", "None", "CommonName")

ByNetwork = TypeVar("ByNetwork", BandwidthLimit, TransferLimit)
"""Limits of clients of some networks."""


def check_permissions(
    where: str, permissions: Mapping[str, Sequence[str]], *, whole: bool = True
) -> dict[str, tuple[str, ...]]:
    """Check a permission table: ``/`` is mandatory and grants something, names are known.

    Args:
        where: prefix of errors.
        permissions: by directory.
        whole: False if a group may give what ``/`` grants.

    Raises:
        BadRecord: the first mistake found.
    """
    if len(permissions) > MAX_ITEMS:
        raise BadRecord(where, f"has more than {MAX_ITEMS} directories")
    checked: dict[str, tuple[str, ...]] = {}
    for path, names in permissions.items():
        key_path = f'{where}["{path[:200]}"]'
        clean = check_path(key_path, path)
        if clean in checked:
            raise BadRecord(key_path, f"{clean!r} is given twice")
        check_known(key_path, names, PERMISSIONS)
        checked[clean] = tuple(dict.fromkeys(names))
    if whole and not checked.get("/"):
        raise BadRecord(where, 'needs at least one permission for "/"')
    return checked


def check_filters(filters: Filters, where: str) -> Filters:
    """The filters in their canonical form.

    Raises:
        BadRecord: the first mistake found.
    """
    check_integers(filters, where)
    check_some_left(f"{where}denied_login_methods", filters.denied_login_methods, LOGIN_METHODS)
    check_some_left(f"{where}denied_protocols", filters.denied_protocols, PROTOCOLS)
    check_known(f"{where}two_factor_protocols", filters.two_factor_protocols, TWO_FACTOR)
    check_one_of(f"{where}ip_order", filters.ip_order, IP_ORDERS)
    check_one_of(f"{where}tls_username", filters.tls_username, TLS_USERNAMES)
    check_flag(f"{where}ftp_security", filters.ftp_security, (0, 1))
    seen: set[str] = set()
    patterns: list[FilePatterns] = []
    for index, item in enumerate(bounded(f"{where}file_patterns", filters.file_patterns)):
        patterns.append(_check_patterns(item, f"{where}file_patterns[{index}].", seen))
    limits, allowances = filters.bandwidth_limits, filters.data_transfer_limits
    if limits:
        limits = _check_by_network(f"{where}bandwidth_limits", limits)
    if allowances:
        allowances = _check_by_network(f"{where}data_transfer_limits", allowances)
    for index, window in enumerate(bounded(f"{where}access_time", filters.access_time)):
        _check_window(window, f"{where}access_time[{index}].")
    if filters.tally_limits is not None:
        _check_tally_limits(filters.tally_limits, f"{where}tally_limits.")
    if filters.geoip is not None:
        _check_location_rules(filters.geoip, f"{where}geoip.")
    if filters.rename_onto not in RENAME_ONTO:
        raise BadRecord(
            f"{where}rename_onto", f"{filters.rename_onto[:40]!r} is not refuse, replace or empty"
        )
    start = filters.start_directory
    return changed(
        filters,
        allowed_ip=check_networks(f"{where}allowed_ip", filters.allowed_ip),
        denied_ip=check_networks(f"{where}denied_ip", filters.denied_ip),
        file_patterns=tuple(patterns),
        bandwidth_limits=limits,
        data_transfer_limits=allowances,
        start_directory=check_path(f"{where}start_directory", start) if start else "",
    )


def _check_location_rules(rules: GeoRules, where: str) -> None:
    for name in ("countries", "continents", "asns"):
        bounded(f"{where}allowed_{name}", getattr(rules, f"allowed_{name}"))
        bounded(f"{where}denied_{name}", getattr(rules, f"denied_{name}"))
    wrong = rules.problem()
    if wrong is not None:
        raise BadRecord(f"{where}{wrong[0]}", wrong[1])


def _check_patterns(item: FilePatterns, where: str, seen: set[str]) -> FilePatterns:
    path = check_path(f"{where}path", item.path)
    if path in seen:
        raise BadRecord(f"{where}path", f"{path!r} is given twice")
    seen.add(path)
    check_flag(f"{where}deny_policy", item.deny_policy, (0, 1))
    check_one_of(f"{where}order", item.order, PATTERN_ORDERS)
    check_one_of(f"{where}directories", item.directories, PATTERN_DIRECTORIES)
    if item.preset and item.preset not in PRESETS:
        raise BadRecord(f"{where}preset", f"{item.preset!r} is not one of {', '.join(PRESETS)}")
    if not item.allowed_patterns and not item.denied_patterns and not item.preset:
        raise BadRecord(where.rstrip("."), "has neither allowed_patterns nor denied_patterns")
    for label in ("allowed_patterns", "denied_patterns"):
        for index, pattern in enumerate(bounded(f"{where}{label}", getattr(item, label))):
            wrong = globs.problem(pattern)
            if wrong is not None:
                key_path = f"{where}{label}[{index}]"
                raise BadRecord(key_path, f"{pattern[:100]!r} is not a pattern for file names: {wrong}")
    return changed(item, path=path)


def _check_by_network(key: str, limits: tuple[ByNetwork, ...]) -> tuple[ByNetwork, ...]:
    """Limits that hold for clients of some networks, with these as they are stored.

    Raises:
        BadRecord: there are too many, one names no network or a wrong one, or has a number out of range.
    """
    made = []
    for index, limit in enumerate(bounded(key, limits)):
        path = f"{key}[{index}]."
        if not limit.sources:
            raise BadRecord(f"{path}sources", "is empty: name at least one network")
        made.append(
            changed(checked_integers(limit, path), sources=check_networks(f"{path}sources", limit.sources))
        )
    return tuple(made)


def _check_window(window: TimeWindow, where: str) -> None:
    check_flag(f"{where}day_of_week", window.day_of_week, range(7))
    for label, clock in (("from", window.from_), ("to", window.to)):
        if parse_clock(clock) is None:
            raise BadRecord(f"{where}{label}", f"{clock[:20]!r} is not a time such as 08:30")
    if window.from_ > window.to:
        raise BadRecord(f"{where}from", f"{window.from_} is after {window.to}")


def _check_tally_limits(limits: TallyLimits, where: str) -> None:
    check_integers(limits, where)
    check_one_of(f"{where}limit_type", limits.limit_type, LIMIT_TYPES)
