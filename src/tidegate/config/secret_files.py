# SPDX-License-Identifier: Apache-2.0
"""Reading a password or passphrase from a file: bounded, and with one wording for what is wrong.

No error repeats anything of the content.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO, Final

from tidegate.errors import ConfigError, Problem

MAX_SECRET_BYTES: Final = 64 * 1024
"""Longest file that is taken for a secret."""


def read_secret(path: Path, label: str) -> str:
    """The secret in a file; one line end after it is not part of it. Blocks.

    Args:
        path: regular file, or anything else that ends (a pipe of the shell).
        label: who named the file, for errors: a configuration key or a flag.

    Raises:
        ConfigError: it is missing, cannot be read, is too long, empty, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            return _secret(file, str(path), label)
    except OSError as error:
        raise ConfigError([Problem(label, f"{path}: {error.strerror}")]) from None


def read_secret_from_stdin(label: str) -> str:
    """As `read_secret`, from standard input."""
    try:
        return _secret(sys.stdin.buffer, "standard input", label)
    except OSError as error:
        raise ConfigError([Problem(label, f"standard input: {error.strerror}")]) from None


def _secret(file: BinaryIO, name: str, label: str) -> str:
    raw = file.read(MAX_SECRET_BYTES + 1)
    if len(raw) > MAX_SECRET_BYTES:
        raise ConfigError([Problem(label, f"{name} is longer than {MAX_SECRET_BYTES} bytes")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([Problem(label, f"{name} is not UTF-8 text")]) from None
    text = text.removesuffix("\r\n" if text.endswith("\r\n") else "\n")
    if not text:
        raise ConfigError([Problem(label, f"{name} is empty")])
    return text
