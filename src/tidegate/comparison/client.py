# SPDX-License-Identifier: Apache-2.0
"""Asks one SFTP server what one credential may do, and changes nothing there.

A login is one connection. Listing is READDIR. Whether something may be made in a directory is told without
making it:

* Of SFTPGo and Tidegate, by MKDIR of a directory that exists: both look at the permission first, so the
  answer is PERMISSION_DENIED, or a failure because of the name.
* Of others, by mode and owner in the listing, where they decide: the owner by name, or everybody. A group
  decides nothing here, because a client does not learn whose member it is.

If it is asked for, uploads are asked of SFTPGo and Tidegate too: by OPEN in a directory that does not exist,
which fails in any case, with PERMISSION_DENIED where uploads are not allowed. SFTPGo's pre-upload hook hears
of it. It is done only for accounts whose files are on local disk, since an object store needs no directory.
"""

from __future__ import annotations

import asyncio
import posixpath
import secrets
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import asyncssh
from asyncssh import sftp as _sftp

from tidegate.comparison.credentials import Credential

LOGIN_SECONDS: Final = 30.0
"""Longest time of a login; a refused password takes SFTPGo about 1.1 s."""
ASK_SECONDS: Final = 60.0
"""Longest time of all questions after it."""
MAX_NAMES: Final = 5_000
"""Names of a listing that are compared."""
MAX_DIRECTORIES: Final = 20
"""Directories of a listing of which is asked whether something may be made in them."""
MAX_LOOKED: Final = 200
"""Names that are looked at there to find a directory to ask with."""

_RIGHTS_FIRST: Final = ("SFTPGo", "Tidegate")
"""Banners of servers that look at the permission before the name."""
_OWNER_WRITES: Final = 0o200
_ALL_WRITE: Final = 0o002


@dataclass(frozen=True, slots=True)
class Server:
    """A server to ask.

    Attributes:
        host: name or address.
        port: TCP port.
        root: path there that is ``/`` of the account; ``.`` is where its session begins.
        host_keys: fingerprints (``SHA256:...``) of which one has to be the server's.
        known_hosts: a file of OpenSSH's to look the server up in, if there are no fingerprints.
    """

    host: str
    port: int
    root: str = "/"
    host_keys: tuple[str, ...] = ()
    known_hosts: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a server about one credential.

    Attributes:
        login: it let the credential in; None if it could not be asked.
        why: the reason for no, or for not knowing.
        names: of ``/``, a directory with ``/`` at its end and a file with its size; None if not listed.
        cut: there are more names.
        makes: directory and if something may be made in it; a directory that is missing is not known.
        uploads: directory and if a file may be uploaded to it, likewise.
        address: of this client, as the server sees it.
        steps: methods that a login took; empty if it failed.
    """

    login: bool | None
    why: str = ""
    names: tuple[str, ...] | None = None
    cut: bool = False
    makes: Mapping[str, bool] = field(default_factory=dict)
    uploads: Mapping[str, bool] = field(default_factory=dict)
    address: str = ""
    steps: str = ""


class HostKeyUnknown(Exception):
    """The server showed a host key that nobody has vouched for; holds its fingerprint."""


class _Client(asyncssh.SSHClient):
    """Accepts the server's key by its fingerprint, and keeps it for the text of a refusal."""

    def __init__(self, fingerprints: Iterable[str]) -> None:
        self._fingerprints = frozenset(fingerprints)
        self.shown = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        del host, addr, port
        fingerprint = key.get_fingerprint()
        self.shown = f"{key.get_algorithm()} {fingerprint}"
        return fingerprint in self._fingerprints


async def ask(server: Server, credential: Credential, *, look: bool = True, uploads: bool = False) -> Answer:
    """Log in, look, and leave.

    Args:
        server: the only server that is spoken to.
        credential: whom to log in as.
        look: open an SFTP session too, if the login succeeds.
        uploads: ask for uploads by an OPEN that has to fail; see the module.

    Raises:
        HostKeyUnknown: nothing was sent but the key exchange.
    """
    client = _Client(server.host_keys)
    asked: list[str] = []

    def password() -> str:
        asked.append("password")
        return credential.password

    options = _options(server, credential)
    if credential.password:
        options["password"] = password
    try:
        async with asyncio.timeout(LOGIN_SECONDS):
            connection = await asyncssh.connect(
                server.host, server.port, client_factory=lambda: client, **options
            )
    except asyncssh.HostKeyNotVerifiable:
        raise HostKeyUnknown(client.shown or "not told") from None
    except asyncssh.PermissionDenied:
        return Answer(False, "refused")
    except (
        asyncssh.Error,
        OSError,
        TimeoutError,
        ValueError,
    ) as error:  # a name that SASLprep refuses is the last
        return Answer(None, _said(error))
    address = str((connection.get_extra_info("sockname") or ("",))[0])
    # Whoever has both offers the key first, and the password only if it is asked for.
    steps = " and ".join((*(("key",) if credential.key is not None else ()), *asked[:1]))
    found = Answer(True, address=address, steps=steps)
    try:
        if not look:
            return found
        async with asyncio.timeout(ASK_SECONDS):
            return await _look(connection, server.root, credential.username, found, uploads=uploads)
    except (asyncssh.Error, OSError, TimeoutError) as error:
        return replace(found, why=f"no SFTP session: {_said(error)}")
    finally:
        connection.abort()


