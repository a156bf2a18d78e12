# SPDX-License-Identifier: Apache-2.0
"""Limits of records: just within, and one past."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.accounts import ED25519

from tidegate.errors import BadRecord
from tidegate.store.documents import decode_account, decode_admin

LEAST: dict[str, Any] = {"username": "ana", "home_dir": "/srv/ana", "permissions": {"/": ["*"]}}
NET = "10.0.0.0/8"


def mount(**more: Any) -> dict[str, Any]:
    return {"virtual_folders": [{"name": "f", "virtual_path": "/f", **more}]}


def filters(**more: Any) -> dict[str, Any]:
    return {"filters": more}


def window(**more: Any) -> dict[str, Any]:
    return filters(access_time=[{"day_of_week": 0, "from": "08:00", "to": "09:00", **more}])


EDGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "name": ({"username": "ü" * 127 + "x"}, {"username": "ü" * 128}, "username"),
    "text": ({"description": "x" * 65_536}, {"description": "x" * 65_537}, "description"),
    "path": ({"home_dir": "/" + "x" * 4095}, {"home_dir": "/" + "x" * 4096}, "home_dir"),
    "path in bytes": ({"home_dir": "/" + "ü" * 2047}, {"home_dir": "/" + "ü" * 2048}, "home_dir"),
    "control characters": ({"home_dir": "/a b"}, {"home_dir": "/a\x1fb"}, "home_dir"),
    "delete": ({"home_dir": "/a~b"}, {"home_dir": "/a\x7fb"}, "home_dir"),
    "list": (filters(allowed_ip=[NET] * 10_000), filters(allowed_ip=[NET] * 10_001), "filters.allowed_ip"),
    "keys": ({"public_keys": []}, {"public_keys": [ED25519] * 10_001}, "public_keys"),
    "directories": (
        {"permissions": {"/": ["*"], **{f"/{n}": [] for n in range(9_999)}}},
        {"permissions": {"/": ["*"], **{f"/{n}": [] for n in range(10_000)}}},
        "permissions",
    ),
    "uid": ({"uid": 2**32 - 2}, {"uid": 2**32 - 1}, "uid"),
    "gid": ({"gid": 2**32 - 2}, {"gid": 2**32 - 1}, "gid"),
    "integer": ({"quota_size": 2**63 - 1}, {"quota_size": 2**63}, "quota_size"),
    "zero": ({"quota_files": 0}, {"quota_files": -1}, "quota_files"),
    "status": ({"status": 1}, {"status": 2}, "status"),
    "mount without a limit": (
        mount(quota_size=-1, quota_files=-1),
        mount(quota_size=-2, quota_files=-1),
        "virtual",
    ),
    "mount with half a limit": (
        mount(quota_size=0, quota_files=0),
        mount(quota_size=-1, quota_files=0),
        "virtual",
    ),
    "mount with the other half": (
        mount(quota_size=5, quota_files=5),
        mount(quota_size=0, quota_files=-1),
        "virtual",
    ),
    "mount on the root": (
        mount(virtual_path="/x"),
        mount(virtual_path="/"),
        "virtual_folders[0].virtual_path",
    ),
    "day": (window(day_of_week=6), window(day_of_week=7), "filters.access_time[0].day_of_week"),
    "window": (window(to="08:00"), window(to="07:59"), "filters.access_time[0].from"),
    "methods": (
        filters(denied_login_methods=["password"]),
        filters(denied_protocols=["SSH", "FTP", "DAV", "HTTP"]),
        "filters.denied_protocols",
    ),
    "start": (filters(start_directory=""), filters(start_directory="rel"), "filters.start_directory"),
    "networks": (filters(denied_ip=["fe80::1"]), filters(denied_ip=["fe80::1%eth0"]), "filters.denied_ip[0]"),
    "sources": (
        filters(bandwidth_limits=[{"sources": [NET]}]),
        filters(bandwidth_limits=[{"sources": []}]),
        "filters.bandwidth_limits[0].sources",
    ),
    "sources of allowances": (
        filters(data_transfer_limits=[{"sources": [NET]}]),
        filters(data_transfer_limits=[{"sources": []}]),
        "filters.data_transfer_limits[0].sources",
    ),
    "patterns": (
        filters(
            file_patterns=[{"path": "/a", "denied_patterns": ["*"]}, {"path": "/b", "denied_patterns": ["*"]}]
        ),
        filters(
            file_patterns=[
                {"path": "/a", "denied_patterns": ["*"]},
                {"path": "/a/", "denied_patterns": ["*"]},
            ]
        ),
        "filters.file_patterns[1].path",
    ),
}


@pytest.mark.parametrize(("within", "past", "where"), EDGES.values(), ids=EDGES)
def test_each_limit_holds_at_its_edge(within: dict[str, Any], past: dict[str, Any], where: str):
    decode_account({**LEAST, **within})
    with pytest.raises(BadRecord) as caught:
        decode_account({**LEAST, **past})
    assert caught.value.field.startswith(where), caught.value


def test_networks_are_stored_as_networks():
    account = decode_account({**LEAST, **filters(allowed_ip=["10.0.0.1", "10.1.2.3/8", "::1"])})
    assert account.filters.allowed_ip == ("10.0.0.1/32", "10.1.2.3/8", "::1/128")


def test_permissions_are_stored_once_each_in_their_order():
    account = decode_account({**LEAST, "permissions": {"/": ["list", "download", "list"], "/a//b/": []}})
    assert account.permissions == {"/": ("list", "download"), "/a/b": ()}


@pytest.mark.parametrize("permissions", [[], ["everything"]])
def test_administrators_have_permissions_that_are_known(permissions: list[str]):
    with pytest.raises(BadRecord) as caught:
        decode_admin({"username": "a", "permissions": permissions})
    assert caught.value.field.startswith("permissions")
