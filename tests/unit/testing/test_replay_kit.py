# SPDX-License-Identifier: Apache-2.0
"""Recordings become cases, and answers are compared with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidegate.testing.replay import ANY, cases, differences, line_differences, replaced

RECORDS = [
    {
        "config": "c",
        "user": "u",
        "command": "pwd",
        "stdin": None,
        "exit_status": 0,
        "stdout": "/\n",
        "stderr": "",
    },
    {"what": "w", "as": "admin", "request": "GET /x", "status": 200, "answer": "ok"},
    {"door": "SFTP", "step": "put", "client": {"rc": 0}, "hook_calls": [{"argv": ["/act"]}]},
    {"case": "startup hook", "hook_calls": []},
    {"kind": "structured", "line": {"sender": "login", "level": "info"}},
    {"kind": "plain", "line": "hello"},
    {"something": "else"},
]


def test_each_shape_is_a_case(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    found = list(cases(file))
    assert [(case.kind, case.door, case.step) for case in found] == [
        ("command", "SSH", "pwd"),
        ("request", "HTTP", "GET /x"),
        ("hook", "SFTP", "put"),
        ("hook", "", "startup hook"),
        ("log", "", "login"),
        ("log", "", ""),
    ]
    assert found[0].expected == {"exit_status": 0, "stdout": "/\n", "stderr": ""}
    assert found[0].given["user"] == "u"
    assert found[2].expected["hook_calls"] == [{"argv": ["/act"]}]
    assert found[5].expected == {"message": "hello"}
    assert str(found[1]) == "r.jsonl:2 GET /x"


@pytest.mark.parametrize("line", ["nonsense", "[1]"])
def test_what_is_no_recording_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "r.jsonl").write_text('{"line": "x"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"r\.jsonl:2: "):
        list(cases(tmp_path / "r.jsonl"))


@pytest.mark.parametrize(
    ("expected", "got", "told"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1, "b": 2}, {"a": 1}, ["b: missing"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a: 1 items, not 2"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["a[0].b: 2, not 1"]),
        ({"a": 1}, {"a": True}, ["a: True, not 1"]),
        ("<JWT>", "abc", []),
        ("$2a$10$<53 characters>", "$2a$10$xyz", []),
        ("$2a$10$<53 characters>", "$argon2id$", ["value: '$argon2id$', not '$2a$10$<53 characters>'"]),
        ("2026-01-02T18:56:49Z", "2027-05-06T00:00:00Z", []),
        (1705891475273, 1790000000000, []),
        (7, 8, ["value: 8, not 7"]),
        (ANY, None, []),
    ],
)
def test_differences(expected: object, got: object, told: list[str]) -> None:
    assert differences(expected, got) == told


@pytest.mark.parametrize(
    ("got", "told"),
    [
        ({"sender": "Mkdir", "uid": -1, "elapsed": 7, "more": 1}, []),
        ({"sender": "Mkdir", "elapsed": 7}, ["uid: missing"]),
        ({"sender": "Mkdir", "uid": -1, "elapsed": "7 ms"}, ["elapsed: str, not int"]),
        ({"sender": "Mkdir", "uid": 0, "elapsed": 7}, ["uid: 0, not -1"]),
        ({"sender": "Mkdir", "uid": "-1", "elapsed": 7}, ["uid: '-1', not -1"]),
    ],
)
def test_lines_of_a_log(got: dict[str, object], told: list[str]) -> None:
    recorded = {"sender": "Mkdir", "uid": -1, "elapsed": 0}
    assert line_differences(recorded, got, own={"elapsed"}) == told


def test_paths_of_another_place_are_replaced() -> None:
    recorded = {"file_path": "/srv/data/homes/u1/a", "argv": ["/srv/data/homes/u1", 5], "text": "a/srv"}
    assert replaced(recorded, {"/srv/data/homes": "/h"}) == {
        "file_path": "/h/u1/a",
        "argv": ["/h/u1", 5],
        "text": "a/srv",
    }
