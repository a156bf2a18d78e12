# SPDX-License-Identifier: Apache-2.0
"""File patterns: which names may be used, seen, brought in."""

from __future__ import annotations

import pytest
from tests.support.gates import gate, path

from tidegate.model import FilePatterns, Intent
from tidegate.policy.presets import OPENBRIDGE

VISIBLE = [FilePatterns(path="/in", denied_patterns=("*.exe", "tmp*"), deny_policy=0)]
HIDDEN = [FilePatterns(path="/in", denied_patterns=("*.exe", "tmp*"), deny_policy=1)]

LOOKS = (Intent.STAT, Intent.READLINK, Intent.LIST, Intent.SPACE)
CREATES = (Intent.UPLOAD, Intent.OVERWRITE, Intent.MKDIR)
TOUCHES = tuple(i for i in Intent if i not in LOOKS and i not in CREATES)


def aside(intent: Intent) -> object:
    """A target that no pattern minds, for intents that have one."""
    return path("/in/ok") if intent not in LOOKS + CREATES else None


@pytest.mark.parametrize("intent", Intent)
def test_visible_denied_name(intent: Intent) -> None:
    """deny_policy 0: may be seen, may not be used."""
    decision = gate(patterns=VISIBLE).decide(intent, path("/in/tmp1"), target=aside(intent))
    assert decision.allowed is (intent in LOOKS)
    assert not decision.hidden
    if intent not in LOOKS:
        assert decision.rule == "file_patterns[/in]"
        assert decision.text == f"file pattern: {intent.value} on /in"


@pytest.mark.parametrize("intent", Intent)
def test_hidden_denied_name(intent: Intent) -> None:
    """deny_policy 1: does not exist for what needs it, cannot be created."""
    decision = gate(patterns=HIDDEN).decide(intent, path("/in/tmp1"), target=aside(intent))
    assert not decision.allowed
    assert decision.hidden is (intent not in CREATES)
    assert decision.rule == "file_patterns[/in]"


@pytest.mark.parametrize("intent", Intent)
def test_other_names_and_other_directories(intent: Intent) -> None:
    for policy in (VISIBLE, HIDDEN):
        made = gate(patterns=policy)
        assert made.decide(intent, path("/in/fine.txt"), target=aside(intent)).allowed
        if intent not in (Intent.RENAME_DIR, Intent.SYMLINK, Intent.HARDLINK):
            target = path("/out/ok") if intent in TOUCHES else None
            assert made.decide(intent, path("/out/tmp1"), target=target).allowed


@pytest.mark.parametrize(
    "intent", [Intent.RENAME_FILE, Intent.RENAME_DIR, Intent.COPY, Intent.SYMLINK, Intent.HARDLINK]
)
@pytest.mark.parametrize("policy", [VISIBLE, HIDDEN], ids=["visible", "hidden"])
def test_target_name(intent: Intent, policy: list[FilePatterns]) -> None:
    """A denied target is a refusal the client is told about, hidden or not."""
    decision = gate(patterns=policy).decide(intent, path("/in/a"), target=path("/in/b.exe"))
    assert (decision.allowed, decision.hidden, decision.rule) == (False, False, "file_patterns[/in]")


ALLOW = FilePatterns(allowed_patterns=("*.csv", "in*"))
ALLOW_ONLY = FilePatterns(allowed_patterns=("*.csv", "in*"), denied_patterns=("*",))
BOTH = FilePatterns(allowed_patterns=("good.exe",), denied_patterns=("*.exe",))


