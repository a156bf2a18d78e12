# SPDX-License-Identifier: Apache-2.0
"""Passwords and passphrases from files: every reader, one wording, nothing of the content in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.command_line import tidegate

from tidegate.cli.terminal import read_password
from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.config.secret_files import MAX_SECRET_BYTES, read_secret
from tidegate.errors import ConfigError
from tidegate.server.http import signing_key
from tidegate.server.wiring import provider_options

BAD: list[tuple[str, bytes | None, str]] = [
    ("missing", None, ": No such file or directory"),
    ("empty", b"", " is empty"),
    ("only a line end", b"\r\n", " is empty"),
    ("only a byte order mark", b"\xef\xbb\xbf\n", " is empty"),
    ("too long", b"s3cret" * (MAX_SECRET_BYTES // 6 + 1), f" is longer than {MAX_SECRET_BYTES} bytes"),
    ("not UTF-8", b"s3cret\xff", " is not UTF-8 text"),
]


def configured(path: Path, **sections: dict[str, str]) -> Loaded:
    return Loaded(Settings.model_validate(sections), config_dir=path.parent)


async def bysigning_key(path: Path) -> None:
    await signing_key(configured(path, httpd={"signing_passphrase_file": path.name}))


async def by_provider(path: Path) -> None:
    provider_options(configured(path, data_provider={"password_file": path.name}))


async def by_flag(path: Path) -> None:
    read_password("alice", stdin=False, file=path)


@pytest.mark.parametrize(
    ("label", "reader"),
    [
        ("data_provider.password_file", by_provider),
        ("httpd.signing_passphrase_file", bysigning_key),
        ("password", by_flag),
    ],
)
@pytest.mark.parametrize(("content", "what"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_every_reader_says_the_same(
    tmp_path: Path, label: str, reader: Callable[[Path], object], content: bytes | None, what: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        await reader(path)

    assert str(caught.value) == f"{label}: {path}{what}"


def test_a_directory_and_a_file_that_may_not_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"password: .*: Is a directory"):
        read_secret(tmp_path, "password")
    closed = tmp_path / "closed"
    closed.write_text("x")
    closed.chmod(0)
    if not os.access(closed, os.R_OK):  # root reads everything
        with pytest.raises(ConfigError, match=r"password: .*/closed: Permission denied"):
            read_secret(closed, "password")


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"plain", "plain"),
        (b"plain\n", "plain"),
        (b"plain\r\n", "plain"),
        (b" blanks count \n", " blanks count "),
        (b"one end only\n\n", "one end only\n"),
        (b"\xef\xbb\xbfp\xc3\xa4ss\n", "päss"),
        (b"x" * (MAX_SECRET_BYTES - 1) + b"\n", "x" * (MAX_SECRET_BYTES - 1)),
    ],
)
def test_what_is_read(tmp_path: Path, content: bytes, secret: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)

    assert read_secret(path, "password") == secret


async def test_configuration_and_flags_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"top secret\n")

    assert read_password("alice", stdin=False, file=path) == "top secret"
    assert (
        provider_options(configured(path, data_provider={"password_file": "secret"})).password == "top secret"
    )
    by_file = await signing_key(configured(path, httpd={"signing_passphrase_file": "secret"}))
    assert by_file == await signing_key(configured(path, httpd={"signing_passphrase": "top secret"}))


def test_check_tells_a_secret_file_that_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    environ = {
        "TIDEGATE_SFTPD__BIND_PORT": "0",
        "TIDEGATE_HTTPD__BIND_PORT": "0",
        "TIDEGATE_DATA_PROVIDER__PASSWORD_FILE": "empty",
        "TIDEGATE_HTTPD__SIGNING_PASSPHRASE_FILE": "missing",
    }

    result = tidegate("check", "-c", tmp_path, "--json", environ=environ)

    assert result.code == 1
    assert sorted(problem["what"] for problem in result.json["problems"]) == [
        f"{tmp_path}/empty is empty",
        f"{tmp_path}/missing: No such file or directory",
    ]