def _options(server: Server, credential: Credential) -> dict[str, Any]:
    trusted: Any = ([], [], []) if server.host_keys else server.known_hosts
    methods = ["publickey"] if credential.key is not None else []
    if credential.password:
        methods += ["password", "keyboard-interactive"]
    return {
        "username": credential.username,
        "password": None,
        "client_keys": None if credential.key is None else [credential.key],
        "preferred_auth": ",".join(methods),
        "known_hosts": trusted,
        "config": None,
        "agent_path": None,
        "gss_host": None,
        "login_timeout": LOGIN_SECONDS,
    }


async def _look(
    connection: asyncssh.SSHClientConnection, root: str, username: str, answer: Answer, *, uploads: bool
) -> Answer:
    rights_first = any(word in str(connection.get_extra_info("server_version")) for word in _RIGHTS_FIRST)
    async with connection.start_sftp_client() as sftp:
        try:
            found, cut = await _names(sftp, root, MAX_NAMES)
        except asyncssh.SFTPError as error:
            return replace(answer, why=f"/ cannot be listed: {_said(error)}")
        names = tuple(sorted(_label(name, one) for name, one in found.items() if name not in (".", "..")))
        directories = [
            name for name, one in sorted(found.items()) if _is_directory(one) and name not in (".", "..")
        ]
        places = ["", *directories[:MAX_DIRECTORIES]]
        makes: dict[str, bool] = {}
        may_upload: dict[str, bool] = {}
        for place in places:
            path = posixpath.join(root, place) if place else root
            if rights_first:
                inner = directories if not place else await _directories(sftp, path)
                may_make = await _may_make(sftp, path, inner)
            else:
                entry = found.get(place or ".")
                may_make = None if entry is None else _by_mode(entry, username)
            if may_make is not None:
                makes[f"/{place}"] = may_make
            if uploads and rights_first:
                may_upload[f"/{place}"] = await _may_upload(sftp, path)
        return replace(answer, names=names, cut=cut, makes=makes, uploads=may_upload)


async def _names(sftp: asyncssh.SFTPClient, path: str, most: int) -> tuple[dict[str, _sftp.SFTPName], bool]:
    """The entries of a directory by name, and True if there are more than `most`."""
    found: dict[str, _sftp.SFTPName] = {}
    async for entry in sftp.scandir(path):
        if len(found) >= most:
            return found, True
        name = entry.filename
        found[name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")] = entry
    return found, False


async def _directories(sftp: asyncssh.SFTPClient, path: str) -> Sequence[str]:
    try:
        found, _ = await _names(sftp, path, MAX_LOOKED)
    except asyncssh.SFTPError:
        return ()
    return [name for name, one in found.items() if _is_directory(one) and name not in (".", "..")]


async def _may_make(sftp: asyncssh.SFTPClient, path: str, directories: Sequence[str]) -> bool | None:
    """True if a directory could be made in `path`; None if nothing there lets it be told."""
    for name in directories[:1]:
        try:
            await sftp.mkdir(posixpath.join(path, name))
        except asyncssh.SFTPPermissionDenied:
            return False
        except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
            return True
        except asyncssh.SFTPError:
            return None
    return None


async def _may_upload(sftp: asyncssh.SFTPClient, path: str) -> bool:
    missing = posixpath.join(path, f".tidegate-compare-{secrets.token_hex(8)}", "x")
    try:
        file = await sftp.open(missing, asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL)
    except asyncssh.SFTPPermissionDenied:
        return False
    except asyncssh.SFTPError:
        return True
    await file.close()
    return True


def _by_mode(entry: _sftp.SFTPName, username: str) -> bool | None:
    """Says if mode and owner let the user make names in a directory; None if they leave it open."""
    mode = entry.attrs.permissions
    words = _text(entry.longname).split()
    if mode is None or len(words) < 4:
        return None
    if words[2] == username:
        return bool(mode & _OWNER_WRITES)
    return True if mode & _ALL_WRITE else None


def _is_directory(entry: _sftp.SFTPName) -> bool:
    mode = entry.attrs.permissions
    return entry.attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY or (mode is not None and stat.S_ISDIR(mode))


def _label(name: str, entry: _sftp.SFTPName) -> str:
    if _is_directory(entry):
        return f"{name}/"
    mode = entry.attrs.permissions
    if mode is not None and stat.S_ISLNK(mode):
        return f"{name} (link)"
    return f"{name} ({entry.attrs.size} bytes)"


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value or "")


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return " ".join(str(error).split())[:200] or type(error).__name__
