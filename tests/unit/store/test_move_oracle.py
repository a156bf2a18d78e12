# SPDX-License-Identifier: Apache-2.0
"""Random dumps of every era never open what SFTPGo closed, judged by an oracle of its own rules."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import sftpgo_rules as sftpgo
from tests.support.moved import HASH, move

from tidegate.model import Intent, Principal, Protocol, VPath
from tidegate.policy.charges import allowances_for
from tidegate.policy.gate import Gate
from tidegate.policy.globs import NameMatcher, fold
from tidegate.policy.login import check_login
from tidegate.store.legacy.patterns import NEVER, from_go

INTENTS = {
    "download": Intent.DOWNLOAD,
    "upload": Intent.UPLOAD,
    "mkdir": Intent.MKDIR,
    "delete": Intent.DELETE_FILE,
}
NAMES = ("a", "b.x", "ab", "!", "d")
PATHS = [f"{above}/{name}" for above in ("", "/d", "/a", "/d/ab") for name in NAMES]
ADDRESSES = ("10.0.0.5", "10.1.0.5", "192.0.2.1")
METHODS = ("password", "keyboard-interactive", "publickey")

patterns = st.one_of(
    st.sampled_from(
        ["*", "*.x", "a*", "[!a]*", "[^a]*", "d", "sub/*", "[b-a]", "[^b-a]*", "[", "?", "[^/]*"]
    ),
    st.text("ab!^-[]*?\\/.", min_size=1, max_size=5),
)
few = st.lists(patterns, max_size=2)
permission_lists = st.lists(
    st.sampled_from(
        [
            "*",
            "list",
            "download",
            "upload",
            "overwrite",
            "create_dirs",
            "delete",
            "rename",
            "rename_files",
            "rename_dirs",
        ]
    ),
    min_size=1,
    max_size=4,
    unique=True,
)
permissions = st.dictionaries(
    st.sampled_from(["/d", "/a", "/d/ab", "/*", "/[ab]"]), permission_lists, max_size=2
).flatmap(lambda more: permission_lists.map(lambda root: {**more, "/": root}))
networks = st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "192.0.2.1/32"]), max_size=2)
amounts = st.sampled_from([0, 0, -1, 5, 9])
numbers = st.fixed_dictionaries({}, optional=dict.fromkeys((*sftpgo.NUMBERS, *sftpgo.TRANSFERS), amounts))
allowances = st.lists(
    st.fixed_dictionaries(
        {
            "sources": st.lists(
                st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"]), min_size=1, max_size=2
            )
        },
        optional=dict.fromkeys(sftpgo.TRANSFERS, amounts),
    ),
    max_size=2,
)
mounts = st.lists(
    st.fixed_dictionaries(
        {"name": st.just("f"), "mapped_path": st.just("/srv/f"), "virtual_path": st.just("/f")},
        optional={"quota_size": amounts, "quota_files": amounts},
    ),
    max_size=1,
)
suffixes = st.lists(st.sampled_from([".x", "x", ".X", "/a", "d/a", "a*"]), max_size=2)


@st.composite
def entries(draw: st.DrawFn, version: int | None) -> list[dict[str, Any]]:
    found = []
    for path in draw(st.lists(st.sampled_from(["/", "/d", "/a"]), max_size=2, unique=True)):
        allowed, denied = draw(few), draw(few)
        if allowed or denied:
            found.append({"path": path, "allowed_patterns": allowed, "denied_patterns": denied})
            if (version or 0) > 10:
                found[-1]["deny_policy"] = draw(st.integers(0, 1))
    return found


@st.composite
def filters(draw: st.DrawFn, version: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "allowed_ip": draw(networks),
        "denied_ip": draw(networks),
        "denied_login_methods": draw(st.lists(st.sampled_from(METHODS), max_size=2, unique=True)),
        "file_patterns": draw(entries(version)),
    }
    if (version or 0) > 10:
        found["two_factor_protocols"] = draw(st.lists(st.sampled_from(["SSH", "HTTP"]), max_size=1))
        found["denied_protocols"] = draw(st.lists(st.sampled_from(["SSH", "FTP"]), max_size=1))
        found["is_anonymous"] = draw(st.sampled_from([False, False, True]))
        found["max_upload_file_size"] = draw(st.sampled_from([0, 5, 9]))
        found["data_transfer_limits"] = draw(allowances)
    if (version or 0) < 8:
        found["file_extensions"] = [
            {"path": path, "allowed_extensions": draw(suffixes), "denied_extensions": draw(suffixes)}
            for path in draw(st.lists(st.sampled_from(["/", "/d"]), max_size=1))
        ]
        found["file_extensions"] = [
            item
            for item in found["file_extensions"]
            if item["allowed_extensions"] or item["denied_extensions"]
        ]
    return found


@st.composite
def dumps(draw: st.DrawFn) -> dict[str, Any]:
    version = draw(st.sampled_from([None, 6, 10, 12, 13, 16, 17]))
    user: dict[str, Any] = {
        "username": "ana",
        "status": draw(st.sampled_from([1, 1, 1, 0])),
        "password": HASH,
        "home_dir": "/srv/ana",
        "permissions": draw(permissions),
        "filters": draw(filters(version)),
        "virtual_folders": draw(mounts),
        **draw(numbers),
    }
    dump: dict[str, Any] = {"users": [user]}
    if version:
        dump["version"] = version
    if (version or 0) > 10:
        dump["groups"] = [
            {
                "name": name,
                "user_settings": {
                    "permissions": draw(permissions),
                    "filters": draw(filters(version)),
                    **draw(numbers),
                },
            }
            for name in ("one", "two")
        ]
        kinds = draw(st.permutations([1, 2, 3]))
        user["groups"] = [
            {"name": name, "type": kind} for name, kind in zip(("one", "two"), kinds, strict=False)
        ][: draw(st.integers(0, 2))]
    return dump


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dump=dumps())
def test_nothing_opens_that_sftpgo_closed(dump: dict[str, Any]) -> None:
    moved = asyncio.run(move(dump))
    ana = moved.users["ana"]

    for path in PATHS:
        for act, intent in INTENTS.items():
            if moved.may("ana", intent, path):
                assert sftpgo.may(dump, "ana", act, path), (act, path, ana)
    for method in METHODS:
        for ip in ADDRESSES:
            for door in ("SSH", "FTP", "DAV"):
                protocol = "SFTP" if door == "SSH" else door
                steps = check_login(ana, protocol=protocol, method=method, ip=ip, now_ms=1)
                if all(step.verdict != "deny" for step in steps) and (door == "SSH" or method == "password"):
                    assert sftpgo.may_log_in(dump, "ana", method, ip, door), (method, ip, door, ana)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dump=dumps())
def test_no_listing_shows_more_than_sftpgo_did(dump: dict[str, Any]) -> None:
    moved = asyncio.run(move(dump))
    ana = moved.users["ana"]
    gate = Gate(Principal(ana, "password", "127.0.0.1"), Protocol.SFTP)

    for directory in ("/", "/d", "/a", "/d/ab"):
        if not moved.may("ana", Intent.LIST, directory, is_dir=True):
            continue
        assert sftpgo.may_list(dump, "ana", directory), (directory, ana)
        seen = gate.name_filter(VPath(directory))
        for name in NAMES:
            path = f"{directory.rstrip('/')}/{name}"
            for is_dir in (False, True):
                if seen is None or seen(name, is_dir):
                    assert sftpgo.shows(dump, "ana", path, is_dir=is_dir), (path, is_dir, ana)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dump=dumps())
def test_nothing_moves_that_sftpgo_left_in_its_place(dump: dict[str, Any]) -> None:
    moved = asyncio.run(move(dump))
    account = moved.users["ana"]
    gate = Gate(Principal(account, "password", "127.0.0.1"), Protocol.SFTP)
    if account.status != 1:
        return

    for source, target in product(PATHS, ("/a", "/b.x", "/d/ab", "/a/!", "/d/ab/d")):
        if source == target or target.startswith(f"{source}/") or source.startswith(f"{target}/"):
            continue
        for is_dir, exists in ((False, False), (False, True), (True, False)):
            intent = Intent.RENAME_DIR if is_dir else Intent.RENAME_FILE
            if gate.decide(
                intent, VPath(source), target=VPath(target), is_dir=is_dir, target_exists=exists
            ).allowed:
                assert sftpgo.may_rename(dump, "ana", source, target, is_dir=is_dir, exists=exists), (
                    source, target, is_dir, exists, account,
                )  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dump=dumps())
def test_no_limit_is_wider_than_it_was(dump: dict[str, Any]) -> None:
    ana = asyncio.run(move(dump)).users["ana"]

    for ip in ADDRESSES:
        allowed = allowances_for(ana, ip)
        ours = {key: getattr(ana, key) for key in sftpgo.NUMBERS}
        ours |= {f"{one}_data_transfer": getattr(allowed, one) for one in ("upload", "download", "total")}
        ours["max_upload_file_size"] = ana.filters.max_upload_file_size
        for mount in ana.virtual_folders:
            ours[f"{mount.virtual_path} quota_size"] = mount.quota_size
            ours[f"{mount.virtual_path} quota_files"] = mount.quota_files
        for key, limit in sftpgo.limits(dump, "ana", ip).items():
            assert 0 < ours[key] <= limit, (key, ours[key], limit, ana)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pattern=st.text("ab!^-[]*?\\/.", max_size=7), name=st.text("ab!^-[].", min_size=1, max_size=3))
def test_a_pattern_of_go_matches_the_same_names(pattern: str, name: str) -> None:
    if name in (".", ".."):
        return
    ours = from_go(pattern)
    matches = ours != NEVER and NameMatcher([ours]).matches(fold(name))
    assert matches is sftpgo.go_match(pattern, name), ours
