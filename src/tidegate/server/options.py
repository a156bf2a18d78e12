# SPDX-License-Identifier: Apache-2.0
"""Options of `serve` and `portable`, handed to `tidegate.server`. Field names are flag names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.logs import LogOptions
from tidegate.model import LOCAL_DISK, FilePatterns, StorageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Flags of ``tidegate serve``.

    Attributes:
        config_dir: directory of the configuration; relative names in it are relative to this. Absolute.
        config_file: name to look for there, to be handed to `config.load.load` again on SIGHUP.
        log: where and how to log; `tidegate.logs.open_log` takes it.
        grace_time: seconds that running transfers get after SIGTERM or SIGINT.
        quickstart: make what is missing: host keys, provider, one account with a generated password.
    """

    config_dir: Path = Path()
    config_file: str = "tidegate"
    log: LogOptions = field(default_factory=LogOptions)
    grace_time: int = 0
    quickstart: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of the user of portable mode.

    Attributes:
        password: in plain; empty if only keys are accepted.
        public_keys: in OpenSSH one-line form.
    """

    password: str = field(repr=False)
    public_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableOptions:
    """Flags of ``tidegate portable``.

    Attributes:
        directory: what is shared; absolute and existing.
        filesystem: storage that is shared in its place, if it is not local disk.
        sftpd_port: port to listen on, 0 takes a free one.
        ftpd_port: port of FTP, 0 takes a free one, -1 is off.
        ftpd_certificate: PEM files of its certificate and key; None speaks no TLS there.
        webdav_port: port of WebDAV, 0 takes a free one, -1 is off.
        webdav_certificate: as `ftpd_certificate`; None takes logins in the clear there.
        username: the one user's name; never empty, generated if nobody gave one.
        password: the one user's password in plain; empty if only keys are accepted.
        public_keys: accepted keys in OpenSSH one-line form.
        permissions: what the user may do everywhere; ``("*",)`` is everything.
        ssh_commands: SSH commands that may be run.
        log: `LogOptions.file_path` empty logs nothing.
        advertise_service: announce the service by multicast DNS.
        advertise_credentials: put user name and password into the announcement.
        file_patterns: from --allowed-patterns and --denied-patterns, one entry a directory.
        grace_time: seconds that running transfers get after Ctrl-C.
        host_keys: private key files; those that are missing are made.
        state_dir: where host keys and the journal of uploads are kept; None keeps nothing.
        identity_file: private key to name in the lines to paste; empty if nobody knows.
        read_again: password and public keys as their files say now, for SIGHUP; raises `InvalidArgument`
            or `ConfigError`.
    """

    directory: Path
    filesystem: StorageConfig = LOCAL_DISK
    sftpd_port: int = 0
    ftpd_port: int = -1
    ftpd_certificate: tuple[Path, Path] | None = None
    webdav_port: int = -1
    webdav_certificate: tuple[Path, Path] | None = None
    username: str = ""
    password: str = ""
    public_keys: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ("list", "download")
    ssh_commands: tuple[str, ...] = ("md5sum", "sha1sum", "sha256sum", "cd", "pwd", "scp")
    log: LogOptions = field(default_factory=LogOptions)
    advertise_service: bool = False
    advertise_credentials: bool = False
    file_patterns: tuple[FilePatterns, ...] = ()
    grace_time: int = 0
    host_keys: tuple[Path, ...] = ()
    state_dir: Path | None = None
    identity_file: str = ""
    read_again: Callable[[], Credentials] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"PortableOptions(directory={self.directory!r}, username={self.username!r})"
