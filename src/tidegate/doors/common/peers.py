# SPDX-License-Identifier: Apache-2.0
"""The peer of a connection, from its socket."""

from __future__ import annotations

import os
from typing import Any

from tidegate.model import OtherProtocol, Peer, Protocol
from tidegate.model.address import plain_address
from tidegate.model.proxies import Ends


def new_peer(
    protocol: Protocol | OtherProtocol,
    remote: Any,
    local: Any,
    *,
    rename_onto: str = "",
    client: str = "",
    ends: Ends | None = None,
) -> Peer:
    """The other end of a connection that came now, with an id of its own.

    Args:
        protocol: of the door.
        remote: as `socket.getpeername` gives it; None if unknown.
        local: as `socket.getsockname` gives it; None if unknown.
        rename_onto: what the binding says of RENAME onto a name that exists.
        client: what the client says it is.
        ends: of the connection; those that a proxy told count before the socket's.
    """
    if ends is not None and ends.proxy:
        remote, local = ends.remote, ends.local or local
    there, here = remote or ("", 0), local or ("", 0)
    own = plain_address(here[0])
    address = f"[{own}]:{here[1]}" if ":" in own else f"{own}:{here[1]}"
    return Peer(
        os.urandom(8).hex(), protocol, plain_address(there[0]), there[1], address, client, rename_onto
    )
