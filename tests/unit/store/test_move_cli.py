# SPDX-License-Identifier: Apache-2.0
"""The commands of a move: what they print, what they write, and what closes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import sqlalchemy as sqla
from tests.support.command_line import tidegate
from tests.support.moved import HASH, dump_file
from tests.support.sftpgo_database import Filler


@pytest.fixture
def place(tmp_path: Path) -> Path:
    assert tidegate("initprovider", "-c", tmp_path).code == 0
    return tmp_path


def statuses(place: Path) -> dict[str, int]:
    users = json.loads(tidegate("user", "list", "-c", place, "--json").out)
    return {user["username"]: user["status"] for user in users}


def cells(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_dry_run_says_what_the_load_says(place: Path) -> None:
    dump = dump_file("closed-two")

    dry = tidegate("loaddata", dump, "-c", place, "--dry-run")
    assert statuses(place) == {}
    real = tidegate("loaddata", dump, "-c", place)

    assert dry.code == real.code == 0
    assert dry.err == real.err
    assert "note: users[0] (tina): filters.denied_countries: comes in disabled" in real.err
    assert "2 of them disabled" in real.out
    assert statuses(place) == {"tina": 0, "toto": 0}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """SFTPGo's own database with the accounts of a dump."""
    file = tmp_path / "sftpgo" / "sftpgo.db"
    file.parent.mkdir()
    engine = sqla.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        Filler(connection, 33).fill(json.loads(dump_file("closed-two").read_text()))
    engine.dispose()
    return file


def test_the_database_comes_in_as_its_dump_does(place: Path, database: Path) -> None:
    before = database.read_bytes()

    dry = tidegate("import", "sftpgo", "--from", f"sqlite:{database}", "-c", place, "--dry-run")
    assert statuses(place) == {}
    real = tidegate("import", "sftpgo", "--from", f"sqlite:{database}", "-c", place, "--open", "toto")

    assert dry.code == real.code == 0, dry.err + real.err
    assert "note: users[0] (tina): filters.denied_countries: comes in disabled" in real.err
    assert statuses(place) == {"tina": 0, "toto": 1}
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == ["sftpgo.db"]


def test_import_sftpgo_takes_a_dump_as_loaddata_does(place: Path) -> None:
    done = tidegate("import", "sftpgo", dump_file("closed-two"), "-c", place)

    assert done.code == 0
    assert "loaded 2 records: 2 users added\n2 of them disabled; see the notes above" in done.out
    assert statuses(place) == {"tina": 0, "toto": 0}
    again = tidegate("loaddata", dump_file("closed-two"), "-c", place)
    assert again.err == done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a dump or --from DATABASE, one of the two"),
        (["dump.json", "--from", "sqlite:x"], "name a dump or --from DATABASE, one of the two"),
        (["--from", "sqlite:missing.db"], "--from: missing.db: No such file"),
        (["--from", "postgresql://joe:secret@127.0.0.1:1/x"], "--from: postgresql at 127.0.0.1:1:"),
    ],
)
def test_a_source_that_is_wrong_is_named(place: Path, words: list[str], said: str) -> None:
    done = tidegate("import", "sftpgo", *words, "-c", place)

    assert done.code in {1, 2}
    assert said in done.err
    assert "secret" not in done.err


def test_a_database_in_the_place_of_a_dump_is_told(place: Path, database: Path) -> None:
    for command in (["loaddata"], ["import", "sftpgo"]):
        done = tidegate(*command, database, "-c", place)
        assert done.code == 1
        assert f"tidegate import sftpgo --from sqlite:{database}" in done.err


def test_open_names_who_comes_in_open(place: Path) -> None:
    done = tidegate("loaddata", dump_file("closed-two"), "-c", place, "--open", "toto", "--open", "nobody")

    assert statuses(place) == {"tina": 0, "toto": 1}
    assert "--open nobody: no such user or administrator in the dump" in done.err


