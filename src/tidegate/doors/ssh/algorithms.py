# SPDX-License-Identifier: Apache-2.0
"""The algorithms that the SSH door offers, in order of preference.

Defaults hold nothing built on SHA-1, no CBC mode, no arcfour and no 3DES. Whatever asyncssh implements
beyond them is accepted if the operator names it; a name that nobody implements is an error that says
which one comes nearest. SSH picks the first name on the *client's* list that we offer too (RFC 4253
section 7.1), so our order speaks only to people who read it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final

from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_public_key_algs

from tidegate.doors.ssh import library
from tidegate.errors import ConfigError, Problem

PREFERRED_KEX: Final = (
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "mlkem768nistp256-sha256",
    "mlkem1024nistp384-sha384",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    # For clients without elliptic curves. Larger groups cost up to 20 ms of the event loop for each
    # unauthenticated connection, hence only by name; `group_exchange` bounds what clients may ask for.
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group-exchange-sha256",
)
"""Offered by default, as far as the installed library has it; hybrid post-quantum ones first."""

DEFAULT_CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)

DEFAULT_MACS: Final = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)

DEFAULT_HOST_KEY_ALGORITHMS: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)

DEFAULT_PUBLIC_KEY_ALGORITHMS: Final = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def _names(source: Callable[[], list[bytes]]) -> tuple[str, ...]:
    return tuple(name.decode("ascii") for name in source())


def _kex_names() -> tuple[str, ...]:
    # GSS and RSA key exchange need set-up that this door does not have.
    return tuple(name for name in _names(get_kex_algs) if not name.startswith(("gss-", "rsa")))


def default_kex() -> tuple[str, ...]:
    """The preferred key exchanges that the installed library implements."""
    known = set(_kex_names())
    return tuple(name for name in PREFERRED_KEX if name in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithms:
    """The operator's choice; an empty tuple takes the default.

    Attributes:
        kex_algorithms: key exchanges.
        ciphers: encryption; AEAD modes need no MAC.
        macs: message authentication for the other ciphers.
        host_key_algorithms: signatures by which the server proves its identity.
        public_key_algorithms: signatures by which clients may prove theirs.
    """

    kex_algorithms: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    host_key_algorithms: tuple[str, ...] = ()
    public_key_algorithms: tuple[str, ...] = ()


_DEFAULTS: Final[dict[str, Callable[[], tuple[str, ...]]]] = {
    "kex_algorithms": default_kex,
    "ciphers": lambda: DEFAULT_CIPHERS,
    "macs": lambda: DEFAULT_MACS,
    "host_key_algorithms": lambda: DEFAULT_HOST_KEY_ALGORITHMS,
    "public_key_algorithms": lambda: DEFAULT_PUBLIC_KEY_ALGORITHMS,
}

_KNOWN: Final[dict[str, Callable[[], tuple[str, ...]]]] = {
    "kex_algorithms": _kex_names,
    "ciphers": lambda: _names(get_encryption_algs),
    "macs": lambda: _names(get_mac_algs),
    "host_key_algorithms": lambda: _names(get_public_key_algs),
    "public_key_algorithms": lambda: _names(get_public_key_algs),
}


def resolve(chosen: Algorithms) -> Algorithms:
    """Fill in defaults and check every name.

    Raises:
        ConfigError: with one problem for each name that is unknown, or that the cryptography library refuses.
    """
    problems: list[Problem] = []
    resolved: dict[str, tuple[str, ...]] = {}
    for key in (item.name for item in fields(Algorithms)):
        known = _KNOWN[key]()
        # Under restrictions of the system (a FIPS module) the library does less than the defaults name.
        wanted: Sequence[str] = getattr(chosen, key) or [
            name for name in _DEFAULTS[key]() if name in known and library.does(name)
        ]
        for index, name in enumerate(wanted):
            what = _problem(name, known)
            if what:
                problems.append(Problem(f"sftpd.{key}[{index}]", what))
        resolved[key] = tuple(dict.fromkeys(wanted))
    if problems:
        raise ConfigError(problems)
    return Algorithms(**resolved)


def _problem(name: str, known: Sequence[str]) -> str:
    """The reason why an algorithm cannot be offered, empty if it can."""
    if not library.does(name):
        return (
            f"{name} does not work here: the cryptography library of this host refuses it, "
            "as OpenSSL does in FIPS mode"
        )
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        return f"unknown algorithm {name!r}; the nearest valid one is {near[0]!r}"
    return ""


def key_types(public_key_algorithms: Sequence[str]) -> frozenset[bytes]:
    """Key types (the name inside a key blob) that can make one of these signatures.

    The two differ for RSA alone: one key type, several signature algorithms (RFC 8332).
    """
    return frozenset(
        b"ssh-rsa"
        if name.startswith(("rsa-sha2-", "ssh-rsa"))
        else name.removeprefix("webauthn-").encode("ascii")
        for name in public_key_algorithms
    )
