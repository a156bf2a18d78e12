# SPDX-License-Identifier: Apache-2.0
"""``tidegate portable``."""

from __future__ import annotations

import gc
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from tidegate.cli import flags
from tidegate.cli.portable_storage import StorageFlags
from tidegate.cli.serve import level_of
from tidegate.cli.spread import spread
from tidegate.errors import InvalidArgument
from tidegate.logs.options import LogOptions
from tidegate.model import LOCAL, FilePatterns, Permission
from tidegate.model.path import VPath
from tidegate.policy.globs import problem
from tidegate.server.options import Credentials, PortableOptions

USERNAME_BYTES: Final = 3
PASSWORD_CHARS: Final = 16
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without characters that look alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableFlags:
    """Flags of the command."""

    directory: Annotated[
        Path, typer.Option("--directory", "-d", metavar="DIR", help="Directory to share.")
    ] = Path(".")
    sftpd_port: Annotated[
        int,
        typer.Option(
            "--sftpd-port", "-s", min=0, max=65535, metavar="PORT", help="Port; 0 takes a free one."
        ),
    ] = 0
    ftpd_port: Annotated[
        int,
        typer.Option(
            "--ftpd-port",
            min=-1,
            max=65535,
            metavar="PORT",
            help="FTP port; 0 takes a free one, -1 is off.",
        ),
    ] = -1
    ftpd_cert: Annotated[
        Path | None,
        typer.Option("--ftpd-cert", metavar="FILE", help="Certificate (PEM) of FTP, for TLS."),
    ] = None
    ftpd_key: Annotated[Path | None, typer.Option("--ftpd-key", metavar="FILE", help="Its key (PEM).")] = None
    webdav_port: Annotated[
        int,
        typer.Option(
            "--webdav-port",
            min=-1,
            max=65535,
            metavar="PORT",
            help="WebDAV port; 0 takes a free one, -1 is off. Without a certificate logins are in the clear.",
        ),
    ] = -1
    webdav_cert: Annotated[
        Path | None,
        typer.Option("--webdav-cert", metavar="FILE", help="Certificate (PEM) of WebDAV, for HTTPS."),
    ] = None
    webdav_key: Annotated[
        Path | None, typer.Option("--webdav-key", metavar="FILE", help="Its key (PEM).")
    ] = None
    username: Annotated[str, typer.Option("--username", "-u", help="User name; generated if empty.")] = ""
    password: Annotated[
        str,
        typer.Option(
            "--password",
            "-p",
            help="Password; generated if neither this nor a key is given. Others on this host can see it "
            "while the server runs: prefer --password-file.",
        ),
    ] = ""
    password_file: flags.PasswordFile = None
    public_key: Annotated[
        list[str] | None,
        typer.Option(
            "--public-key",
            "-k",
            metavar="FILE|KEY",
            help="Public key to accept: a file or the key line itself. Repeat for more.",
        ),
    ] = None
    permissions: Annotated[
        str,
        typer.Option("--permissions", "-g", help="What the user may do, comma separated; * is everything."),
    ] = "list,download"
    ssh_commands: Annotated[
        str,
        typer.Option("--ssh-commands", "-c", help="SSH commands that may be run, comma separated; * is all."),
    ] = "md5sum,sha1sum,sha256sum,cd,pwd,scp"
    log_file_path: Annotated[
        str,
        typer.Option(
            "--log-file-path", "-l", metavar="FILE", help="Log file; - is standard error, empty none."
        ),
    ] = ""
    log_level: flags.LogLevelFlag = None
    log_verbose: flags.LogVerbose = None
    advertise_service: Annotated[
        bool,
        typer.Option("--advertise-service", "-S", help="Announce the service on the local network (mDNS)."),
    ] = False
    advertise_credentials: Annotated[
        bool,
        typer.Option(
            "--advertise-credentials",
            "-C",
            help="Put user name and password into the announcement, for everybody on the network to read.",
        ),
    ] = False
    allowed_patterns: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-patterns",
            metavar="/DIR::PATTERNS",
            help="File names allowed in a directory and below, "
            "for instance /pictures::*.jpg,a*b?.png. Repeat for more directories.",
        ),
    ] = None
    denied_patterns: Annotated[
        list[str] | None,
        typer.Option(
            "--denied-patterns", metavar="/DIR::PATTERNS", help="File names refused, written in the same way."
        ),
    ] = None
    host_key: Annotated[
        list[Path] | None,
        typer.Option(
            "--host-key",
            metavar="FILE",
            help="Private host key, so that clients know the server again after a restart; made if it is "
            "missing. Repeat for more.",
        ),
    ] = None
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir",
            metavar="DIR",
            help="Keep the host keys here, and notes of unfinished uploads. Without this and --host-key "
            "they live in memory and are new at each start. Not inside the shared directory.",
        ),
    ] = None
    grace_time: flags.GraceTime = 0

    @property
    def shared(self) -> Path:
        """The directory, without links.

        Raises:
            InvalidArgument: it is none.
        """
        shared = self.directory.resolve()
        if not shared.is_dir():
            raise InvalidArgument(f"--directory: {self.directory} is not a directory")
        return shared

    def require_sense(self, *, local: bool) -> None:
        """Return if the flags go together.

        Args:
            local: the directory is what is shared.

        Raises:
            InvalidArgument: names those that do not.
        """
        shared = self.shared
        if self.password and self.password_file is not None:
            raise InvalidArgument("give --password or --password-file, not both")
        if self.advertise_credentials and not self.advertise_service:
            raise InvalidArgument("--advertise-credentials needs --advertise-service")
        if (self.ftpd_cert is None) != (self.ftpd_key is None):
            raise InvalidArgument("--ftpd-cert and --ftpd-key are needed together")
        if (self.webdav_cert is None) != (self.webdav_key is None):
            raise InvalidArgument("--webdav-cert and --webdav-key are needed together")
        if self.public_key and not (self.password or self.password_file):
            for port, flag, name in (
                (self.ftpd_port, "--ftpd-port", "FTP"),
                (self.webdav_port, "--webdav-port", "WebDAV"),
            ):
                if port >= 0:
                    raise InvalidArgument(f"{flag} needs a password: {name} knows no keys")
        for flag, path in (
            ("--state-dir", self.state_dir),
            ("--ftpd-key", self.ftpd_key),
            ("--webdav-key", self.webdav_key),
            *(("--host-key", key) for key in self.host_key or ()),
        ):
            if local and path is not None and path.resolve().is_relative_to(shared):
                raise InvalidArgument(
                    f"{flag}: {path} lies in the shared directory, where others could read it"
                )

    def credentials(self, generated: str) -> Credentials:
        """The password and keys that the user logs in by, as the files hold them now.

        Args:
            generated: the password if neither one nor a key is given.

        Raises:
            InvalidArgument, BadRecord: a file cannot be read or used.
        """
        from tidegate.cli.terminal import read_password

        keys = tuple(_public_key(text) for text in self.public_key or ())
        if self.password_file is not None:
            return Credentials(read_password(self.username, stdin=False, file=self.password_file), keys)
        return Credentials(self.password if self.password or keys else generated, keys)

    def made_state_dir(self) -> Path | None:
        """The absolute directory of state, made if it is not there.

        Raises:
            InvalidArgument: it cannot be made.
        """
        if self.state_dir is None:
            return None
        state_dir = self.state_dir.absolute()
        if not state_dir.parent.is_dir():
            raise InvalidArgument(f"--state-dir: {state_dir.parent} is not a directory")
        state_dir.mkdir(mode=0o700, exist_ok=True)
        return state_dir

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """Absolute paths of the certificate of FTP and its key."""
        if self.ftpd_cert is None or self.ftpd_key is None:
            return None
        return self.ftpd_cert.absolute(), self.ftpd_key.absolute()

    @property
    def webdav_certificate(self) -> tuple[Path, Path] | None:
        """Absolute paths of the certificate of WebDAV and its key."""
        if self.webdav_cert is None or self.webdav_key is None:
            return None
        return self.webdav_cert.absolute(), self.webdav_key.absolute()

    @property
    def log(self) -> LogOptions:
        """The log."""
        path = self.log_file_path
        return LogOptions(
            file_path=str(Path(path).absolute()) if path not in ("", "-") else path,
            level=level_of(self.log_level, verbose=self.log_verbose),
        )


