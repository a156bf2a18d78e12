# SPDX-License-Identifier: Apache-2.0
"""Long work shows itself: progress, summaries instead of rows, reports, lists that can be narrowed."""

from __future__ import annotations

import csv
import json
import os
import pty
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import TIDEGATE, Result, clean_environment, tidegate

from tidegate.cli import progress
from tidegate.cli.terminal import TABLE_ROWS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    assert tidegate("initprovider", "-c", tmp_path).code == 0
    return tmp_path


def dump_of(place: Path, count: int, **more: Any) -> Path:
    users = [
        {"username": f"u{n:05}", "status": n % 2, "home_dir": f"/x/{n}", "permissions": {"/": ["*"]}}
        for n in range(count)
    ]
    file = place / "dump.json"
    file.write_text(json.dumps({"users": users, **more}))
    return file


def ok(*args: str | Path) -> Result:
    result = tidegate(*args)
    assert result.code == 0, result.err
    return result


def test_many_records_are_a_summary_and_a_report(place: Path) -> None:
    file, report = dump_of(place, 21), place / "report.json"

    dry = ok("loaddata", file, "-c", place, "--dry-run")
    done = ok("loaddata", file, "-c", place, "--report", report)
    again = ok("loaddata", file, "-c", place, "--mode", "1", "--dry-run", "--json")

    assert dry.out == "dry run, nothing was changed: 21 users added\n"
    assert "note: --report FILE writes what became of each record\n" in dry.err
    assert done.out == "loaded 21 records: 21 users added\n"
    rows = [row for row in json.loads(report.read_text()) if row["kind"] == "user"]
    assert (rows[20]["name"], rows[20]["action"]) == ("u00020", "added")
    assert {row["action"] for row in again.json} == {"kept"}
    assert tidegate("loaddata", file, "-c", place, "--report", place / "no" / "x.json").code == 1


def test_few_records_are_shown(place: Path) -> None:
    done = ok("loaddata", dump_of(place, 2, folders=[{"name": "f", "mapped_path": "/f"}]), "-c", place)

    assert ["user", "u00001", "added"] in done.words
    assert done.out.endswith("loaded 3 records: 1 folder added, 2 users added\n")


def test_lists_are_narrowed_and_of_any_length(place: Path) -> None:
    count = TABLE_ROWS + 5
    ok("loaddata", dump_of(place, count), "-c", place)

    whole = ok("user", "list", "-c", place)
    names = [words[0] for words in whole.words if words[0].startswith("u0")]
    assert names == [f"u{n:05}" for n in range(count)]
    columns = {line.index("/x/") for line in whole.out.splitlines() if "/x/" in line}
    assert len(columns) == 1
    assert [user["username"] for user in ok("user", "list", "-c", place, "--json").json] == names

    def few(*flags: str) -> list[str]:
        return [user["username"] for user in ok("user", "list", "-c", place, "--json", *flags).json]

    assert few("--limit", "2") == ["u00000", "u00001"]
    assert few("--match", "u0000[12]") == ["u00001", "u00002"]
    assert few("--match", "*3", "--status", "enabled", "--limit", "2") == ["u00003", "u00013"]
    assert few("--match", "nobody") == []
    assert (
        "'gone' is not enabled or disabled" in tidegate("user", "list", "-c", place, "--status", "gone").err
    )


def test_imports_are_a_summary_and_a_report(place: Path) -> None:
    users, report = place / "users", place / "report.json"
    password = "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0"
    users.write_text(
        "".join(f"p{n}:{password}:{2000 + n}:{2000 + n}::/srv/p{n}/./:::10:1::::::::\n" for n in range(30))
    )

    done = ok("import", "pureftpd", users, "-c", place, "--report", report)

    assert done.out == "done: 30 to add, 0 to update, 0 to keep\n"
    assert "(30: p0, p1, p2, ...)" in done.err
    assert len(json.loads(report.read_text())["users"]) == 30
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


def test_an_import_makes_its_database_and_reports_as_a_table(tmp_path: Path) -> None:
    users, report = tmp_path / "users", tmp_path / "report.csv"
    good = "=1+1:$1$abcdefgh$irWbblnpmw.5z7wgBnprh0:2000:2000::/srv/a/./:::10:1::::::::\n"
    users.write_text(good)

    assert "initprovider" in tidegate("import", "pureftpd", users, "-c", tmp_path).err
    odd = tidegate("import", "pureftpd", users, "-c", tmp_path, "--report", tmp_path / "report.txt")
    assert "report.txt should end in .json or .csv" in odd.err
    done = ok("import", "pureftpd", users, "-c", tmp_path, "--create", "--report", report)

    assert done.out == "done: 1 to add, 0 to update, 0 to keep\n"
    with report.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["user"] for row in rows} == {"'=1+1"}, "a spreadsheet would take it for a formula"
    assert {"user": "'=1+1", "action": "add", "field": "home_dir", "then": "/srv/a"}.items() <= next(
        row for row in rows if row["field"] == "home_dir"
    ).items()
    assert stat.S_IMODE(report.stat().st_mode) == 0o600

    users.write_text(f"{good}bad line\n")
    assert tidegate("import", "pureftpd", users, "-c", tmp_path, "--report", report).code == 1
    with report.open(newline="") as file:
        assert [row["from"] for row in csv.DictReader(file) if row["action"] == "problem"] == [f"{users}:2"]


def test_marking_for_a_count_shows_itself(place: Path) -> None:
    """Accounts of a load whose files are counted anew are marked, those with a quota or all."""
    file = dump_of(place, 3)
    document = json.loads(file.read_text())
    document["users"][1]["quota_files"] = 10
    file.write_text(json.dumps(document))

    some = ok("loaddata", file, "-c", place, "--scan-quota", "2")
    everybody = ok("loaddata", file, "-c", place, "--scan-quota", "1")

    assert "files of 1 users are counted when the server starts" in some.err
    assert "files of 3 users are counted when the server starts" in everybody.err


def test_a_line_now_and_then_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.meter("loading", "users", 4_000) as meter:
        for _ in range(20):
            now += 1.0
            meter.advance(50)

    assert capsys.readouterr().err.splitlines() == [
        "loading: 500 of 4,000 users (12 %), 50 a second, 70 s left",
        "loading: 1,000 of 4,000 users (25 %), 50 a second, 60 s left",
    ]
    assert progress.Meter("reading", "users").line(2.0) == "reading: 0 users, 0 a second"


def test_a_bar_on_a_terminal(place: Path) -> None:
    script = (
        "import time; from tidegate.cli import progress\n"
        "progress.QUIET_SECONDS = 0\n"
        "with progress.meter('loading', 'users', 10) as meter:\n"
        "    meter.advance(5); meter._shown[0].refresh(); meter.advance(5)\n"
    )
    terminal, end = pty.openpty()
    done = subprocess.run(
        [TIDEGATE[0], "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=end, timeout=30,
        env=clean_environment(TERM="xterm", COLUMNS="100"), check=False,
    )  # fmt: skip
    os.close(end)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)

    assert done.returncode == 0
    assert done.stdout == b""
    assert "loading" in shown
    assert "5/10" in shown