@pytest.mark.parametrize(
    ("entry", "name", "is_dir", "allowed"),
    [
        (ALLOW, "a.csv", False, True),
        (ALLOW, "A.CSV", False, True),
        (ALLOW, "a.txt", False, False),
        (ALLOW, "sub", True, True),
        (ALLOW_ONLY, "a.csv", False, True),
        (ALLOW_ONLY, "a.txt", False, False),
        (ALLOW_ONLY, "inbox", True, True),
        (ALLOW_ONLY, "sub", True, False),
        (BOTH, "good.exe", False, True),
        (BOTH, "GOOD.exe", False, True),
        (BOTH, "bad.exe", False, False),
        (FilePatterns(), "anything", False, True),
    ],
)
@pytest.mark.parametrize("deny_policy", [0, 1])
def test_order_of_lists(
    entry: FilePatterns, name: str, is_dir: bool, allowed: bool, deny_policy: int
) -> None:
    entry = FilePatterns(
        allowed_patterns=entry.allowed_patterns,
        denied_patterns=entry.denied_patterns,
        deny_policy=deny_policy,
    )
    intent = Intent.DELETE_DIR if is_dir else Intent.DOWNLOAD
    assert gate(patterns=[entry]).decide(intent, path("/in").child(name)).allowed is allowed


def test_nearest_path_wins() -> None:
    made = gate(
        patterns=[
            FilePatterns(path="/", denied_patterns=("*.exe",)),
            FilePatterns(path="/tools", denied_patterns=("*.txt",)),
        ]
    )
    assert not made.decide(Intent.DOWNLOAD, path("/a.exe")).allowed
    assert not made.decide(Intent.DOWNLOAD, path("/deep/er/a.exe")).allowed
    assert made.decide(Intent.DOWNLOAD, path("/tools/a.exe")).allowed
    decision = made.decide(Intent.DOWNLOAD, path("/tools/deep/a.txt"))
    assert (decision.allowed, decision.rule) == (False, "file_patterns[/tools]")
    assert made.decide(Intent.DOWNLOAD, path("/toolsmith/a.txt")).allowed


def test_entries_for_one_path_all_have_to_agree() -> None:
    made = gate(
        patterns=[
            FilePatterns(denied_patterns=("*.a",)),
            FilePatterns(denied_patterns=("*.b",), deny_policy=1),
        ]
    )
    assert not made.decide(Intent.DOWNLOAD, path("/x.a")).hidden
    assert made.decide(Intent.DOWNLOAD, path("/x.b")).hidden
    assert made.decide(Intent.DOWNLOAD, path("/x.c")).allowed


@pytest.mark.parametrize("intent", [i for i in Intent if i not in CREATES])
def test_what_lies_below_a_hidden_directory_is_hidden(intent: Intent) -> None:
    made = gate(patterns=[FilePatterns(denied_patterns=("secret",), deny_policy=1)])
    for inside in ("/secret/a", "/x/secret/deep/a"):
        decision = made.decide(intent, path(inside), target=path("/ok"))
        assert (decision.allowed, decision.hidden) == (False, True)
    assert not made.decide(Intent.UPLOAD, path("/secret/a")).allowed
    assert not made.decide(Intent.MKDIR, path("/secret/sub/a")).allowed
    assert made.decide(Intent.STAT, path("/secrets/a")).allowed


def test_visible_denied_directory_concerns_itself_alone() -> None:
    made = gate(patterns=[FilePatterns(allowed_patterns=("*.csv",), denied_patterns=("*",))])
    assert not made.decide(Intent.MKDIR, path("/sub")).allowed
    assert not made.decide(Intent.DELETE_DIR, path("/sub")).allowed
    assert made.decide(Intent.LIST, path("/sub")).allowed
    assert made.decide(Intent.UPLOAD, path("/sub/a.csv")).allowed
    assert not made.decide(Intent.UPLOAD, path("/sub/a.txt")).allowed


def test_directory_with_an_entry_of_its_own_is_in_use() -> None:
    made = gate(
        patterns=[
            FilePatterns(path="/", denied_patterns=("*",), deny_policy=1),
            FilePatterns(path="/in", allowed_patterns=("*.csv",), deny_policy=1),
        ]
    )
    assert made.decide(Intent.LIST, path("/in")).allowed
    assert made.decide(Intent.UPLOAD, path("/in/a.csv")).allowed
    assert made.decide(Intent.LIST, path("/out")).hidden
    # Only as a directory: a file of that name is judged like any other.
    assert made.decide(Intent.DOWNLOAD, path("/in")).hidden
    shows = made.name_filter(path("/"))
    assert shows is not None
    assert (shows("in", True), shows("in", False), shows("out", True)) == (True, False, False)