@spread
def portable(*, given: PortableFlags, storage: StorageFlags) -> None:
    """Share one directory or bucket over SFTP, FTP or WebDAV, now; no configuration, nothing left behind.

    Prints the address, the user and the password, and ready-to-paste commands. Ctrl-C ends it; SIGHUP reads
    key and password files again.
    """
    filesystem = storage.filesystem()
    given.require_sense(local=filesystem.kind in {LOCAL, "crypt"})
    generated = "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_CHARS))
    first = given.credentials(generated)
    rereadable = given.password_file is None or given.password_file.is_file()
    options = PortableOptions(
        directory=given.shared,
        filesystem=filesystem,
        sftpd_port=given.sftpd_port,
        ftpd_port=given.ftpd_port,
        ftpd_certificate=given.certificate,
        webdav_port=given.webdav_port,
        webdav_certificate=given.webdav_certificate,
        username=given.username or f"user-{secrets.token_hex(USERNAME_BYTES)}",
        password=first.password,
        public_keys=first.public_keys,
        permissions=_permissions(given.permissions),
        ssh_commands=_ssh_commands(given.ssh_commands),
        log=given.log,
        advertise_service=given.advertise_service,
        advertise_credentials=given.advertise_credentials,
        file_patterns=file_patterns(given.allowed_patterns or [], given.denied_patterns or []),
        grace_time=given.grace_time,
        host_keys=tuple(path.absolute() for path in given.host_key or ()),
        state_dir=given.made_state_dir(),
        identity_file=_identity_file(given.public_key or []),
        read_again=(lambda: given.credentials(generated)) if rereadable else None,
    )
    gc.disable()  # searching for garbage takes a tenth of a start; `run_loop` enables it again
    from tidegate.server import portable as portable_mode

    raise typer.Exit(portable_mode.share(options))


