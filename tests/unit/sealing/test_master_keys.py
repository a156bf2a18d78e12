# SPDX-License-Identifier: Apache-2.0
"""Sources of master keys, and errors about texts that are none."""

from __future__ import annotations

import base64
import os
import select
import time
from pathlib import Path

import pytest

from tidegate.errors import ConfigError
from tidegate.sealing import keys
from tidegate.sealing.keys import from_bytes, from_command, from_file, from_text

RAW = bytes(range(200, 232))
KEY = from_bytes(RAW, "")
SPELLINGS = [
    RAW.hex(),
    RAW.hex().upper(),
    f"  {RAW.hex()}\n",
    base64.b64encode(RAW).decode(),
    base64.urlsafe_b64encode(RAW).decode().rstrip("="),
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_32_bytes_in_any_spelling_are_one_key(text: str, tmp_path: Path) -> None:
    assert from_text(text, "x") == KEY
    (tmp_path / "key").write_text(text)
    assert from_file(tmp_path / "key", "x") == KEY
    assert from_command(["printf", "%s", text], "x") == KEY


def test_a_file_of_32_bytes_is_a_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(RAW)
    assert from_file(tmp_path / "key", "x") == KEY


def test_a_passphrase_is_stretched_and_says_so() -> None:
    found = from_text("correct horse battery staple", "x")
    assert found.form == "stretched from a passphrase by scrypt"
    assert found == from_text(" correct horse battery staple\n", "x")
    assert found.id == "f55d4a73fa80c960"


def test_a_key_shows_nothing_of_itself() -> None:
    assert RAW.hex()[:16] not in repr(KEY)
    assert KEY.id not in RAW.hex()
    assert KEY.wrapping.hex() not in repr(KEY)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"short-key-hush", "is shorter than 16 characters"),
        (RAW + b"\xff", "is neither text nor exactly 32 bytes"),
        (b"a\0" * 20, "is neither text nor exactly 32 bytes"),
        (b"x" * 5000, "is longer than 4096 bytes"),
    ],
)
def test_a_bad_file_is_named_and_not_repeated(raw: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(raw)
    with pytest.raises(ConfigError, match=what) as why:
        from_file(tmp_path / "key", "kms.secrets.master_key_path")
    assert str(why.value).startswith("kms.secrets.master_key_path: ")
    assert "hush" not in str(why.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"label: .*/nothing: No such file"):
        from_file(tmp_path / "nothing", "label")


def program(directory: Path, text: str) -> str:
    path = directory / "print-key"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_a_command_sees_no_environment_no_shell_and_no_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_SECRET_OF_OURS", "hush")
    seen = tmp_path / "seen"
    text = f'env > {seen}; cat >> {seen}; printf "%s\\n" "$@" >> {seen}; echo {RAW.hex()}'
    assert from_command([program(tmp_path, text), "a b", "$HOME;`id`"], "x") == KEY
    lines = seen.read_text().splitlines()
    assert lines[-2:] == ["a b", "$HOME;`id`"]
    assert {line.split("=")[0] for line in lines[:-2]} <= {"PATH", "PWD", "OLDPWD", "SHLVL", "_"}
    assert f"PATH={os.environ['PATH']}" in lines


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("echo hush; exit 3", "ended with status 3"),
        ("head -c 5000 /dev/zero | tr '\\0' x", "is longer than 4096 bytes"),
        ("yes hush", "is longer than 4096 bytes"),
        ("true", "is empty"),
    ],
)
def test_a_bad_command_is_named_and_its_output_is_not(text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=what) as why:
        from_command([program(tmp_path, text)], "label")
    assert "hush" not in str(why.value)


def ended(process: int) -> bool:
    """True once a process is gone or dead, which the kernel says of its descriptor."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


def test_a_slow_command_ends_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "COMMAND_SECONDS", 1.0)
    numbers = tmp_path / "numbers"
    for text in (
        f"sleep 60 & echo $! > {numbers}; sleep 60",
        f"exec >&-; sleep 60 & echo $! > {numbers}; wait",
    ):
        before = time.monotonic()
        with pytest.raises(ConfigError, match="took longer than 1 seconds"):
            from_command([program(tmp_path, text)], "label")
        assert time.monotonic() - before < 10
        assert ended(int(numbers.read_text()))


def test_a_missing_command_is_named() -> None:
    with pytest.raises(ConfigError, match="label: no-such-program-here: no such program"):
        from_command(["no-such-program-here"], "label")
