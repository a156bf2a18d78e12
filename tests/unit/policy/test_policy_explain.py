# SPDX-License-Identifier: Apache-2.0
"""Explain: which rule, where, why, and what would change it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gates import path

from tidegate.errors import InvalidArgument, InvalidPath
from tidegate.model import (
    Account,
    BandwidthLimit,
    FilePatterns,
    Filters,
    FolderMount,
    Intent,
    Principal,
    Protocol,
    Tally,
    TallyLimits,
    VPath,
)
from tidegate.policy.amounts import Charge, Usage
from tidegate.policy.explain import Explanation, explain, parse_operation
from tidegate.policy.gate import Gate

NOW = 1_790_000_000_000
SECRETS = ("$argon2id$v=19$hash", "AAAAC3NzaC1lZDI1NTE5secret")

ANA = Account(
    username="ana",
    home_dir="/srv/ana",
    password=SECRETS[0],
    public_keys=(f"ssh-ed25519 {SECRETS[1]}",),
    permissions={"/": ("list", "download"), "/in": ("list", "upload", "overwrite", "rename")},
    filters=Filters(
        denied_ip=("10.8.0.0/16", "10.9.0.0/16"),
        file_patterns=(FilePatterns(path="/in", denied_patterns=("*.tmp",), preset="openbridge"),),
    ),
)


def ask(account: Account = ANA, op: str = "upload", where: str = "/in/a.txt", **more: Any) -> Explanation:
    asked: dict[str, Any] = {
        "ip": "192.0.2.7",
        "protocol": Protocol.SFTP,
        "method": "password",
        "now_ms": NOW,
    }
    return explain(account, op=op, path=where, **(asked | more))


def denied(explanation: Explanation) -> tuple[str, str]:
    """(rule, where) of what decided."""
    step = explanation.decided_by
    assert step is not None
    assert not explanation.decision.allowed
    assert explanation.decision.rule == step.rule
    assert explanation.steps[-1] == step
    assert step.why
    assert step.hint
    return step.rule, step.where


def test_codes() -> None:
    """A code needs no method of its own; where it has to be set up first, that decides."""
    filters = replace(ANA.filters, denied_login_methods=("keyboard-interactive",))
    asked = replace(ANA, filters=replace(filters, extra={"totp_config": {"enabled": True}}))
    explanation = ask(asked, method="password+keyboard-interactive")
    assert explanation.decision.allowed
    (step,) = (one for one in explanation.steps if one.rule == "second_factor")
    assert step.why == "a one-time code follows a password"
    assert denied(ask(asked, method="keyboard-interactive"))[0] == "method[keyboard-interactive]"
    shut = replace(ANA, filters=replace(filters, two_factor_protocols=("SSH",)))
    assert denied(ask(shut)) == ("second_factor", "filters.two_factor_protocols")
    assert ask(shut, protocol=Protocol.HTTP).decision.allowed


def test_allowed() -> None:
    explanation = ask()
    assert explanation.decision.allowed
    assert explanation.decided_by is None
    assert explanation.also == []
    assert [row.state for row in explanation.rows] == ["asked"] * len(explanation.rows)
    assert [row.section for row in explanation.rows] == ["login"] * 11 + ["gate"] * 2 + ["amounts"] * 5
    text = explanation.render_text()
    assert text.startswith("ALLOWED  upload /in/a.txt\n  who     ana from 192.0.2.7 by SFTP, password\n")
    assert "NO!" not in text


@pytest.mark.parametrize(
    ("more", "rule", "where", "client"),
    [
        ({"ip": "10.9.1.1"}, "address[10.9.0.0/16]", "filters.denied_ip[1]", "authentication failed"),
        ({"where": "/out/a"}, "permissions[/]", "permissions./", "permission: upload on /out"),
        (
            {"where": "/in/a.TMP"},
            "file_patterns[/in]",
            "filters.file_patterns[0].denied_patterns[0]",
            "file pattern: upload on /in",
        ),
        (
            {"where": "/in/x.exe"},
            "file_patterns[/in]",
            "filters.file_patterns[0].preset",
            "file pattern: upload on /in",
        ),
        (
            {"op": "rename", "where": "/in/a", "target": "/b"},
            "permissions[/]",
            "permissions./",
            "permission: rename on /",
        ),
        ({"op": "rename", "where": "/in/a"}, "target", "", "rename_file needs a target"),
        ({"op": "rm", "where": "/"}, "root", "", "permission: delete_file on /"),
    ],
)
def test_which_rule_where_and_what_the_client_hears(
    more: dict[str, Any], rule: str, where: str, client: str
) -> None:
    explanation = ask(**more)
    assert denied(explanation) == (rule, where)
    assert explanation.decision.text == client


@pytest.mark.parametrize(
    ("change", "usage", "size", "rule", "where", "client"),
    [
        (
            {"quota_size": 100, "used_quota_size": 100},
            Usage(),
            None,
            "quota_size",
            "quota_size",
            "denying write due to space limit: quota_size",
        ),
        (
            {"quota_size": 100},
            Usage(space=Charge(60, 1)),
            41,
            "quota_size",
            "quota_size",
            "denying write due to space limit: quota_size",
        ),
        (
            {"quota_files": 2},
            Usage(space=Charge(0, 2)),
            None,
            "quota_files",
            "quota_files",
            "denying write due to space limit: quota_files",
        ),
        (
            {"upload_data_transfer": 1},
            Usage(upload=1024 * 1024),
            None,
            "upload_data_transfer",
            "upload_data_transfer",
            "denying write due to space limit: upload_data_transfer",
        ),
        (
            {"total_data_transfer": 1},
            Usage(download=1024 * 1024 - 5),
            6,
            "total_data_transfer",
            "total_data_transfer",
            "denying write due to space limit: total_data_transfer",
        ),
        (
            {"filters": replace(ANA.filters, max_upload_file_size=10)},
            Usage(),
            11,
            "max_upload_file_size",
            "filters.max_upload_file_size",
            "file too large: max_upload_file_size",
        ),
        (
            {
                "filters": replace(ANA.filters, tally_limits=TallyLimits(bytes_in=10)),
                "tally": Tally(bytes_in=10),
            },
            Usage(),
            None,
            "tally_limits[bytes_in]",
            "filters.tally_limits.bytes_in",
            "denying write due to space limit: bytes_in",
        ),
        (
            {"filters": replace(ANA.filters, tally_limits=TallyLimits(bytes_in=10))},
            Usage(tally=Tally(bytes_in=5)),
            6,
            "tally_limits[bytes_in]",
            "filters.tally_limits.bytes_in",
            "denying write due to space limit: bytes_in",
        ),
        (
            {"max_sessions": 2},
            Usage(sessions=2),
            None,
            "max_sessions",
            "max_sessions",
            "authentication failed",
        ),
    ],
)
def test_amounts(  # noqa: PLR0917  one row of the table
    change: dict[str, Any], usage: Usage, size: int | None, rule: str, where: str, client: str
) -> None:
    account = replace(ANA, **change)
    explanation = ask(account, usage=usage, size=size)
    assert denied(explanation) == (rule, where)
    assert explanation.decision.text == client
    # The same act within the limits is let in.
    assert ask(
        replace(account, **dict.fromkeys(change, 0)) if "filters" not in change else ANA
    ).decision.allowed


def test_download_allowance() -> None:
    explanation = ask(replace(ANA, download_data_transfer=1), "get", "/a", usage=Usage(download=1024 * 1024))
    assert denied(explanation) == ("download_data_transfer", "download_data_transfer")
    assert explanation.decision.text == "denying read due to quota limit: download_data_transfer"


def test_folders_have_a_quota_of_their_own_or_the_accounts() -> None:
    account = replace(
        ANA,
        permissions={"/": ("*",)},
        filters=Filters(),
        quota_size=10,
        used_quota_size=10,
        virtual_folders=(
            FolderMount(name="shared", virtual_path="/shared"),
            FolderMount(
                name="own", virtual_path="/shared/own", quota_size=50, quota_files=0, used_quota_size=50
            ),
            FolderMount(name="free", virtual_path="/free", quota_size=0, quota_files=0),
        ),
    )
    assert denied(ask(account, where="/a")) == ("quota_size", "quota_size")
    assert denied(ask(account, where="/shared/a")) == ("quota_size", "quota_size")
    assert denied(ask(account, where="/shared/own/a")) == ("quota_size", "virtual_folders[1].quota_size")
    assert ask(account, where="/shared/own/a", usage=Usage(folders={"own": Charge(49, 1)})).decision.allowed
    assert ask(account, where="/free/a").decision.allowed


def test_later_refusals_are_told_too() -> None:
    explanation = ask(replace(ANA, status=0, quota_size=1, used_quota_size=1), where="/in/x.exe")
    assert denied(explanation) == ("disabled", "status")
    assert [step.rule for step in explanation.also] == ["file_patterns[/in]", "quota_size"]
    text = explanation.render_text()
    assert text.count("NO!") == 1
    assert "once that is repaired, these would refuse next:" in text


def test_hidden_looks_missing_to_the_client_only() -> None:
    account = replace(
        ANA, filters=Filters(file_patterns=(FilePatterns(denied_patterns=("*.key",), deny_policy=1),))
    )
    explanation = ask(account, "get", "/my.key")
    assert denied(explanation)[1] == "filters.file_patterns[0].denied_patterns[0]"
    assert explanation.decision.hidden
    assert explanation.decision.text == "no such file or directory"


def test_bandwidth_is_told_by_source() -> None:
    account = replace(
        ANA,
        upload_bandwidth=5,
        filters=Filters(bandwidth_limits=(BandwidthLimit(sources=("192.0.2.0/24",), upload_bandwidth=77),)),
    )
    step = next(s for s in ask(account).steps if s.rule == "bandwidth")
    assert (step.verdict, step.where) == ("pass", "filters.bandwidth_limits[0].upload_bandwidth")
    assert "77 KB/s" in step.why
    step = next(s for s in ask(account, ip="10.0.0.1").steps if s.rule == "bandwidth")
    assert (step.where, "5 KB/s" in step.why) == ("upload_bandwidth", True)


def test_two_steps_are_named() -> None:
    denied_methods = ("publickey", "password", "keyboard-interactive", "publickey+keyboard-interactive")
    account = replace(ANA, filters=Filters(denied_login_methods=denied_methods))
    explanation = ask(account, method="publickey")
    step = explanation.decided_by
    assert step is not None
    assert step.where == "filters.denied_login_methods[0]"
    assert "password has to follow" in step.why
    assert ask(account, method="publickey+password").decision.allowed


@pytest.mark.parametrize(
    ("word", "is_dir", "intent"),
    [
        *[(intent.value, False, intent) for intent in Intent],
        ("delete", False, Intent.DELETE_FILE),
        ("delete", True, Intent.DELETE_DIR),
        ("mv", True, Intent.RENAME_DIR),
        ("Rename", False, Intent.RENAME_FILE),
        (" put ", False, Intent.UPLOAD),
        ("ls", True, Intent.LIST),
        ("get", False, Intent.DOWNLOAD),
        ("rmdir", False, Intent.DELETE_DIR),
    ],
)
def test_words(word: str, is_dir: bool, intent: Intent) -> None:
    assert parse_operation(word, is_dir=is_dir) is intent


def test_unknown_word_lists_what_there_is() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_operation("fly\x1b[2J" * 100)
    assert "\n" not in caught.value.text
    assert "\x1b" not in caught.value.text
    assert "upload" in caught.value.text
    assert len(caught.value.text) < 600
    with pytest.raises(InvalidArgument):
        ask(where="/a\0b")


def test_trailing_slash_is_a_directory() -> None:
    assert ask(op="delete", where="/in/x/").intent is Intent.DELETE_DIR
    assert ask(op="delete", where="/in/x").intent is Intent.DELETE_FILE
    assert ask(op="put", exists=True).intent is Intent.OVERWRITE


def test_document() -> None:
    document = ask(where="/in/x.exe", ip="192.0.2.7").to_document()
    assert json.loads(json.dumps(document)) == document
    assert document["allowed"] is False
    assert document["time"] == "2026-09-21T14:13:20Z"
    assert document["client_text"] == "file pattern: upload on /in"
    decided = document["decided_by"]
    assert isinstance(decided, dict)
    assert decided["where"] == "filters.file_patterns[0].preset"
    steps = document["steps"]
    assert isinstance(steps, list)
    assert [s["state"] for s in steps].count("decided") == 1
    assert ask().to_document()["decided_by"] is None


@settings(max_examples=100, deadline=None)
@given(
    name=st.text(st.characters(exclude_characters="\0"), max_size=20),
    op=st.sampled_from(Intent),
    ip=st.sampled_from(["192.0.2.7", "10.9.0.1", "", "\x1b[31m"]),
)
def test_texts_are_safe_and_the_answer_is_the_gates(name: str, op: Intent, ip: str) -> None:
    """No escape sequence, no right-to-left override, no surrogate and no secret reaches a terminal or JSON."""
    try:
        VPath.parse(f"/in/{name}")
    except InvalidPath:  # half a surrogate pair is no path
        with pytest.raises(InvalidPath):
            ask(op=op.value, where=f"/in/{name}", ip=ip)
        return
    explanation = ask(op=op.value, where=f"/in/{name}\x1b\u202e\udcff", target=f"/in/{name}", ip=ip)
    text = explanation.render_text()
    assert all(line.isprintable() for line in text.splitlines())
    assert "\r" not in text
    raw = json.dumps(explanation.to_document(), ensure_ascii=False).encode("utf-8").decode()
    for secret in SECRETS:
        assert secret not in text
        assert secret not in raw
    gate = Gate(Principal(ANA, "password", ip), Protocol.SFTP)
    decision = gate.decide(op, explanation.path, target=path(f"/in/{name}"))
    if all(row.step.verdict != "deny" for row in explanation.rows if row.section == "login"):
        assert explanation.decision.allowed is decision.allowed
        assert explanation.decision.rule == decision.rule
    else:
        assert not explanation.decision.allowed
