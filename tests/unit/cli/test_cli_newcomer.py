# SPDX-License-Identifier: Apache-2.0
"""Lines of somebody who does not know the command line yet: it answers, or says what to type instead."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.support.command_line import process, tidegate

from tidegate import __version__

PASSWORD = "a-good-Pass-1\n"


def test_version_as_a_flag() -> None:
    assert tidegate("--version").out == tidegate("version").out
    assert tidegate("version").out.startswith(f"Tidegate {__version__}, ")


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (["serv"], "No such command 'serv'. Did you mean 'serve'? (see tidegate --help)"),
        (["user", "lst"], "No such command 'lst'. Did you mean 'list', 'set'? (see tidegate user --help)"),
        (["frobnicate"], "No such command 'frobnicate' (see tidegate --help)"),
        (
            ["portable", "--http-endpoint", "http://h"],
            "only directories of this host, buckets and SFTP servers can be shared",
        ),
        (
            ["portable", "--httpd-port", "8090"],
            "SFTP, FTP and WebDAV are served in this version: --sftpd-port, --ftpd-port, --webdav-port",
        ),
        (["serve", "--loaddata-from", "x"], "run tidegate loaddata FILE before the start"),
    ],
)
def test_what_to_type_instead(args: list[str], answer: str) -> None:
    result = tidegate(*args)

    assert result.code == 1
    assert answer in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("shell", "mark"), [("zsh", "#compdef tidegate"), ("fish", "complete "), ("bash", "complete -o")]
)
def test_completion_of_a_named_shell(shell: str, mark: str) -> None:
    shown = tidegate("--show-completion", shell)
    assert (shown.code, shown.err) == (0, "")
    assert mark in shown.out
    assert "'csh' is not one of bash, zsh" in tidegate("--show-completion", "csh").err


def complete(*words: str, **extra: str) -> list[str]:
    """The words that zsh is offered for the last one."""
    result = process(
        _TIDEGATE_COMPLETE="complete_bash",
        COMP_WORDS=" ".join(("tidegate", *words)),
        COMP_CWORD=str(len(words)),
        **extra,
    )
    return result.out.split()


def test_names_are_completed(tmp_path: Path) -> None:
    for name in ("ada", "adam", "bob"):
        tidegate("user", "add", name, "--create", "--password-stdin", "-c", tmp_path, stdin=PASSWORD)
    tidegate("folder", "add", "archive", "/srv/archive", "-c", tmp_path)
    here = {"TIDEGATE_CONFIG_DIR": str(tmp_path)}

    assert complete("user", "show", "ad", **here) == ["ada", "adam"]
    assert complete("folder", "show", "ar", **here) == ["archive"]
    assert complete("user", "show", "-c", str(tmp_path), "b") == ["bob"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert complete("user", "show", "a", TIDEGATE_CONFIG_DIR=str(empty)) == []
    assert os.listdir(empty) == []


def test_check_prints_json_about_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "tidegate.json").write_text('{"sftpd": {"bind_prt": 1}}')

    result = tidegate("check", "--json", "-c", tmp_path)

    assert result.code == 1
    assert json.loads(result.out) == {
        "ok": False,
        "facts": [],
        "notes": [],
        "problems": [
            {
                "where": f"{tmp_path}/tidegate.json: sftpd.bind_prt",
                "what": "unknown key; did you mean sftpd.bind_port?",
            }
        ],
    }


@pytest.mark.parametrize(
    ("flag", "value", "answer"),
    [
        ("--ip", "10.0.0.300", "'10.0.0.300' is not an IP address"),
        ("--method", "passwd", "'passwd' is not one of password, publickey, "),
        ("--protocol", "TFTP", "'TFTP' is not a protocol; expected one of SFTP, "),
        ("--protocol", "SFPT", "'SFPT' is not a protocol; expected one of SFTP, "),
    ],
)
def test_a_question_with_a_mistake_is_not_answered(
    tmp_path: Path, flag: str, value: str, answer: str
) -> None:
    tidegate("user", "add", "ada", "--create", "--password-stdin", "-c", tmp_path, stdin=PASSWORD)

    result = tidegate("explain", "-u", "ada", "--op", "list", flag, value, "-c", tmp_path)

    assert (result.code, result.out) == (1, "")
    assert f"Invalid value for {flag}: {answer}" in result.err


def test_explain_says_that_the_storage_cannot_be_used(tmp_path: Path) -> None:
    document = tmp_path / "ada.json"
    document.write_text(
        json.dumps({"filesystem": {"provider": 6, "httpconfig": {"bucket": "b", "region": "r"}}})
    )
    added = tidegate(
        "user",
        "add",
        "ada",
        "--create",
        "--password-stdin",
        "--document",
        document,
        "-c",
        tmp_path,
        stdin=PASSWORD,
    )
    assert added.code == 0, added.err

    asked = ("explain", "-u", "ada", "--op", "list", "-c", tmp_path)
    result = tidegate(*asked)

    assert result.code == 3
    assert result.out.startswith("would fail: storage: provider 6 is not available in this version\n")
    assert tidegate(*asked, "--json").json["storage"] == "provider 6 is not available in this version"
