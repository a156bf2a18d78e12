# SPDX-License-Identifier: Apache-2.0
"""Options of the SSH door; the composition root fills them from `sftpd.*`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from asyncssh import SSHKey

from tidegate import __version__
from tidegate.doors.common.admission import AdmissionLimits
from tidegate.doors.ssh.algorithms import Algorithms
from tidegate.doors.ssh.programs.options import ProgramOptions
from tidegate.resources import StartupLimits

DEFAULT_MAX_AUTH_TRIES: Final = 6
"""Failed attempts after which a connection ends, when the option is 0."""

MAX_BANNER_BYTES: Final = 64 * 1024
"""Longest login banner that is sent."""

ORDER_MARK: Final = "_OpenSSH"
"""End of our own version text.

Some clients that hide their own name choose the order of the arguments of SSH_FXP_SYMLINK by a version text
that contains OpenSSH; those that tell their name need it not (`doors.sftp.order`).
"""

MAX_VERSION_CHARACTERS: Final = 245
"""RFC 4253 section 4.2: 255 with ``SSH-2.0-`` and CR LF."""


DEFAULT_WINDOW: Final = 4 * 1024**2
"""Receive window of a channel, bytes.

Common clients keep 2 MiB of SFTP requests in flight (OpenSSH 64 x 32 KiB, rclone the same), and asyncssh tops
the window up when it is half empty: twice 2 MiB never stalls them. It is also what a channel can make us
hold while its storage is slow, so not more.
"""

DEFAULT_PACKET: Final = 64 * 1024
"""Longest channel packet accepted, bytes.

RFC 4253's 32 KiB cuts each 32 KiB SFTP WRITE, some bytes longer by its header, into a full and a tiny packet.
"""


@dataclass(frozen=True, slots=True)
class Binding:
    """One address to listen on.

    Attributes:
        address: host name or address; empty for every interface, IPv4 and IPv6.
        port: TCP port; 0 takes a free one.
        label: who named it, for errors: a key or a flag.
        rename_onto: what RENAME does here with a new name that exists; empty for the server's setting.
    """

    address: str = ""
    port: int = 2022
    label: str = field(default="sftpd.bindings", compare=False)
    rename_onto: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshOptions:
    """Everything the door needs to know. Times are seconds, sizes bytes; 0 is "off" or "no limit".

    Attributes:
        config_dir: where host keys and the banner file are looked for when their paths are relative.
        bindings: addresses; changing them needs a restart.
        host_keys: private key files; empty for those of `hostkeys.default_host_keys`.
        host_certificates: certificate files, each of one of the keys.
        memory_keys: private keys used instead of files; nothing is read or written then.
        algorithms: see `Algorithms`.
        banner: software version shown after ``SSH-2.0-``; empty for ``Tidegate_<version>_OpenSSH``.
        login_banner_file: text shown before the login; empty for none.
        password_authentication: offer the password method.
        keyboard_interactive_authentication: offer the password by question and answer.
        max_auth_tries: failed attempts before the connection ends; 0 is 6, negative unlimited.
        login_seconds: deadline of the whole login, from connect to accepted credential.
        silent_seconds: a client that has not begun to log in must send something within each such time.
        idle_seconds: a connection without traffic for so long ends.
        rekey_bytes: new keys after so many bytes sent (RFC 4344 allows far more for AES).
        rekey_seconds: new keys after so much time.
        keepalive_seconds: interval of the server's own keepalives.
        keepalive_max: unanswered keepalives after which the client counts as gone.
        enabled_ssh_commands: exec commands that may run; ``*`` is all.
        scp_shell: read the command lines of WinSCP's SCP mode from a shell channel, where scp is enabled.
        programs: bounds of git and rsync.
        fast_lane: use the accelerator where cipher and libraries allow it.
        max_connections: connections at a time.
        max_startups: connections that have not logged in yet, at a time; see `StartupLimits`.
        max_per_host: connections from one source at a time.
        max_channels: channels of one connection.
        window_bytes: see `DEFAULT_WINDOW`.
        max_packet_bytes: see `DEFAULT_PACKET`.
        backlog: connections that the kernel holds before they are accepted.
    """

    config_dir: Path = field(default_factory=Path.cwd)
    bindings: tuple[Binding, ...] = (Binding(),)
    host_keys: tuple[str, ...] = ()
    host_certificates: tuple[str, ...] = ()
    memory_keys: tuple[SSHKey, ...] = field(default=(), repr=False)
    algorithms: Algorithms = field(default_factory=Algorithms)
    banner: str = ""
    login_banner_file: str = ""
    password_authentication: bool = True
    keyboard_interactive_authentication: bool = True
    max_auth_tries: int = 0
    login_seconds: float = 120.0
    silent_seconds: float = 30.0
    idle_seconds: float = 15 * 60.0
    rekey_bytes: int = 1024**3
    rekey_seconds: float = 3600.0
    keepalive_seconds: float = 0.0
    keepalive_max: int = 3
    enabled_ssh_commands: tuple[str, ...] = ("md5sum", "sha1sum", "sha256sum", "cd", "pwd", "scp")
    scp_shell: bool = False
    programs: ProgramOptions = field(default_factory=ProgramOptions)
    fast_lane: bool = True
    max_connections: int = 4096
    max_startups: StartupLimits = field(default_factory=StartupLimits)
    max_per_host: int = 20
    max_channels: int = 10
    window_bytes: int = DEFAULT_WINDOW
    max_packet_bytes: int = DEFAULT_PACKET
    backlog: int = 512

    def enables(self, command: str) -> bool:
        """True if an exec command may run."""
        return "*" in self.enabled_ssh_commands or command in self.enabled_ssh_commands

    @property
    def admission(self) -> AdmissionLimits:
        """Limits on connections."""
        return AdmissionLimits(
            connections=self.max_connections, per_source=self.max_per_host, startups=self.max_startups
        )

    @property
    def version(self) -> str:
        """The text behind ``SSH-2.0-`` in the identification line."""
        return self.banner or f"Tidegate_{__version__}{ORDER_MARK}"

    @property
    def auth_tries(self) -> int:
        """Failed attempts allowed; 0 means without end."""
        if self.max_auth_tries < 0:
            return 0
        return self.max_auth_tries or DEFAULT_MAX_AUTH_TRIES