def test_every_mistake_has_its_line_and_leave_out_loads_the_rest(place: Path, tmp_path: Path) -> None:
    good = {"username": "ana", "password": HASH, "home_dir": "/srv/ana", "permissions": {"/": ["*"]}}
    bad = [{**good, "username": "bea", "home_dir": "x"}, {**good, "username": "cyd", "permissions": {}}]
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps({"users": [good, *bad], "version": 17}))

    refused = tidegate("loaddata", dump, "-c", place)
    assert refused.code == 1
    assert [line.split(":")[1] for line in refused.err.splitlines()] == [
        " users[1] (bea).home_dir",
        " users[2] (cyd).permissions",
    ]
    assert statuses(place) == {}

    done = tidegate("loaddata", dump, "-c", place, "--leave-out")
    assert done.code == 0
    assert "users[1] (bea): home_dir: left out: 'x' is not an absolute path" in done.err
    assert statuses(place) == {"ana": 1}


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_report_has_one_row_a_record(place: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"report{suffix}"
    dump = json.loads(dump_file("whole-2.7.5").read_text())
    anon = next(user for user in dump["users"] if user["username"] == "anon")
    anon["filters"]["denied_countries"] = ["XX"]
    changed = tmp_path / "dump.json"
    changed.write_text(json.dumps(dump))
    done = tidegate("loaddata", changed, "-c", place, "--dry-run", "--leave-out", "--report", file)
    assert done.code == 0
    rows = cells(file) if suffix == ".csv" else json.loads(file.read_text())

    users = [row for row in rows if row["kind"] == "user"]
    assert len(users) == 121
    states = {row["name"]: row["state"] for row in users if row["state"]}
    assert states["anon"] == "closed"
    renamed = next(row for row in users if row["place"] == "users[117]")
    assert (renamed["name"], renamed["action"]) == ("lead", "added")
    closed = next(row for row in users if row["name"] == "anon")
    assert closed["place"] == "users[87]"
    assert "denied_countries: comes in disabled" in str(closed["remarks"])


def test_no_cell_of_a_report_is_a_formula(place: Path, tmp_path: Path) -> None:
    dump, file = tmp_path / "dump.json", tmp_path / "r.csv"
    user = {"username": "=1+1", "password": HASH, "home_dir": "/srv/x", "permissions": {"/": ["*"]}}
    dump.write_text(json.dumps({"users": [user], "version": 17}))

    tidegate("loaddata", dump, "-c", place, "--report", file)

    assert [row["name"] for row in cells(file) if row["kind"] == "user"] == ["'=1+1"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--report", "r.txt"], "--report: r.txt should end in .json or .csv"),
        (["--from-version", "two"], "'two' is not a release of SFTPGo such as 2.5.1"),
    ],
)
def test_wrong_flags_are_named(place: Path, flags: list[str], said: str) -> None:
    done = tidegate("loaddata", dump_file("closed-two"), "-c", place, *flags)
    assert done.code == 1
    assert said in done.err


def test_our_own_dump_means_what_it_says(place: Path, tmp_path: Path) -> None:
    tidegate("loaddata", dump_file("closed-two"), "-c", place, "--open-all")
    dump = tmp_path / "ours.json"
    assert tidegate("dumpdata", dump, "-c", place).code == 0

    assert tidegate("loaddata", dump, "-c", place).code == 0
    assert statuses(place) == {"tina": 1, "toto": 1}


def test_the_memory_driver_says_what_is_not_carried(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "dump.json").write_bytes(dump_file("closed-two").read_bytes())
    config = {
        "data_provider": {"driver": "memory", "name": "dump.json"},
        "sftpd": {"bindings": [{"port": 0}]},
    }
    (tmp_path / "tidegate.json").write_text(json.dumps(config))

    checked = tidegate("check", "-c", tmp_path)
    assert "note: users[0] (tina): filters.denied_countries: comes in disabled" in checked.err
    assert "2 users of" in checked.out
    listed = tidegate("user", "list", "-c", tmp_path, "--json")
    assert [user["status"] for user in json.loads(listed.out)] == [0, 0]
    assert "dump.json: users[0] (tina): filters.denied_countries: comes in disabled" in caplog.text


def test_keys_of_sftpgo_that_have_no_effect_are_notes(tmp_path: Path) -> None:
    config = {
        "common": {"secret_min_entropy": 80},
        "sftpd": {"bindings": [{"port": 0}], "min_dh_group_exchange_key_size": 2048},
        "data_provider": {
            "auto_backup": {"enabled": True, "hour": "0", "day_of_week": "*"},
            "skip_natural_keys_validation": True,
        },
    }
    (tmp_path / "tidegate.json").write_text(json.dumps(config))

    checked = tidegate("check", "-c", tmp_path)

    assert checked.code == 0, checked.err
    for key in (
        "secret_min_entropy",
        "min_dh_group_exchange_key_size",
        "auto_backup",
        "skip_natural_keys_validation",
    ):
        assert f"{key}: not available in this version" in checked.err
