# SPDX-License-Identifier: Apache-2.0
"""Older names of keys: still accepted, moved to the name of today while loading.

Within one source (the file, the environment) the name of today wins if both are given, and the older one
is reported as ignored. Between sources the stronger source wins, whichever name it uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tidegate.config.schema.walk import KeyPath, coerce


@dataclass(frozen=True, slots=True)
class Older:
    """An older key.

    Attributes:
        path: the older key.
        now: the key of today; None if it is a switch that `config.load` turns into a part of another key.
        doc: what is special about it, empty if it only moved.
    """

    path: KeyPath
    now: KeyPath | None
    doc: str = ""


def _moved(old: str, new: str) -> Older:
    parts: list[str | int] = [int(p) if p.isdigit() else p for p in new.split(".")]
    return Older(tuple(old.split(".")), tuple(parts))


OLDER: Final = {
    older.path: older
    for older in (
        _moved("sftpd.bind_port", "sftpd.bindings.0.port"),
        _moved("sftpd.bind_address", "sftpd.bindings.0.address"),
        _moved("sftpd.idle_timeout", "common.idle_timeout"),
        _moved("sftpd.upload_mode", "common.upload_mode"),
        _moved("sftpd.setstat_mode", "common.setstat_mode"),
        _moved("sftpd.umask", "common.umask"),
        _moved("sftpd.proxy_protocol", "common.proxy_protocol"),
        _moved("sftpd.proxy_allowed", "common.proxy_allowed"),
        _moved("sftpd.actions", "common.actions"),
        Older(("sftpd", "keys"), ("sftpd", "host_keys"), "A list of tables with the key `private_key`."),
        Older(("sftpd", "enable_scp"), None, "`true` adds `scp` to `sftpd.enabled_ssh_commands`."),
        _moved("data_provider.connectionstring", "data_provider.connection_string"),
        _moved("httpd.bind_port", "httpd.bindings.0.port"),
        _moved("httpd.bind_address", "httpd.bindings.0.address"),
        _moved("httpd.certificate_file", "httpd.bindings.0.certificate_file"),
        _moved("httpd.certificate_key_file", "httpd.bindings.0.certificate_key_file"),
        _moved("ftpd.bind_port", "ftpd.bindings.0.port"),
        _moved("ftpd.bind_address", "ftpd.bindings.0.address"),
        _moved("ftpd.tls_mode", "ftpd.bindings.0.tls_mode"),
        _moved("ftpd.force_passive_ip", "ftpd.bindings.0.force_passive_ip"),
        _moved("webdavd.bind_port", "webdavd.bindings.0.port"),
        _moved("webdavd.bind_address", "webdavd.bindings.0.address"),
        _moved("httpd.backups_path", "data_provider.backups_path"),
    )
}
"""Older keys by path."""


OLD_CERTIFICATE: Final = (("httpd", "certificate_file"), ("httpd", "certificate_key_file"))
"""Older keys that switched HTTPS on when both were given; there was no other switch."""

HTTPS_SWITCH: Final[KeyPath] = ("httpd", "bindings", 0, "enable_https")


SCP_SWITCH: Final[KeyPath] = ("sftpd", "enable_scp")
"""Older key that switched SCP on, beside the list of commands."""

SSH_COMMANDS: Final[KeyPath] = ("sftpd", "enabled_ssh_commands")


def find(path: KeyPath) -> tuple[Older, KeyPath] | None:
    """The older key that a path is or lies in, and the path of today (empty if there is none)."""
    for length in range(2, len(path) + 1):
        older = OLDER.get(path[:length])
        if older is None:
            continue
        rest = path[length:]
        if older.now is None:
            return older, ()
        if older.path == ("sftpd", "keys") and len(rest) == 2 and rest[1] == "private_key":
            rest = rest[:1]
        return older, older.now + rest
    return None


def meaning(path: KeyPath, text: str) -> Any:
    """The value of a text at a path, be it of today or older."""
    found = find(path)
    if found is None:
        return coerce(path, text)
    older, now = found
    return coerce(now, text) if older.now is not None else text.strip().lower() not in ("", "0", "false")
