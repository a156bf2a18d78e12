# SPDX-License-Identifier: Apache-2.0
"""The table from errors to FTP replies: every error has a row, and no text tells more than it may."""

import pytest

from tidegate import errors as e
from tidegate.doors.ftp import status


def leaves(cls: type[e.TidegateError]) -> set[type[e.TidegateError]]:
    below = {leaf for child in cls.__subclasses__() for leaf in leaves(child)}
    return below or {cls}


def test_every_error_has_a_row() -> None:
    ours = {cls for cls in leaves(e.TidegateError) if cls.__module__ == "tidegate.errors"}
    assert ours - status.CODES.keys() == set()
    assert all(400 <= code < 600 for code in status.CODES.values())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (e.NotFound(), b"550 /f: no such file or directory\r\n"),
        (e.QuotaExceeded(), b"552 /f: denying write due to space limit\r\n"),
        (e.StorageFailed(detail="https://bucket/secret"), b"451 /f: storage failure\r\n"),
        (e.ProviderUnavailable("db.internal: no route"), b"451 /f: data provider unavailable\r\n"),
        (e.Denied("no\r\n230 Welcome"), b"550 /f: no??230 Welcome\r\n"),
    ],
)
def test_replies(error: e.TidegateError, expected: bytes) -> None:
    assert status.reply(error, "/f") == expected


def test_an_error_of_a_kind_that_has_no_row_is_temporary() -> None:
    class New(e.TidegateError):
        default_text = "new"

    assert status.code_of(New()) == 451
    assert status.internal() == b"451 internal error\r\n"
