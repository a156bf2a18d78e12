# SPDX-License-Identifier: Apache-2.0
"""Every field of every recorded dump stands in the table that an import goes by, since no later release."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.moved import DUMPS, HASH, move, move_stream

from tidegate.errors import BadRecord
from tidegate.store.legacy import table
from tidegate.store.legacy.account import Judged
from tidegate.store.legacy.table import Fate, Row

WHOLE = ("whole-0.9.6", "whole-1.2.2", "whole-2.0.4", "whole-2.4.5", "whole-2.7.5")
OTHERS = ("extra-2.7.5", "part-2.7.5-bolt-master-key")
ROWS = {
    "folders": table.FOLDERS,
    "groups": table.GROUPS,
    "roles": table.ROLES,
    "api_keys": table.API_KEYS,
    "event_actions": table.EVENT_ACTIONS,
    "event_rules": table.EVENT_RULES,
}

Field = tuple[str, str, dict[str, Row]]
"""Place, name, and the rows that it should be among."""


def fields(dump: dict[str, Any]) -> Iterator[Field]:
    for section, records in dump.items():
        yield "", section, table.SECTIONS
        for record in records if isinstance(records, list) else ():
            if section == "users":
                yield from of_settings(record, "users", table.USERS)
            elif section == "admins":
                yield from (("admins", key, table.ADMINS) for key in record)
                filters = record.get("filters") or {}
                yield from (("admins.filters", key, table.ADMIN_FILTERS) for key in filters)
            elif section in ROWS:
                yield from ((section, key, ROWS[section]) for key in record)
                if section == "groups":
                    settings = record.get("user_settings") or {}
                    yield from of_settings(settings, "groups.user_settings", table.GROUP_SETTINGS)
                    yield from of_mounts(record, "groups")


def of_settings(record: dict[str, Any], where: str, rows: dict[str, Row]) -> Iterator[Field]:
    yield from ((where, key, rows) for key in record)
    filters = record.get("filters") or {}
    for key, value in filters.items():
        yield f"{where}.filters", key, table.FILTERS
        for item in value if key in table.NESTED else ():
            yield from ((f"{where}.filters.{key}", inner, table.NESTED[key]) for inner in item)
    yield from of_mounts(record, where)


def of_mounts(record: dict[str, Any], where: str) -> Iterator[Field]:
    for mount in record.get("virtual_folders") or ():
        yield from ((f"{where}.virtual_folders", key, table.MOUNTS) for key in mount)


def release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@pytest.mark.parametrize("name", [*WHOLE, *OTHERS])
def test_every_field_stands_in_the_table(name: str) -> None:
    dump = json.loads((DUMPS / f"{name}.json").read_text())
    found = re.search(r"[0-9.]+[0-9]", name)
    assert found is not None
    of, seen, wrong = release(found[0]), 0, set()
    for where, field, rows in fields(dump):
        seen += 1
        if field not in rows:
            wrong.add(f"{where}.{field} is not in the table")
        elif release(rows[field].since) > of:
            wrong.add(f"{where}.{field} is said to be new in {rows[field].since}")
    assert seen > 100
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("name", OTHERS)
async def test_the_rest_of_the_dumps_comes_in_as_it_is(name: str) -> None:
    dump = json.loads((DUMPS / f"{name}.json").read_text())
    moved = await move(name)
    assert set(moved.users) == {user["username"] for user in dump["users"]}


async def test_records_without_a_name_are_left_out() -> None:
    """SFTPGo 2.7.5 dumps nine roles and two list entries from bolt that are nobody's."""
    moved = await move("part-2.7.5-bolt-master-key")
    assert "9 roles: without a name, as dumps of bolt hold some: left out" in moved.notes
    assert "2 ip_lists: without a name, as dumps of bolt hold some: left out" in moved.notes


async def test_secrets_of_actions_are_opened_or_have_to_be_set_again() -> None:
    moved = await move("whole-2.7.5", leave_out=True)
    secret = moved.actions["act-http"].options["http_config"]["password"]
    assert isinstance(secret, str)
    assert 0 < len(secret) < 40
    sealed = await move("part-2.7.5-bolt-master-key")
    assert "password" not in sealed.actions["act-http"].options["http_config"]
    told = "options.http_config.password: is encrypted under a master key of SFTPGo's and empty now"
    assert f"event_actions[3] (act-http): {told}" in sealed.notes


@pytest.mark.parametrize("flatten", [False, True])
async def test_secrets_of_groups_are_opened(flatten: bool) -> None:
    dump = json.loads((DUMPS / "whole-2.7.5.json").read_text())
    known = json.loads((DUMPS / "credentials-made-up.json").read_text())["2.7.5"]["totp"]
    totp = next(user["filters"]["totp_config"] for user in dump["users"] if user["username"] in known)
    assert totp["secret"]["status"] == "Secretbox"
    storage = {"provider": 1, "s3config": {"bucket": "b", "access_key": "k", "access_secret": totp["secret"]}}
    group = {"name": "g", "user_settings": {"filesystem": storage}}
    user = {"username": "ana", "status": 1, "password": HASH, "home_dir": "/srv/ana"}
    user |= {"permissions": {"/": ["*"]}, "groups": [{"name": "g", "type": 1}]}
    moved = await move({"version": 17, "users": [user], "groups": [group]}, flatten_groups=flatten)
    assert str(moved.users["ana"].filesystem.options).count(next(iter(known.values()))[:4]) == 1


@pytest.mark.parametrize("depth", [20, 200, 900, 5000])
async def test_groups_of_any_depth_are_refused_by_name(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    text = f'{{"version":17,"groups":[{{"name":"g","user_settings":{{"filters":{deep}}}}}]}}'
    if depth == 20:
        assert (await move_stream(io.BytesIO(text.encode()))).groups
        return
    with pytest.raises(BadRecord, match=r"too deep|deeper than"):
        await move_stream(io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    ("row", "value", "closes", "notes"),
    [
        (Row("2.0", Fate.RESTRICTS, "do this"), 1, [("f", "do this")], []),
        (Row("2.0", Fate.RESTRICTS, "do this"), {"a": [0, "", {}]}, [], []),
        (Row("2.0", Fate.HARMLESS, "no matter"), 1, [], [("f", "no matter")]),
        (Row("2.0", Fate.HARMLESS, "says only who"), 1, [], []),
        (Row("2.0", Fate.CARRIED), 1, [], []),
        (Row("2.0", Fate.CONVERTED, "into this"), 1, [], []),
        (None, 0, [], []),
    ],
)
def test_a_field_is_judged_by_its_row(
    row: Row | None, value: object, closes: list[object], notes: list[object]
) -> None:
    judged = Judged()
    judged.by_row("f", row, value)
    assert (judged.closes, judged.notes) == (closes, notes)


def test_what_is_not_carried_says_what_to_do() -> None:
    tables = [rows for rows in vars(table).values() if isinstance(rows, dict)]
    for rows in tables:
        for field, row in rows.items():
            if isinstance(row, Row) and row.fate is not Fate.CARRIED:
                assert row.todo, field
