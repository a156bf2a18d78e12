# SPDX-License-Identifier: Apache-2.0
"""Connects to another SFTP server whose host key is known."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncssh

from tidegate.backends.sftp.errors import said
from tidegate.backends.sftp.options import SftpOptions
from tidegate.errors import StorageFailed

CONNECT_SECONDS: Final = 15
"""From the first packet to the end of the key exchange, and as long again for the login."""
KEEPALIVE_SECONDS: Final = 15
"""Between questions to a silent server; after three without an answer the connection is lost."""
KEY_TYPES: Final[tuple[tuple[str, ...], ...]] = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-256", "rsa-sha2-512"),
)
"""Algorithms of host keys by type: a server shows one key at a time, and it may have others."""


class _Client(asyncssh.SSHClient):
    """Compares the host key with those that are known."""

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known
        self.shown = ""
        self.key_type = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.shown = key.get_fingerprint("sha256")
        self.key_type = key.get_algorithm()
        return self.shown in self._known


async def connect(options: SftpOptions, own_keys: Sequence[str]) -> asyncssh.SSHClientConnection:
    """A connection that is logged in.

    Args:
        options: of the record.
        own_keys: fingerprints of the host keys of this server: what leads here would never end.

    Raises:
        StorageFailed: its `detail` names the option, or says why the server cannot be reached.
    """
    place = f"sftp://{options.place}"
    key = await asyncio.to_thread(_private_key, options)
    known = frozenset(options.fingerprints) - frozenset(own_keys)
    shown: list[str] = []
    left: Sequence[tuple[str, ...]] = KEY_TYPES
    algorithms: tuple[str, ...] = ()
    while True:
        client = _Client(known)
        try:
            return await _dial(options, key, client, algorithms)
        except asyncssh.HostKeyNotVerifiable:
            if client.shown in own_keys:
                raise StorageFailed(
                    detail=f"{place}: sftpconfig.endpoint leads to this server itself; name another server"
                ) from None
            shown.append(client.shown)
            left = [names for names in left if client.key_type not in names and _others(names, client)]
        except asyncssh.PermissionDenied:
            raise StorageFailed(detail=f"{place}: {_refused(options)}") from None
        except TimeoutError:
            raise StorageFailed(detail=f"{place}: no answer within {CONNECT_SECONDS} s") from None
        except (OSError, asyncssh.Error) as error:
            if not shown:
                raise StorageFailed(detail=f"{place}: cannot connect: {said(error)}") from None
            left = left[1:]  # it has no key of this type, and some servers just hang up then
        if not left or len(shown) > len(KEY_TYPES):
            raise StorageFailed(detail=f"{place}: {_unknown(options, shown)}")
        algorithms = left[0]


async def _dial(
    options: SftpOptions, key: asyncssh.SSHKey | None, client: _Client, algorithms: tuple[str, ...]
) -> asyncssh.SSHClientConnection:
    host, port = options.address()
    more: dict[str, Any] = {"server_host_key_algs": list(algorithms)} if algorithms else {}
    made: asyncssh.SSHClientConnection = await asyncssh.connect(
        host,
        port,
        client_factory=lambda: client,
        username=options.username,
        password=options.secret("password") or None,
        client_keys=[key] if key is not None else None,
        known_hosts=([], [], []),  # then the client's own function is asked
        config=None,
        agent_path=None,
        gss_host=None,
        x509_trusted_certs=None,
        connect_timeout=CONNECT_SECONDS,
        login_timeout=CONNECT_SECONDS,
        keepalive_interval=KEEPALIVE_SECONDS,
        **more,
    )
    return made


def _others(names: tuple[str, ...], client: _Client) -> bool:
    """False for the type of the key that was shown: keys name RSA by its old algorithm."""
    return not (client.key_type == "ssh-rsa" and names[0].startswith("rsa"))


def _private_key(options: SftpOptions) -> asyncssh.SSHKey | None:
    text = options.secret("private_key")
    if not text:
        return None
    place = f"sftp://{options.place}: sftpconfig."
    try:
        return asyncssh.import_private_key(text, options.secret("key_passphrase") or None)
    except asyncssh.KeyEncryptionError:
        raise StorageFailed(detail=f"{place}key_passphrase does not open private_key") from None
    except asyncssh.KeyImportError as error:
        if "passphrase" in str(error).lower():
            raise StorageFailed(detail=f"{place}key_passphrase is missing: private_key needs it") from None
        raise StorageFailed(detail=f"{place}private_key is no private key in OpenSSH or PEM form") from None


def _refused(options: SftpOptions) -> str:
    given = [name for name in ("private_key", "password") if getattr(options, name)]
    return f"the server refuses sftpconfig.username with sftpconfig.{' and sftpconfig.'.join(given)}"


def _unknown(options: SftpOptions, shown: Sequence[str]) -> str:
    keys = " or ".join(shown)
    if not options.fingerprints:
        return f"sftpconfig.fingerprints is empty; the server shows {keys}: if that is its key, name it there"
    return (
        f"the host key is none of sftpconfig.fingerprints: the server shows {keys}. Its key was changed, or "
        "another server answers for it"
    )