def test_name_filter() -> None:
    assert gate().name_filter(path("/in")) is None
    assert gate(patterns=VISIBLE).name_filter(path("/in")) is None
    made = gate(patterns=HIDDEN)
    assert made.name_filter(path("/")) is None
    for directory in ("/in", "/in/deep"):
        shows = made.name_filter(path(directory))
        assert shows is not None
        names = ["a.txt", "b.EXE", "tmp", "TMPdir", "x.exe.txt"]
        assert [name for name in names if shows(name, name == "TMPdir")] == ["a.txt", "x.exe.txt"]


@pytest.mark.parametrize("is_dir", [False, True])
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "in", "x.exe", "tmp", "ä.EXE"])
@pytest.mark.parametrize("entry", [ALLOW, ALLOW_ONLY, BOTH, HIDDEN[0]])
def test_listing_and_stat_agree(entry: FilePatterns, name: str, is_dir: bool) -> None:
    hidden = FilePatterns(
        allowed_patterns=entry.allowed_patterns,
        denied_patterns=entry.denied_patterns,
        deny_policy=1,
    )
    made = gate(patterns=[hidden])
    shows = made.name_filter(path("/in"))
    assert shows is not None
    decision = made.decide(Intent.STAT, path("/in").child(name), is_dir=is_dir)
    assert shows(name, is_dir) is decision.allowed


def test_the_root_has_no_name_to_judge() -> None:
    made = gate(patterns=[FilePatterns(denied_patterns=("*",), deny_policy=1)])
    assert made.decide(Intent.LIST, path("/")).allowed
    assert made.decide(Intent.STAT, path("/")).allowed


# --- presets ------------------------------------------------------------------------------------------

BRIDGE = [FilePatterns(path="/", preset="openbridge")]


def test_the_list_has_110_extensions() -> None:
    assert len(OPENBRIDGE.extensions) == 110
    assert {"exe", "docx", "tgz", "pdf", "msh2xml", "xvd", "ade"} <= OPENBRIDGE.extensions


@pytest.mark.parametrize("extension", sorted(OPENBRIDGE.extensions))
def test_each_extension_is_refused_at_open(extension: str) -> None:
    made = gate(patterns=BRIDGE)
    for name in (f"a.{extension}", f"A.b.{extension.upper()}", f"a.{extension}. ."):
        decision = made.decide(Intent.UPLOAD, path("/in").child(name))
        assert (decision.allowed, decision.hidden, decision.rule) == (False, False, "file_patterns[/]")


@pytest.mark.parametrize("name", [".file.txt", ".file.csv", "..file", ".ssh", "x.exe", "x.EXE.", "a.Php"])
def test_preset_refuses_what_is_brought_in(name: str) -> None:
    made = gate(patterns=BRIDGE)
    there = path("/in").child(name)
    for intent in (Intent.UPLOAD, Intent.OVERWRITE):
        assert not made.decide(intent, there).allowed
    for intent in (Intent.RENAME_FILE, Intent.COPY, Intent.SYMLINK, Intent.HARDLINK):
        assert not made.decide(intent, path("/in/a.txt"), target=there).allowed
    # What is there already can be seen, fetched and cleaned up.
    for intent in (Intent.STAT, Intent.DOWNLOAD, Intent.DELETE_FILE, Intent.CHECKSUM):
        assert made.decide(intent, there).allowed
    assert made.decide(Intent.RENAME_FILE, there, target=path("/in/a.txt")).allowed
    assert made.name_filter(path("/in")) is None


@pytest.mark.parametrize("name", ["a.txt", "exe", "a.exe.txt", "archive.tar.gz", "a.", "a", "x.exes", "pdf"])
def test_preset_lets_the_rest_in(name: str) -> None:
    assert gate(patterns=BRIDGE).decide(Intent.UPLOAD, path("/in").child(name)).allowed


