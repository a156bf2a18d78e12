# SPDX-License-Identifier: Apache-2.0
"""Flags of SFTPGo that this program does not have, and what to use instead."""

from __future__ import annotations

from typing import Any, Final

_STORAGE: Final = "only directories of this host, buckets and SFTP servers can be shared in this version"
_PROTOCOL: Final = "SFTP, FTP and WebDAV are served in this version: --sftpd-port, --ftpd-port, --webdav-port"

INSTEAD: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "portable": (
        ("--http-", _STORAGE),
        ("--httpd-", _PROTOCOL),
        ("--config-file", "portable has no configuration; everything is a flag"),
        ("--start-directory", "share that directory itself with --directory"),
        ("--log-utc-time", "times in the log are always UTC"),
    ),
    "serve": (
        ("--loaddata-from", "run tidegate loaddata FILE before the start"),
        ("--loaddata-", "flags of tidegate loaddata: --mode, --scan-quota"),
        ("--log-utc-time", "times in the log are always UTC"),
        ("--disable-aws-installation-code", "there is nothing of that kind here"),
    ),
}
"""By command: the beginning of a flag, and the sentence."""


def elsewhere(context: Any, flag: str) -> str:
    """The flag to use instead of an unknown one, empty if nothing is known about it."""
    command = getattr(context, "info_name", "") if context is not None else ""
    return next((text for begin, text in INSTEAD.get(command or "", ()) if flag.startswith(begin)), "")
