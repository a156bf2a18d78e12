# SPDX-License-Identifier: Apache-2.0
"""The order of the two arguments of SSH_FXP_SYMLINK, which differs from client to client.

The draft puts the link first, OpenSSH's server (PROTOCOL, section 4.1) reads the target first. Most clients
send OpenSSH's order to everybody. A few send it only to a server whose version text they take for OpenSSH's,
and the draft's to all others. Which order such a client uses follows from its own name and from the version
text that we sent, whatever `sftpd.banner` is. Sources: docs/adr/0020.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_PREFIX: Final = "SSH-2.0-"
_MAX_OPENSSH_NUMBER: Final = 100
"""libssh takes no larger major or minor number for one of OpenSSH."""


def _begins_with(*names: str) -> Callable[[str], bool]:
    return lambda software: software.startswith(names)


def _contains(*names: str) -> Callable[[str], bool]:
    return lambda software: any(name in software for name in names)


def _libssh(software: str) -> bool:
    """Libssh reads ``OpenSSH_<major>.<minor>`` anywhere, at fixed places: the minor number two behind."""
    at = software.find("OpenSSH")
    if at < 0 or len(software) - at <= len("OpenSSH_9"):
        return False
    numbers = [re.match(r"\d+", software[at + offset :]) for offset in (8, 10)]
    if None in numbers:
        return False
    major, minor = (int(number[0]) for number in numbers if number)
    return 1 <= major <= _MAX_OPENSSH_NUMBER and minor <= _MAX_OPENSSH_NUMBER


_BY_BANNER: Final[tuple[tuple[str, Callable[[str], bool]], ...]] = (
    ("asyncssh_", _contains("OpenSSH", "paramiko")),
    ("libssh_", _libssh),
    ("libssh-", _libssh),
    ("netbox", _begins_with("OpenSSH", "Sun_SSH")),
    ("phpseclib_", _begins_with("OpenSSH")),
    ("ssh2js", _begins_with("OpenSSH", "dropbear")),
    ("winscp", _begins_with("OpenSSH", "Sun_SSH")),
)
"""Clients that choose by the server's version text: how their name begins, and for which servers they send
the target first."""


def target_comes_first(client: str, server: str) -> bool:
    """True if a client sends the target before the link, as OpenSSH has it.

    Args:
        client: the version line of the client.
        server: the version line that it got from us.
    """
    name = client.removeprefix(_PREFIX).lower()
    for begin, believes in _BY_BANNER:
        if name.startswith(begin):
            return believes(server.removeprefix(_PREFIX))
    return True
