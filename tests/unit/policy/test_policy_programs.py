# SPDX-License-Identifier: Apache-2.0
"""Rules for git and rsync: everything that the program could do must be allowed, and nothing hold beside it."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.model import (
    Account,
    FilePatterns,
    Filters,
    FolderMount,
    Permission,
    ProgramDirectory,
    ProgramUse,
    StorageConfig,
    VPath,
)
from tidegate.policy.explain import explain, parse_program
from tidegate.policy.programs import WRITES, ProgramRules

EVERY = tuple(WRITES)


def account(**fields: Any) -> Account:
    return Account(username="u", home_dir="/srv/u", **{"permissions": {"/": ("*",)}, **fields})


def decide(of: Account, path: str, *, writes: bool = True, needs: tuple[Permission, ...] = ()) -> str:
    """The rule that refuses; empty if none does."""
    use = ProgramUse.RSYNC_WRITE if writes else ProgramUse.RSYNC_READ
    return ProgramRules(of).decide(ProgramDirectory(VPath.parse(path), writes, frozenset(needs)), use).rule


def test_an_account_that_may_do_everything_runs_programs() -> None:
    assert decide(account(), "/") == ""
    assert decide(account(), "/a/b", needs=(Permission.CHOWN,)) == ""


@pytest.mark.parametrize("missing", EVERY)
def test_each_permission_is_needed_to_write(missing: str) -> None:
    of = account(permissions={"/": tuple(name for name in EVERY if name != missing)})

    assert decide(of, "/x") == "permissions[/]"
    assert (decide(of, "/x", writes=False) == "") == (missing not in ("list", "download"))


def test_the_finer_permissions_together_are_the_coarse_ones() -> None:
    finer = {"delete_files", "delete_dirs", "rename_files", "rename_dirs"}
    names = tuple({*EVERY, *finer} - {"delete", "rename"})

    assert decide(account(permissions={"/": names}), "/") == ""
    for missing in finer:
        left = tuple(set(names) - {missing})
        assert decide(account(permissions={"/": left}), "/") == "permissions[/]"


def test_permissions_for_attributes_are_asked_where_they_are_needed() -> None:
    of = account(permissions={"/": EVERY})

    assert decide(of, "/", needs=(Permission.CHMOD,)) == "permissions[/]"
    assert decide(of, "/") == ""


@pytest.mark.parametrize(
    ("path", "writes", "rule"),
    [
        ("/", True, "permissions[/a/b]"),
        ("/", False, ""),
        ("/a", True, "permissions[/a/b]"),
        ("/a/b", True, "permissions[/a/b]"),
        ("/a/b/c", True, "permissions[/a/b]"),
        ("/a/c", True, ""),
        ("/c", True, ""),
        ("/hidden", False, "permissions[/hidden]"),
    ],
)
def test_entries_below_count_as_well(path: str, writes: bool, rule: str) -> None:
    of = account(permissions={"/": ("*",), "/a/b": ("list", "download"), "/hidden": ()})
    if path == "/" and not writes:
        rule = "permissions[/hidden]"

    assert decide(of, path, writes=writes) == rule


def test_entries_with_wildcards_count_where_they_could_match() -> None:
    of = account(permissions={"/": ("*",), "/in/*/ro": ("list",)})

    assert decide(of, "/in") == "permissions[/in/*/ro]"
    assert decide(of, "/in/x") == "permissions[/in/*/ro]"
    assert decide(of, "/in/x/rw") == ""
    assert decide(of, "/out") == ""


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/", "file_patterns[/p]"),
        ("/p", "file_patterns[/p]"),
        ("/p/deep/er", "file_patterns[/p]"),
        ("/pp", ""),
        ("/q", ""),
    ],
)
@pytest.mark.parametrize("writes", [True, False])
def test_file_patterns_refuse_where_they_hold(path: str, rule: str, writes: bool) -> None:
    of = account(filters=Filters(file_patterns=(FilePatterns(path="/p", denied_patterns=("*.exe",)),)))

    assert decide(of, path, writes=writes) == rule


def test_a_directory_that_is_hidden_is_no_programs_business() -> None:
    patterns = FilePatterns(path="/", denied_patterns=("secret",), deny_policy=1)
    whole = FilePatterns(path="/w", allowed_patterns=("x",), directories="whole", deny_policy=1)

    assert decide(account(filters=Filters(file_patterns=(patterns,))), "/secret/a") == "file_patterns[/]"
    of = account(filters=Filters(file_patterns=(whole,)))
    assert decide(of, "/w/y/z") == "file_patterns[/w]"
    assert decide(of, "/w/x/z") == ""  # nothing speaks of what is in a directory that is allowed whole


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/", "virtual_folders"),
        ("/m", "virtual_folders"),
        ("/m/shared", ""),
        ("/m/shared/deep", ""),
        ("/n", ""),
    ],
)
def test_folders_below_refuse(path: str, rule: str) -> None:
    of = account(virtual_folders=(FolderMount(name="s", mapped_path="/srv/s", virtual_path="/m/shared"),))

    assert decide(of, path) == rule


def test_storage_elsewhere_is_refused_with_a_way_out() -> None:
    of = account(filesystem=StorageConfig("s3", {"s3config": {"bucket": "b"}}))

    decision = ProgramRules(of).decide(ProgramDirectory(VPath("/"), False), ProgramUse.RSYNC_READ)

    assert decision.rule == "storage"
    assert "rclone" in decision.text
    assert ProgramRules(of).decide(ProgramDirectory(VPath("/"), True), ProgramUse.GIT_PUSH).allowed


@pytest.mark.parametrize(
    ("word", "use"),
    [
        ("git_push", ProgramUse.GIT_PUSH),
        ("git-receive-pack", ProgramUse.GIT_PUSH),
        ("git-upload-pack", ProgramUse.GIT_FETCH),
        ("git-upload-archive", ProgramUse.GIT_FETCH),
        (" Rsync ", ProgramUse.RSYNC_WRITE),
        ("rsync_read", ProgramUse.RSYNC_READ),
        ("upload", None),
    ],
)
def test_words(word: str, use: ProgramUse | None) -> None:
    assert parse_program(word) is use


def ask(of: Account, op: str, path: str = "/x", **more: Any) -> Any:
    return explain(of, ip="127.0.0.1", protocol="SSH", op=op, path=path, now_ms=0, **more)


def test_explain_tells_what_the_server_would() -> None:
    of = account(permissions={"/": ("list", "download")})

    answer = ask(of, "git_push")

    assert not answer.decision.allowed
    assert (
        answer.decision.text
        == ProgramRules(of).decide(ProgramDirectory(VPath("/x"), True), ProgramUse.GIT_PUSH).text
    )
    assert answer.operation == "git_push"
    assert answer.decided_by is not None
    assert answer.decided_by.hint == "add upload to permissions./"
    assert answer.to_document()["operation"] == "git_push"
    assert "DENIED  git_push /x" in answer.render_text()
    assert ask(of, "git_fetch").decision.allowed


def test_explain_tells_that_a_command_is_not_enabled() -> None:
    answer = ask(account(), "rsync", commands=("git-upload-pack",))

    assert answer.decision.rule == "enabled_ssh_commands"
    assert ask(account(), "git_fetch", commands=("git-upload-pack",)).decision.allowed


def test_explain_asks_about_amounts_too() -> None:
    answer = ask(account(quota_size=10, used_quota_size=10), "rsync_write")

    assert answer.decision.rule == "quota_size"
    assert ask(account(quota_size=10, used_quota_size=10), "rsync_read").decision.allowed
