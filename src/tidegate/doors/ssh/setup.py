# SPDX-License-Identifier: Apache-2.0
"""From options to what new connections are made with: keys loaded, names checked, banner read."""

from __future__ import annotations

import asyncio
import string
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncssh

from tidegate.doors.ssh import group_exchange
from tidegate.doors.ssh.algorithms import Algorithms, key_types, resolve
from tidegate.doors.ssh.hostkeys import load_host_keys
from tidegate.doors.ssh.options import MAX_BANNER_BYTES, MAX_VERSION_CHARACTERS, SshOptions
from tidegate.errors import ConfigError

CERTIFIED: Final = "-cert-v01@openssh.com"
"""The end of the algorithm's name of a host key with a certificate."""
_VERSION_CHARACTERS: Final = frozenset(string.printable) - frozenset("\t\n\r\x0b\x0c")


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that a new connection takes over; a reload replaces it whole.

    Attributes:
        options: as given.
        algorithms: with defaults filled in.
        key_types: types of client keys that may be offered.
        banner: text shown before the login.
        connection: asyncssh's form of it all.
        fingerprints: of the host keys, for the log.
    """

    options: SshOptions
    algorithms: Algorithms
    key_types: frozenset[bytes]
    banner: str
    connection: asyncssh.SSHServerConnectionOptions
    fingerprints: tuple[str, ...]
    public_keys: tuple[bytes, ...]
    certificates: tuple[bytes, ...]


async def prepare(options: SshOptions, owner: Callable[[], asyncssh.SSHServer]) -> Setup:
    """Check options and load what they name.

    Raises:
        ConfigError: something cannot be used; says what.
    """
    group_exchange.install()
    algorithms = resolve(options.algorithms)
    version = checked_version(options)
    banner = await asyncio.to_thread(read_banner, options)
    keys = list(options.memory_keys) or await asyncio.to_thread(
        load_host_keys, options.config_dir, options.host_keys
    )
    certificates: list[asyncssh.SSHCertificate] = []
    if options.host_certificates:
        from tidegate.doors.ssh.hostcertificates import load_host_certificates

        certificates = await asyncio.to_thread(
            load_host_certificates, options.config_dir, options.host_certificates, keys
        )
    by_algorithm = _keys_by_algorithm(keys, algorithms.host_key_algorithms, certificates)
    connection = await asyncssh.SSHServerConnectionOptions.construct(
        server_factory=owner,
        server_version=version,
        server_host_keys=keys[:1],
        kex_algs=list(algorithms.kex_algorithms),
        encryption_algs=list(algorithms.ciphers),
        mac_algs=list(algorithms.macs),
        signature_algs=list(algorithms.public_key_algorithms),
        compression_algs=None,  # a decompressor is a bomb's best friend, and files are packed already
        host_based_auth=False,
        public_key_auth=True,
        kbdint_auth=True,
        password_auth=True,
        gss_host=None,
        allow_pty=False,
        line_editor=False,
        x11_forwarding=False,
        agent_forwarding=False,
        encoding=None,
        rekey_bytes=options.rekey_bytes or 2**62,
        rekey_seconds=options.rekey_seconds,
        login_timeout=0,  # `SshLogin` has a clock that can stand still
        keepalive_interval=options.keepalive_seconds,
        keepalive_count_max=options.keepalive_max,
        tcp_keepalive=True,
        window=options.window_bytes,
        max_pktsize=options.max_packet_bytes,
    )
    connection.server_host_keys = by_algorithm
    fingerprints = tuple(f"{key.get_algorithm()} {key.get_fingerprint()}" for key in keys)
    return Setup(
        options,
        algorithms,
        key_types(algorithms.public_key_algorithms),
        banner,
        connection,
        fingerprints,
        public_keys=tuple(key.public_data for key in keys),
        certificates=tuple(one.public_data for one in certificates),
    )


def checked_version(options: SshOptions) -> str:
    """The version text that clients see.

    Raises:
        ConfigError: it is too long, or holds what the protocol does not allow.
    """
    version = options.version
    if not set(version) <= _VERSION_CHARACTERS or len(version) > MAX_VERSION_CHARACTERS:
        raise ConfigError(f"sftpd.banner must be at most {MAX_VERSION_CHARACTERS} printable ASCII characters")
    return version


def _keys_by_algorithm(
    keys: list[asyncssh.SSHKey], wanted: tuple[str, ...], certificates: list[asyncssh.SSHCertificate]
) -> OrderedDict[bytes, asyncssh.SSHKeyPair]:
    """A key pair for each signature algorithm, those with a certificate first.

    One object each: asyncssh writes the negotiated algorithm into the object, and connections share it.
    """
    found: OrderedDict[bytes, asyncssh.SSHKeyPair] = OrderedDict()
    for name in wanted if certificates else ():
        algorithm = f"{name}{CERTIFIED}".encode("ascii")
        for key in keys:
            own = [one for one in certificates if one.key.public_data == key.public_data]
            pair = asyncssh.load_keypairs([key], certlist=own)[0] if own else None
            if pair is not None and algorithm in pair.host_key_algorithms:
                if pair.algorithm != algorithm:
                    pair.set_sig_algorithm(algorithm)
                found[algorithm] = pair
                break
    for name in wanted:
        algorithm = name.encode("ascii")
        for key in keys:
            (pair,) = asyncssh.load_keypairs([key])
            if algorithm in pair.host_key_algorithms:
                pair.set_sig_algorithm(algorithm)
                found[algorithm] = pair
                break
    if not found:
        have = ", ".join(sorted({key.get_algorithm() for key in keys}))
        raise ConfigError(f"sftpd.host_key_algorithms: none fits the host keys ({have})")
    return found


def read_banner(options: SshOptions) -> str:
    """The text of `login_banner_file`; empty without one. Blocking.

    Raises:
        ConfigError: it cannot be read, is too long or not UTF-8.
    """
    if not options.login_banner_file:
        return ""
    path = options.config_dir / options.login_banner_file
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BANNER_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"sftpd.login_banner_file: {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BANNER_BYTES:
        raise ConfigError(f"sftpd.login_banner_file: {path} is longer than {MAX_BANNER_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"sftpd.login_banner_file: {path} is not UTF-8 text") from None
