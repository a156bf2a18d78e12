# SPDX-License-Identifier: Apache-2.0
"""The server's own keys: found, checked, or made on the first run.

A key that others on the host can read proves nothing any more, so such a file is refused, not repaired.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncssh
from cryptography.exceptions import InternalError, UnsupportedAlgorithm

from tidegate.doors.ssh import library
from tidegate.errors import ConfigError

DEFAULT_HOST_KEYS: Final = ("id_ed25519", "id_ecdsa", "id_rsa")
"""File names, in order of preference, for a server that names none."""

MADE_HOST_KEYS: Final = ("id_ed25519", "id_rsa")
"""Those of them that are made if they are missing. Auditors object to keys on NIST curves, so none is made
where the cryptography library has Ed25519 (`made_host_keys`); one that is there is offered, since partners
may have pinned it."""

RSA_BITS: Final = 3072
"""128-bit strength (NIST SP 800-57) at half the signing time of 4096 bits."""

MAX_KEY_BYTES: Final = 64 * 1024
"""Longest private key file that is read."""

_MADE: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "id_ed25519": ("ssh-ed25519", {}),
    "id_ecdsa": ("ecdsa-sha2-nistp256", {}),
    "id_rsa": ("ssh-rsa", {"key_size": RSA_BITS}),
}

_CHALLENGE: Final = b"tidegate host key"
"""Signed to see whether the halves of a key fit."""

_EFFECTIVE: Final = os.access in os.supports_effective_ids

log = logging.getLogger(__name__)


def load_host_keys(directory: Path, names: Sequence[str] = ()) -> list[asyncssh.SSHKey]:
    """Load the host keys.

    Missing ones are made: of those that are named the ones with a default file name, else `made_host_keys`.

    Blocking: reads and writes files, and makes keys.

    Args:
        directory: what relative names are relative to.
        names: paths; empty for those of `default_host_keys`.

    Raises:
        ConfigError: a key is missing, readable by others, encrypted, or no private key.
    """
    return [_load(directory / name) for name in names or default_host_keys(directory)]


def made_host_keys() -> tuple[str, ...]:
    """The default files that are made if they are missing; ECDSA takes the place of Ed25519 in FIPS mode."""
    return tuple(name if library.does(_MADE[name][0]) else "id_ecdsa" for name in MADE_HOST_KEYS)


def default_host_keys(directory: Path) -> tuple[str, ...]:
    """The files that a server that names none uses. Blocking: looks which exist.

    One of a kind that the cryptography library refuses (Ed25519 in some FIPS modules) is left out.
    """
    made = made_host_keys()
    return tuple(
        name
        for name in DEFAULT_HOST_KEYS
        if name in made or (library.does(_MADE[name][0]) and (directory / name).exists())
    )


def host_key_problem(path: Path) -> str | None:
    """The reason why a start would fail at a host key, None if it would not; makes none. Blocking.

    Args:
        path: of one key, as `load_host_keys` finds it.
    """
    try:
        if not path.exists() and path.name in _MADE:
            if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
                return f"host key {path} cannot be written: the directory is not writable"
            return None
        _load(path)
    except ConfigError as error:
        return error.problems[0].what
    return None


def make_host_key(name: str) -> asyncssh.SSHKey:
    """A new host key that exists in memory alone. An RSA key takes up to some seconds.

    Args:
        name: a default file name, which stands for the kind of key.
    """
    kind, options = _MADE[name]
    return asyncssh.generate_private_key(kind, **options)


def make_missing_key(path: Path) -> bool:
    """Make a key of the first kind of `made_host_keys` in a file of any name, if there is none. Blocking.

    Returns:
        True if it was made now.

    Raises:
        ConfigError: it cannot be written.
    """
    if path.exists():
        return False
    _generate(path, made_host_keys()[0])
    return True


def _load(path: Path) -> asyncssh.SSHKey:
    if not path.exists():
        if path.name not in _MADE:
            known = ", ".join(DEFAULT_HOST_KEYS)
            raise ConfigError(f"host key {path} does not exist (only {known} are generated)")
        _generate(path, path.name)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(
                    f"host key {path} can be used by group or others (mode {mode:04o}); run: chmod 600 {path}"
                )
            content = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"host key {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_KEY_BYTES:
        raise ConfigError(f"host key {path} is longer than {MAX_KEY_BYTES} bytes")
    try:
        # Proving that the factors of an RSA key are primes takes 0.1 s; that its parts fit is shown below.
        key = asyncssh.import_private_key(content, unsafe_skip_rsa_key_validation=True)
    except (UnsupportedAlgorithm, InternalError):
        raise ConfigError(
            f"host key {path} is of a kind that the cryptography library of this host refuses, "
            "as OpenSSL does in FIPS mode"
        ) from None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        if "assphrase" in str(error):
            why = "is protected by a passphrase; the server cannot ask for it"
            raise ConfigError(f"host key {path} {why}") from None
        raise ConfigError(f"host key {path} is not a private key: {error}") from None
    if not _signs(key):
        raise ConfigError(f"host key {path} is damaged: what it signs does not fit its public half")
    return key


def _signs(key: asyncssh.SSHKey) -> bool:
    """True if the public half of a key accepts what the private half signs."""
    algorithm = key.sig_algorithms[0]
    try:
        return key.convert_to_public().verify(_CHALLENGE, key.sign(_CHALLENGE, algorithm))
    except Exception:  # OpenSSL has several errors for keys whose parts do not fit
        return False


def _generate(path: Path, kind: str) -> None:
    algorithm, options = _MADE[kind]
    key = asyncssh.generate_private_key(algorithm, comment="tidegate", **options)
    try:
        if _publish(path, key.export_private_key("openssh"), 0o600):
            with contextlib.suppress(OSError):
                _publish(path.with_name(path.name + ".pub"), key.export_public_key("openssh"), 0o644)
    except OSError as error:
        raise ConfigError(f"host key {path} cannot be written: {error.strerror}") from None
    log.info("host key %s generated: %s", path, key.get_fingerprint())


def _publish(path: Path, content: bytes, mode: int) -> bool:
    """Write a file whole or not at all; False if somebody else made it meanwhile."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask is
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(scratch, path)  # unlike rename, never replaces a key that another process has just made
        except FileExistsError:
            return False
        except OSError:  # file systems without hard links
            os.rename(scratch, path)
            return True
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch)
