# SPDX-License-Identifier: Apache-2.0
"""The table from errors to status codes: every error has a row, and no text tells more than it may."""

import pytest

from tidegate import errors as e
from tidegate.doors.dav import status


def leaves(cls: type[e.TidegateError]) -> set[type[e.TidegateError]]:
    below = {leaf for child in cls.__subclasses__() for leaf in leaves(child)}
    return below or {cls}


def test_every_error_has_a_row() -> None:
    ours = {cls for cls in leaves(e.TidegateError) if cls.__module__ == "tidegate.errors"}
    assert ours - status.CODES.keys() == set()
    assert all(400 <= code < 600 for code in status.CODES.values())


@pytest.mark.parametrize(
    ("error", "code", "condition", "text"),
    [
        (e.NotFound(), 404, "", "no such file or directory"),
        (e.QuotaExceeded(), 507, "quota-not-exceeded", "denying write due to space limit"),
        (e.StorageFull(), 507, "sufficient-disk-space", "no space left on storage"),
        (e.StorageFailed(detail="https://bucket/secret"), 500, "", "storage failure"),
        (e.ProviderUnavailable("db.internal: no route"), 503, "", "data provider unavailable"),
    ],
)
def test_answers(error: e.TidegateError, code: int, condition: str, text: str) -> None:
    found = (status.code_of(error), status.condition_of(error), status.text_of(error))
    assert found == (code, condition, text)


def test_an_error_of_a_kind_that_has_no_row_is_ours() -> None:
    class New(e.TidegateError): ...

    assert status.code_of(New()) == 500
