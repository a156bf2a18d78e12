# SPDX-License-Identifier: Apache-2.0
"""The table from errors to status codes."""

from __future__ import annotations

import pytest
from tests.support import sftp_packets as p

from tidegate import errors
from tidegate.doors.sftp import status


def every_class(base=errors.TidegateError):
    for cls in base.__subclasses__():
        if cls.__module__ == "tidegate.errors":
            yield cls
            yield from every_class(cls)


def leaves():
    return [
        cls
        for cls in every_class()
        if not any(c.__module__ == "tidegate.errors" for c in cls.__subclasses__())
    ]


def test_every_leaf_has_a_row():
    assert len(leaves()) > 20
    assert [cls.__name__ for cls in leaves() if cls not in status.CODES] == []


def test_no_row_sends_a_code_that_servers_must_not_send():
    assert set(status.CODES.values()) <= {2, 3, 4, 5, 8}


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (errors.NotFound(), 2, "No such file or directory"),
        (errors.Denied("permission: upload on /in", rule="permissions[/in]"), 3, "permission: upload on /in"),
        (errors.QuotaExceeded(), 4, "denying write due to space limit"),
        (errors.Unsupported(), 8, "operation unsupported"),
        (errors.ProtocolViolation(), 5, "bad message"),
        (errors.InvalidHandle(), 4, "invalid handle"),
        (errors.AlreadyExists(), 4, "already exists"),
        (errors.StorageFull(), 4, "no space left on storage"),
        (errors.TooLarge(), 4, "file too large: max_upload_file_size"),
        (errors.LoginRefused("bad_credential"), 3, "authentication failed"),
        (errors.ConfigError("/etc/tidegate.json: sftpd"), 4, "failure"),
        (errors.ProviderUnavailable("db at 10.0.0.5 is down"), 4, "data provider unavailable"),
    ],
)
def test_what_the_client_is_told(error, code, text):
    reply = p.parse(status.reply(7, error)[4:])
    assert (reply.rid, reply.code, reply.text) == (7, code, text)


def test_a_class_that_comes_later_takes_the_row_of_its_parent():
    class Newer(errors.NotFound):
        pass

    assert status.code_of(Newer()) == 2
    assert status.code_of(errors.WorldError()) == 4