def _identity_file(public_keys: list[str]) -> str:
    """The private half beside the first public key file, if it is on this host."""
    for text in public_keys:
        path = Path(text)
        try:
            if path.suffix == ".pub" and path.with_suffix("").is_file():
                return str(path.with_suffix("").absolute())
        except (OSError, ValueError):
            continue
    return ""


def _public_key(text: str) -> str:
    from tidegate.accounts.keys import parse_public_key
    from tidegate.cli.terminal import read_text

    path = Path(text)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file and not text.lstrip().startswith(("ssh-", "ecdsa-", "sk-", "-----BEGIN", "---- BEGIN")):
        raise InvalidArgument(f"--public-key: {text[:80]}: no such file")
    return parse_public_key(read_text(path, "--public-key") if is_file else text)


def _permissions(text: str) -> tuple[str, ...]:
    names = flags.listed(text)
    known = {permission.value for permission in Permission}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise InvalidArgument(f"--permissions: {unknown!r} is not one of {', '.join(sorted(known))}")
    if not names:
        raise InvalidArgument("--permissions: name at least one")
    return names


def _ssh_commands(text: str) -> tuple[str, ...]:
    from tidegate.config.schema.sftpd import SSH_COMMANDS

    names = flags.listed(text)
    if "*" in names:
        return SSH_COMMANDS
    unknown = next((name for name in names if name not in SSH_COMMANDS), None)
    if unknown is not None:
        raise InvalidArgument(f"--ssh-commands: {unknown!r} is not one of {', '.join(SSH_COMMANDS)}")
    return names


def file_patterns(allowed: list[str], denied: list[str]) -> tuple[FilePatterns, ...]:
    """Rules from ``/dir::*.jpg,a*b?.png`` flags, one entry a directory.

    Raises:
        InvalidArgument: a flag is not of that form.
    """
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for index, (flag, texts) in enumerate((("--allowed-patterns", allowed), ("--denied-patterns", denied))):
        for text in texts:
            directory, separator, listed = text.partition("::")
            patterns = flags.listed(listed)
            if not separator or not directory.startswith("/") or not patterns:
                raise InvalidArgument(f"{flag}: {text[:80]!r} is not of the form /dir::*.jpg,a*b?.png")
            for pattern in patterns:
                if (wrong := problem(pattern)) is not None:
                    raise InvalidArgument(f"{flag}: {pattern[:80]!r} is not a file name pattern: {wrong}")
            both = found.setdefault(VPath.parse(directory), ((), ()))
            found[VPath.parse(directory)] = (
                (both[0] + patterns, both[1]) if index == 0 else (both[0], both[1] + patterns)
            )
    return tuple(
        FilePatterns(path=path, allowed_patterns=yes, denied_patterns=no) for path, (yes, no) in found.items()
    )
