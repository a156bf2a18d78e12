# SPDX-License-Identifier: Apache-2.0
"""The order of SYMLINK's arguments, by the client's name and our version text."""

from __future__ import annotations

import pytest

from tidegate.doors.sftp.order import target_comes_first

OWN = "SSH-2.0-Tidegate_0.2.0_OpenSSH"
OURS, PLAIN, REAL = OWN, "SSH-2.0-Acme", "SSH-2.0-OpenSSH_9.9"


@pytest.mark.parametrize(
    ("client", "ours", "plain", "real"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u3", True, True, True),
        ("paramiko_3.5.1", True, True, True),
        ("JSCH_0.2.17", True, True, True),
        ("Go", True, True, True),
        ("libssh2_1.10.0", True, True, True),
        ("SSHJ_0.40.0", True, True, True),
        ("Renci.SshNet.SshClient.0.0.1", True, True, True),
        ("AsyncSSH_2.21.0", True, False, True),
        ("libssh_0.10.6", False, False, True),
        ("libssh-0.5.4", False, False, True),
        ("WinSCP_release_6.5.3", False, False, True),
        ("ssh2js1.16.0", False, False, True),
        ("phpseclib_3.0 (openssl, gmp)", False, False, True),
        ("", True, True, True),
    ],
)
def test_each_client_has_its_rule(client: str, ours: bool, plain: bool, real: bool) -> None:
    version = f"SSH-2.0-{client}"
    assert [target_comes_first(version, banner) for banner in (OURS, PLAIN, REAL)] == [ours, plain, real]


@pytest.mark.parametrize(
    ("banner", "believes"),
    [
        ("OpenSSH_5.4", True),
        ("Tidegate_1_OpenSSH_9.2", True),
        ("OpenSSH", False),
        ("OpenSSH_9", False),
        ("OpenSSH_9.x", False),
        ("OpenSSH_Acme", False),
        ("OpenSSH_0.9", False),
        ("OpenSSH_101.1", False),
        ("OpenSSH_10.0", False),  # it looks for the minor number where that of 9.x stands
    ],
)
def test_libssh_wants_numbers_at_their_places(banner: str, believes: bool) -> None:
    assert target_comes_first("SSH-2.0-libssh_0.11.1", f"SSH-2.0-{banner}") is believes


@pytest.mark.parametrize(
    ("client", "banner"),
    [
        ("ssh2js1.16.0", "dropbear_2022.83"),
        ("WinSCP_release_6.1", "Sun_SSH_1.1"),
        ("AsyncSSH_2.14.2", "paramiko_2.0"),
    ],
)
def test_other_servers_they_take_for_openssh(client: str, banner: str) -> None:
    assert target_comes_first(f"SSH-2.0-{client}", f"SSH-2.0-{banner}")
