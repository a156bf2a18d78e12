# SPDX-License-Identifier: Apache-2.0
"""Links come out the right way round for every client, whatever our version text is."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest
from tests.clients.test_conformance import serving
from tests.support.programs import SSH, run

World = tuple[int, Path, Path]

BANNERS = ["", "Acme_1.0", "OpenSSH_9.9_Acme"]
"""Our own, one that names nobody, one that looks like OpenSSH's."""


@pytest.fixture(scope="module", params=BANNERS, ids=["own", "plain", "openssh"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("order"), request.param) as (server, home, key):
        yield server.port, home, key


def links(home: Path) -> dict[str, str]:
    """Links in the home, which is emptied."""
    found = {path.name: os.readlink(path) for path in home.iterdir()}
    for name in found:
        (home / name).unlink()
    return found


def test_openssh(gateway: World) -> None:
    port, home, key = gateway
    run(
        "sftp", *SSH, "-i", key, "-P", str(port), "-b", "-", "ada@127.0.0.1", stdin=b"ln -s target link\n"
    ).ok()
    assert links(home) == {"link": "target"}


def test_paramiko(gateway: World) -> None:
    port, home, key = gateway
    with paramiko.Transport(("127.0.0.1", port)) as transport:
        transport.connect(username="ada", pkey=paramiko.Ed25519Key.from_private_key_file(str(key)))
        with paramiko.SFTPClient.from_transport(transport) as sftp:
            sftp.symlink("target", "link")
    assert links(home) == {"link": "target"}


def options(key: Path) -> dict[str, object]:
    return {
        "username": "ada",
        "client_keys": [str(key)],
        "known_hosts": None,
        "config": None,
        "agent_path": None,
    }


async def test_asyncssh(gateway: World) -> None:
    port, home, key = gateway
    async with (
        asyncssh.connect("127.0.0.1", port, **options(key)) as connection,
        connection.start_sftp_client() as sftp,
    ):
        await sftp.symlink("target", "link")
    assert links(home) == {"link": "target"}


@pytest.mark.parametrize(
    "client", ["libssh_0.10.6", "WinSCP_release_6.5.3", "ssh2js1.16.0", "phpseclib_3.0 (openssl, gmp)"]
)
async def test_who_believes_in_openssh_only_when_it_comes_first(gateway: World, client: str) -> None:
    """The order that these clients send, sent under their name."""
    port, home, key = gateway
    async with (
        asyncssh.connect("127.0.0.1", port, client_version=client, **options(key)) as connection,
        connection.start_sftp_client() as sftp,
    ):
        banner = connection.get_extra_info("server_version")
        sftp._handler._nonstandard_symlink = banner.startswith("SSH-2.0-OpenSSH_9.9")
        await sftp.symlink("target", "link")
    assert links(home) == {"link": "target"}


@pytest.mark.needs("lib:ssh")
async def test_libssh(gateway: World) -> None:
    port, home, key = gateway
    await asyncio.to_thread(libssh_symlink, port, str(key), "target", "/link")
    assert links(home) == {"link": "target"}


def libssh_symlink(port: int, key: str, target: str, link: str) -> None:
    """``sftp_symlink`` of the real libssh (Debian: libssh-4)."""
    lib = ctypes.CDLL(ctypes.util.find_library("ssh"))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for call, result, arguments in (
        ("ssh_new", pointer, []),
        ("ssh_options_set", number, [pointer, number, pointer]),
        ("ssh_connect", number, [pointer]),
        ("ssh_pki_import_privkey_file", number, [text, text, pointer, pointer, ctypes.POINTER(pointer)]),
        ("ssh_userauth_publickey", number, [pointer, text, pointer]),
        ("sftp_new", pointer, [pointer]),
        ("sftp_init", number, [pointer]),
        ("sftp_symlink", number, [pointer, text, text]),
        ("sftp_free", None, [pointer]),
        ("ssh_get_error", text, [pointer]),
        ("ssh_key_free", None, [pointer]),
        ("ssh_disconnect", None, [pointer]),
        ("ssh_free", None, [pointer]),
    ):
        function = getattr(lib, call)
        function.restype, function.argtypes = result, arguments
    host_option, port_option, user_option, config_option = 0, 1, 4, 35
    session = lib.ssh_new()
    wanted = pointer()
    sftp = None
    try:
        lib.ssh_options_set(session, config_option, ctypes.byref(ctypes.c_bool(False)))
        lib.ssh_options_set(session, host_option, ctypes.c_char_p(b"127.0.0.1"))
        lib.ssh_options_set(session, port_option, ctypes.byref(ctypes.c_uint(port)))
        lib.ssh_options_set(session, user_option, ctypes.c_char_p(b"ada"))
        assert lib.ssh_connect(session) == 0, lib.ssh_get_error(session)
        assert lib.ssh_pki_import_privkey_file(key.encode(), None, None, None, ctypes.byref(wanted)) == 0
        assert lib.ssh_userauth_publickey(session, None, wanted) == 0, lib.ssh_get_error(session)
        sftp = lib.sftp_new(session)
        assert lib.sftp_init(sftp) == 0, lib.ssh_get_error(session)
        assert lib.sftp_symlink(sftp, target.encode(), link.encode()) == 0, lib.ssh_get_error(session)
    finally:
        if sftp:
            lib.sftp_free(sftp)
        if wanted:
            lib.ssh_key_free(wanted)
        lib.ssh_disconnect(session)
        lib.ssh_free(session)
