# SPDX-License-Identifier: Apache-2.0
"""Places of what ``tidegate check`` looks at: keys of the configuration, files, addresses."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.errors import Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded


def origin_of(loaded: Loaded, *path: str | int) -> str:
    """The name of a key, with the file or variable that sets it if one does."""
    from tidegate.config.schema.walk import dotted

    origin = loaded.origin(path)
    return dotted(path) if origin.kind == "default" else str(origin)


def listening(address: str, port: int, where: str, problems: list[Problem]) -> str:
    """The bindings that would listen, after trying whether it can."""
    shown = f"[{address}]" if ":" in address else address or "*"
    text = f"{shown}:{port}"
    try:
        found = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        problems.append(Problem(where, f"{address} is no address of this host"))
        return text
    for family, kind, protocol, _, target in found:
        try:
            trial = socket.socket(family, kind, protocol)
        except OSError:
            continue  # no IPv6 in this kernel
        with trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                trial.bind(target)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return f"{text} (in use now: is the server running?)"
                if error.errno == errno.EADDRNOTAVAIL and not address:
                    continue  # an address family without an address
                problems.append(Problem(where, f"{text}: {error.strerror}"))
                return text
    return text


def _may(path: Path, rights: int) -> bool:
    return os.access(path, rights, effective_ids=os.access in os.supports_effective_ids)


def unwritable(path: Path) -> str | None:
    """The reason why a file cannot be written or made, None if it can."""
    if path.exists():
        return None if _may(path, os.W_OK) else f"{path} cannot be written"
    if not path.parent.is_dir():
        return f"{path.parent} is not a directory"
    return (
        None
        if _may(path.parent, os.W_OK | os.X_OK)
        else f"{path.parent} is not writable: no {path.name} there"
    )


def unmakeable(path: Path) -> str | None:
    """The reason why homes cannot be made below a directory, which may be missing yet; None if they can."""
    there = next(above for above in (path, *path.parents) if above.exists())
    if not there.is_dir():
        return f"{there} is not a directory"
    return None if _may(there, os.W_OK | os.X_OK) else f"{there} is not writable: no homes can be made"


def require_readable(path: Path, where: str, problems: list[Problem]) -> None:
    """Add a problem unless a file can be read."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        problems.append(Problem(where, f"{path}: {error.strerror}"))
