# SPDX-License-Identifier: Apache-2.0
"""Lines of log level ``trace``: one for each request of a protocol, with its answer.

The fields are those of the JSON lines of the Openbridge gateway; what is not known is ``-``. Names of hosts
are not looked up: a resolver that a client controls could hold up what its lines wait in.
"""

from __future__ import annotations

import logging
import socket
from functools import lru_cache
from typing import Final

from tidegate.model import Peer

NAME: Final = "tidegate.trace"
"""Logger of the lines; the log enables it at level ``trace``."""
UNKNOWN: Final = "-"
MAX_TEXT: Final = 4096
"""Characters of a path or an argument in a line."""

_log = logging.getLogger(NAME)


def tracing() -> bool:
    """True if lines are wanted; asked once for each connection or channel."""
    return _log.isEnabledFor(logging.DEBUG)


@lru_cache(maxsize=1)
def _own_name() -> str:
    return socket.gethostname() or UNKNOWN


def trace(
    peer: Peer,
    username: str,
    command: str,
    *,
    path: str = UNKNOWN,
    target: str = UNKNOWN,
    code: int | str = UNKNOWN,
    seconds: float = 0.0,
    size: int = 0,
) -> None:
    """Write a line.

    Args:
        peer: of the connection.
        username: the account; empty before the login.
        command: name of the request, as the protocol spells it.
        path: what it is about.
        target: its second path.
        code: of the answer.
        seconds: from the request to its answer.
        size: bytes of content that it carried.
    """
    _log.debug(
        "",
        extra={
            "sender": "trace",
            "fields": {
                "cmd": command,
                "full_path": path[:MAX_TEXT],
                "target_path": target[:MAX_TEXT],
                "remote_user": username or UNKNOWN,
                "remote_dns": UNKNOWN,
                "remote_ip": peer.remote_ip,
                "local_ip": peer.local_address.rpartition(":")[0].strip("[]") or UNKNOWN,
                "local_dns": _own_name(),
                "protocol": str(peer.protocol).lower(),
                "transfer_time": round(seconds, 6),
                "bytes": size,
                "response_code": code,
                "connection_id": peer.connection_id,
            },
        },
    )