def test_preset_and_directories() -> None:
    made = gate(patterns=BRIDGE)
    assert made.decide(Intent.MKDIR, path("/site.com")).allowed
    assert not made.decide(Intent.MKDIR, path("/.ssh")).allowed


def test_allowed_patterns_are_exceptions_from_a_preset() -> None:
    made = gate(patterns=[FilePatterns(preset="openbridge", allowed_patterns=("*.pdf",))])
    assert made.decide(Intent.UPLOAD, path("/a.pdf")).allowed
    assert not made.decide(Intent.UPLOAD, path("/a.exe")).allowed


def test_unknown_preset_lets_nothing_in() -> None:
    made = gate(patterns=[FilePatterns(preset="openbrige")])
    decision = made.decide(Intent.UPLOAD, path("/a.txt"))
    assert (decision.allowed, decision.rule) == (False, "file_patterns[/]")
    assert "openbridge" in made.trace(Intent.UPLOAD, path("/a.txt"))[-1].hint
    assert made.decide(Intent.DOWNLOAD, path("/a.txt")).allowed


def test_trace_points_at_the_pattern() -> None:
    step = gate(patterns=VISIBLE).trace(Intent.UPLOAD, path("/in/TMP9"))[-1]
    assert step.where == "filters.file_patterns[0].denied_patterns[1]"
    assert step.why == "TMP9 matches denied pattern tmp*"
    step = gate(patterns=VISIBLE).trace(Intent.STAT, path("/in/tmp9"))[-1]
    assert step.verdict == "pass"
    assert "may be looked at" in step.why


WHOLE = [
    FilePatterns(
        path="/in", allowed_patterns=("pub*",), denied_patterns=("*",), deny_policy=1, directories="whole"
    )
]


@pytest.mark.parametrize("intent", [Intent.DOWNLOAD, Intent.UPLOAD, Intent.STAT, Intent.DELETE_FILE])
def test_a_directory_that_is_allowed_whole(intent: Intent) -> None:
    made = gate(patterns=WHOLE)
    for name in ("/in/pubdir/a", "/in/pubdir/x/y/a", "/in/PUB/a", "/in/pub.txt", "/out/a"):
        assert made.decide(intent, path(name)).allowed, name
    for name in ("/in/a", "/in/other/pub.txt", "/in/other/pubdir/a"):
        assert not made.decide(intent, path(name)).allowed, name


def test_whole_is_the_word_of_the_entry_alone() -> None:
    nearer = FilePatterns(path="/in/pubdir/y", denied_patterns=("*.exe",))
    made = gate(patterns=[*WHOLE, nearer])
    assert not made.decide(Intent.DOWNLOAD, path("/in/pubdir/y/a.exe")).allowed
    assert made.decide(Intent.DOWNLOAD, path("/in/pubdir/y/a.txt")).allowed
    assert made.decide(Intent.DOWNLOAD, path("/in/pubdir/z/a.exe")).allowed
    made = gate(patterns=[*WHOLE, FilePatterns(path="/in", denied_patterns=("*.exe",))])
    assert not made.decide(
        Intent.DOWNLOAD, path("/in/pubdir/a.exe")
    ).allowed  # another entry of the directory


def test_whole_is_explained_and_listed() -> None:
    made = gate(patterns=WHOLE)
    whys = [step.why for step in made.trace(Intent.DOWNLOAD, path("/in/pubdir/x/a"))]
    assert "/in/pubdir is allowed whole, so no pattern on /in speaks of what is in it" in whys
    assert made.name_filter(path("/in/pubdir")) is None
    shows = made.name_filter(path("/in"))
    assert shows is not None
    assert shows("pubdir", True)
    assert not shows("other", True)


def test_moving_out_of_what_is_allowed_whole_asks_both_sides() -> None:
    made = gate(patterns=WHOLE)
    assert not made.decide(Intent.RENAME_FILE, path("/in/pubdir/a"), target=path("/in/a")).allowed
    assert made.decide(Intent.RENAME_FILE, path("/in/pubdir/a"), target=path("/in/pubdir/b")).allowed
