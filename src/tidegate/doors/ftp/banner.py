# SPDX-License-Identifier: Apache-2.0
"""The lines that clients of FTP get first, from a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tidegate.doors.ftp.options import FtpOptions
from tidegate.errors import ConfigError

MAX_BYTES: Final = 16 * 1024
"""Longest file, bytes."""
MAX_LINE: Final = 500
"""Longest line, characters."""


def with_banner(options: FtpOptions) -> FtpOptions:
    """The same options with the lines of `banner_file`, if there is one. Blocking.

    Raises:
        ConfigError: it cannot be read, is empty, too long or not UTF-8.
    """
    path = options.banner_file
    if path is None:
        return options
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"ftpd.banner_file: {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"ftpd.banner_file: {path} is longer than {MAX_BYTES} bytes")
    try:
        lines = content.decode("utf-8").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"ftpd.banner_file: {path} is not UTF-8 text") from None
    if not lines or max(map(len, lines)) > MAX_LINE:
        raise ConfigError(f"ftpd.banner_file: {path} has no lines, or one of more than {MAX_LINE} characters")
    return replace(options, banner=tuple(lines))
