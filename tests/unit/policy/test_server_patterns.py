# SPDX-License-Identifier: Apache-2.0
"""`common.file_patterns`: names that no account may use, whatever its own patterns say."""

from __future__ import annotations

import pytest

from tidegate.model import (
    Account,
    FilePatterns,
    Filters,
    Intent,
    Principal,
    ProgramDirectory,
    ProgramUse,
    VPath,
)
from tidegate.policy.explain import explain
from tidegate.policy.gate import Gate
from tidegate.policy.patterns import EVERYWHERE, PatternTable
from tidegate.policy.programs import ProgramRules

OPENBRIDGE = FilePatterns(preset="openbridge", allowed_patterns=("*.pdf",))
DENIED = FilePatterns(denied_patterns=("*.exe", "secret*"), allowed_patterns=("good.exe",))


def account(*patterns: FilePatterns) -> Account:
    return Account(
        username="u", home_dir="/srv/u", permissions={"/": ("*",)}, filters=Filters(file_patterns=patterns)
    )


def gate(names: FilePatterns | None, *patterns: FilePatterns) -> Gate:
    return Gate(Principal(account(*patterns), "password", "192.0.2.1"), "SFTP", names=names)


@pytest.mark.parametrize(
    ("names", "path", "intent", "allowed"),
    [
        (OPENBRIDGE, "/a.exe", Intent.UPLOAD, False),
        (OPENBRIDGE, "/d/e/A.EXE", Intent.UPLOAD, False),
        (OPENBRIDGE, "/d/.hidden", Intent.UPLOAD, False),
        (OPENBRIDGE, "/.dir", Intent.MKDIR, False),
        (OPENBRIDGE, "/a.exe", Intent.DOWNLOAD, True),
        (OPENBRIDGE, "/a.pdf", Intent.UPLOAD, True),
        (OPENBRIDGE, "/a.txt", Intent.UPLOAD, True),
        (DENIED, "/x/secrets", Intent.DOWNLOAD, False),
        (DENIED, "/x/good.exe", Intent.UPLOAD, True),
        (DENIED, "/x/bad.exe", Intent.UPLOAD, False),
        (DENIED, "/x/anything", Intent.UPLOAD, True),
    ],
)
def test_names_are_refused_in_every_directory(
    names: FilePatterns, path: str, intent: Intent, *, allowed: bool
) -> None:
    for one in (gate(names), gate(names, FilePatterns(path="/d", allowed_patterns=("*",)))):
        decision = one.decide(intent, VPath(path))
        assert decision.allowed is allowed
        assert allowed or decision.rule == EVERYWHERE


def test_an_account_can_narrow_them_and_not_widen() -> None:
    path = "/in/a.exe"
    wide = FilePatterns(path="/in", allowed_patterns=("*.exe",))
    narrow = FilePatterns(path="/in", denied_patterns=("*.txt",))

    assert gate(None, wide).decide(Intent.UPLOAD, VPath(path)).allowed
    assert gate(OPENBRIDGE, wide).decide(Intent.UPLOAD, VPath(path)).rule == EVERYWHERE
    assert gate(OPENBRIDGE, narrow).decide(Intent.UPLOAD, VPath("/in/a.txt")).rule == "file_patterns[/in]"
    whole = FilePatterns(path="/", allowed_patterns=("box",), directories="whole")
    assert gate(None, whole).decide(Intent.UPLOAD, VPath("/box/a.exe")).allowed
    assert not gate(OPENBRIDGE, whole).decide(Intent.UPLOAD, VPath("/box/a.exe")).allowed
    assert gate(OPENBRIDGE, whole).decide(Intent.UPLOAD, VPath("/box/a.txt")).allowed
    own = FilePatterns(path="/.box", denied_patterns=("x",))
    assert gate(None, own).decide(Intent.MKDIR, VPath("/.box"), is_dir=True).allowed
    assert not gate(OPENBRIDGE, own).decide(Intent.MKDIR, VPath("/.box"), is_dir=True).allowed


def test_without_them_nothing_changes() -> None:
    assert not PatternTable(())
    assert PatternTable((), OPENBRIDGE)
    assert gate(None)._patterns is gate(None)._patterns


def test_the_quick_way_says_what_the_slow_one_says() -> None:
    entries = [
        FilePatterns(path="/d", allowed_patterns=("*.txt", "*.exe")),
        FilePatterns(path="/.e", denied_patterns=("q",)),
    ]
    table = PatternTable(entries, DENIED)
    for text in (
        "/a.exe",
        "/d/a.exe",
        "/d/a.txt",
        "/d/b",
        "/.e",
        "/.e/q",
        "/secret",
        "/secret/x",
        "/good.exe",
    ):
        for is_dir in (False, True):
            for write in (False, True):
                hits = table.judge(VPath(text), is_dir=is_dir, write=write)
                assert table.clean(VPath(text), is_dir=is_dir, write=write) is not any(
                    hit.refused for hit in hits
                )


def test_programs_do_not_run_where_they_would_have_to_be_obeyed() -> None:
    wanted = ProgramDirectory(VPath("/in"), writes=True)
    steps = ProgramRules(account(), OPENBRIDGE).trace(wanted, ProgramUse.RSYNC_WRITE)

    assert [step.rule for step in steps if step.verdict == "deny"] == [EVERYWHERE]


def test_explain_names_the_setting() -> None:
    answer = explain(
        account(), ip="192.0.2.1", protocol="FTP", op="upload", path="/a.exe", now_ms=0, names=OPENBRIDGE
    )

    (step,) = [row.step for row in answer.rows if row.step.rule == EVERYWHERE]
    assert not answer.decision.allowed
    assert (step.where, step.verdict) == ("common.file_patterns.preset", "deny")
    assert "exempt_patterns" in step.hint
