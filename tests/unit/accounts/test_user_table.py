# SPDX-License-Identifier: Apache-2.0
"""Tables of users: separators, bounds and encodings, and each mistake by its row and column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.accounts import user_table
from tidegate.accounts.user_table import MAX_ROWS, MAX_TABLE_BYTES, column_of, decode_table, read_table
from tidegate.errors import BadRecord


def mistakes(text: str) -> list[str]:
    return [str(one) for one in sorted(read_table(text).mistakes)]


def test_every_column_is_read() -> None:
    head = "Username;password;public_keys;group;groups;role;status;expires;permissions;quota_size;quota_files;allowed_ip"
    row = 'mara; pass word ;"key one\r\nkey two";staff;a|b;north;no;2027-03-31;/:list,download|/in:upload;1.5 GB;1,000;192.0.2.0/24 ::1'
    (found,) = read_table(f"{head}\r\n{row}\r\n").rows
    assert found.document == {
        "username": "mara",
        "password": " pass word ",
        "public_keys": ["key one", "key two"],
        "groups": [{"name": "staff", "type": 1}, {"name": "a", "type": 2}, {"name": "b", "type": 2}],
        "role": "north",
        "status": 0,
        "expiration_date": 1_806_537_600_000,
        "permissions": {"/": ["list", "download"], "/in": ["upload"]},
        "quota_size": 1_500_000_000,
        "quota_files": 1_000,
    }
    assert found.filters == {"allowed_ip": ["192.0.2.0/24", "::1"]}


def test_either_separator_and_a_mark_of_byte_order() -> None:
    for content in (
        b"username,email\na,b@c\n",
        b"\xef\xbb\xbfusername;email\r\na;b@c",
        b"email,username\n\n b@c , a \n,\n",
    ):
        (found,) = read_table(decode_table(content)).rows
        assert found.document == {"username": "a", "email": "b@c"}
    assert read_table("username,email\n\n\nz,\n").rows[0].number == 4  # as a spreadsheet counts


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["row 1: should name the columns"]),
        ("username\n", ["the table: has no users"]),
        ("username,usrename\n", ["row 1, usrename: is no column, did you mean username?"]),
        ("username,email,email\n", ["row 1, email: stands here twice"]),
        ("email\na\n", ["row 1, username: is missing", "row 2, username: is empty"]),
        ("username,email\na\n", ["row 2: has 1 cells, the heading has 2"]),
        ("username,quota_files\na,-1\nb,x\nc,1\n", ["row 2, quota_files: '-1' is no whole number", "row 3, quota_files: 'x' is no whole number"]),
        ("username,status,expires\na,maybe,soon\n", ["row 2, expires: 'soon' is no date", "row 2, status: 'maybe' is neither"]),
        ("username,permissions\na,/x:list|/x:list\n", ["row 2, permissions: '/x:list|/x:list' names /x twice"]),
        ('username\n"a\n', ["row 2: is no CSV: unexpected end of data"]),
        ("username,quota_size\na,9 lightyears\n", ["row 2, quota_size: '9 lightyears' is no size"]),
    ],
)  # fmt: skip
def test_each_mistake_by_row_and_column(text: str, told: list[str]) -> None:
    found = mistakes(text)
    assert len(found) == len(told), found
    for one, beginning in zip(found, told, strict=True):
        assert one.startswith(beginning)


def test_bounds() -> None:
    many = "username\n" + "".join(f"u{at}\n" for at in range(MAX_ROWS + 1))
    found = read_table(many)
    assert len(found.rows) == MAX_ROWS
    assert str(found.mistakes[0]) == f"row {MAX_ROWS + 2}: is more than {MAX_ROWS} users"
    assert "longer than" in mistakes("x" * (MAX_TABLE_BYTES + 1))[0]
    wrong = "username,uid\n" + "a,x\n" * 1_500
    assert len(read_table(wrong).mistakes) == user_table.MAX_MISTAKES + 1
    assert "longer than 16384" in mistakes(f"username,email\na,{'x' * 16_385}\n")[0]
    assert "no CSV" in mistakes("username\n" + "x" * 200_000)[0]  # the csv module has a bound of its own


def test_a_heading_of_very_many_columns_is_one_mistake() -> None:
    (found,) = mistakes("username," + "a," * 200_000 + "\nx\n" * 100)
    assert found.startswith("row 1: has 200002 columns; there are 21: username, ")


def test_other_encodings_are_named() -> None:
    with pytest.raises(BadRecord, match=r"line 3: the byte 0xe9 is no UTF-8"):
        decode_table(b"username\na\nb\xe9\n")
    with pytest.raises(BadRecord, match="UTF-16"):
        decode_table("username\na".encode("utf-16"))
    with pytest.raises(BadRecord, match="longer than"):
        decode_table(bytes(MAX_TABLE_BYTES + 1))


def test_passwords_are_not_repeated() -> None:
    assert "secret" not in "".join(mistakes(f"username,password\na,{'secret' * 4_000}\n"))


def test_fields_name_their_columns() -> None:
    assert column_of("filters.allowed_ip[0]") == "allowed_ip"
    assert column_of("permissions./in") == "permissions"
    assert column_of("expiration_date") == "expires"
    assert column_of("public_keys[1]") == "public_keys"
    assert column_of("groups[0].name") in ("group", "groups")
    assert column_of("no_such_field") == "no_such_field"


@given(st.text(alphabet=st.sampled_from('username,;"\n\r|:/ ab1\0\ufeff'), max_size=200))
def test_no_text_makes_reading_fail(text: str) -> None:
    found = read_table(text)
    assert found.rows or found.mistakes
