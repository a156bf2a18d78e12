# SPDX-License-Identifier: Apache-2.0
"""Accounts without a password: which doors take them, what they may do, and what `explain` says of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model import Account, Filters, Intent, Permission, Principal, VPath
from tidegate.policy.anonymous import READS, takes_any_password
from tidegate.policy.explain import explain
from tidegate.policy.gate import Gate
from tidegate.policy.login import check_login
from tidegate.policy.methods import LOGIN_METHODS
from tidegate.policy.permissions import PermissionTable
from tidegate.policy.programs import ProgramRules

NAMES = [str(one) for one in Permission]
lists = st.lists(st.sampled_from(NAMES), max_size=5, unique=True).map(tuple)
tables = st.dictionaries(st.sampled_from(["/d", "/d/e", "/*"]), lists, max_size=3)


def account(**more: Any) -> Account:
    filters = Filters(**{"is_anonymous": True, **more.pop("filters", {})})
    defaults: dict[str, Any] = {"username": "anon", "home_dir": "/srv/a", "permissions": {"/": ("*",)}}
    return Account(**(defaults | more), filters=filters)


@pytest.mark.parametrize("family", ["SSH", "FTP", "DAV", "HTTP", "else"])
def test_ftp_and_webdav_take_any_password(family: str) -> None:
    assert takes_any_password(account(), family) is (family in ("FTP", "DAV"))
    assert not takes_any_password(account(filters={"is_anonymous": False}), family)


@pytest.mark.parametrize("protocol", ["SFTP", "SCP", "SSH", "FTP", "FTPS", "DAV", "DAVS", "HTTP", "HTTPS"])
@pytest.mark.parametrize("method", ["", *LOGIN_METHODS])
def test_by_those_doors_and_by_a_password_alone(protocol: str, method: str) -> None:
    steps = check_login(account(), protocol=protocol, method=method, ip="192.0.2.1", now_ms=1)
    comes_in = all(step.verdict != "deny" for step in steps)
    assert comes_in is (protocol.removesuffix("S") in ("FTP", "DAV") and method in ("", "password"))
    if not comes_in:
        assert steps[-1].where == "filters.is_anonymous"
        assert steps[-1].rule in ("protocol[is_anonymous]", "method[is_anonymous]")


@pytest.mark.parametrize(
    "filters", [{"denied_protocols": ("FTP",)}, {"denied_ip": ("0.0.0.0/0",)}, {"hold": "files move"}]
)
def test_all_other_rules_hold(filters: dict[str, Any]) -> None:
    steps = check_login(account(filters=filters), protocol="FTP", method="password", ip="192.0.2.1", now_ms=1)
    assert steps[-1].verdict == "deny"


@given(root=lists, more=tables, path=st.sampled_from(["/", "/x", "/d", "/d/e", "/d/e/f"]))
def test_permissions_are_no_more_than_reading_and_no_more_than_given(
    root: tuple[str, ...], more: dict[str, tuple[str, ...]], path: str
) -> None:
    permissions = {"/": root, **more}
    given_names = PermissionTable(permissions).lookup(VPath(path)).names
    anon = account(permissions=permissions)
    assert PermissionTable(permissions, reads_only=True).lookup(VPath(path)).names == given_names & READS
    assert ProgramRules(anon).granted(VPath(path)) == given_names & READS
    gate, free = (Gate(Principal(one, "password", ""), "FTP") for one in (anon, account(permissions={})))
    file = VPath.parse(f"{path}/file")
    for intent in Intent:
        if intent in (Intent.RENAME_FILE, Intent.RENAME_DIR, Intent.COPY, Intent.SYMLINK, Intent.HARDLINK):
            assert not gate.decide(intent, file, target=VPath("/t")).allowed
        elif intent not in (
            Intent.LIST, Intent.STAT, Intent.READLINK, Intent.DOWNLOAD, Intent.CHECKSUM, Intent.SPACE
        ):  # fmt: skip
            assert not gate.decide(intent, file).allowed
    assert not free.decide(Intent.LIST, VPath("/")).allowed


def test_explain_says_why_and_what_would_help() -> None:
    asked: dict[str, Any] = {"ip": "192.0.2.1", "protocol": "FTP", "path": "/x", "now_ms": 1}
    assert explain(account(), op="download", method="password", **asked).decision.allowed
    answer = explain(account(), op="upload", method="password", **asked)
    assert answer.decided_by is not None
    assert (answer.decided_by.rule, answer.decided_by.where) == ("permissions[/]", "filters.is_anonymous")
    assert answer.decided_by.why.endswith("but accounts without a password may only list and download")
    assert answer.decision.text == "permission: upload on /"
    lacking = explain(account(permissions={"/": ("list",)}), op="upload", **asked)
    assert lacking.decided_by is not None
    assert lacking.decided_by.where == "permissions./"
