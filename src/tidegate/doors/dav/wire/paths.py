# SPDX-License-Identifier: Apache-2.0
"""Addresses and paths: percent-encoding, the prefix of a binding, Destination and tagged resources."""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

from tidegate.errors import InvalidPath
from tidegate.model import VPath

_PLAIN: Final = re.compile(r"[A-Za-z0-9._~/-]*\Z")
_SAFE: Final = "/-._~!$'()*+,;=:@"
"""Characters of a path that RFC 3986 lets stand; ``&`` is left out for the XML around it."""


class Elsewhere(ValueError):
    """An address is not one of this server."""


def quoted(path: str) -> str:
    """A path as an address: percent-encoded UTF-8; names that are not UTF-8 keep their bytes."""
    if _PLAIN.match(path):
        return path
    return quote(os.fsencode(path), safe=_SAFE)


def path_of(raw: bytes | str, prefix: str = "") -> VPath:
    """The path that the path of an address stands for.

    Args:
        raw: percent-encoded, absolute.
        prefix: of the binding, ``/dav`` or empty.

    Raises:
        InvalidPath: it cannot be a path, or is not below the prefix.
    """
    data = unquote_to_bytes(raw)
    path = VPath.parse(data)
    if prefix:
        if not path.is_within(prefix):
            raise InvalidPath("no such path")
        path = VPath.parse("/" + path.relative_to(prefix))
    return path


def is_collection_address(raw: bytes) -> bool:
    """True if an address ends in a slash, as those of collections do."""
    return raw.endswith(b"/")


def target_of(address: str, hosts: tuple[str, ...], prefix: str = "") -> VPath:
    """The path that an absolute address, or the path of one, stands for (RFC 4918 section 10.3).

    Args:
        address: of a Destination header or a tagged list.
        hosts: values of Host, and of a believed proxy's header, that name this server.
        prefix: of the binding.

    Raises:
        Elsewhere: it names another server.
        InvalidPath: it cannot be a path.
    """
    address = address.strip()
    if not address.isascii() or not address.isprintable():
        raise InvalidPath("invalid address: characters that are not percent-encoded")
    try:
        parts = urlsplit(address)
    except ValueError:
        raise InvalidPath("invalid address") from None
    if "#" in address:  # cut off, another resource would be meant
        raise InvalidPath("invalid address: fragment")
    if parts.scheme and parts.scheme not in ("http", "https"):
        raise InvalidPath("invalid address")
    if parts.netloc and parts.netloc.rpartition("@")[2].lower() not in _names(hosts, parts.scheme):
        raise Elsewhere(address)
    if not parts.path.startswith("/"):
        raise InvalidPath("invalid address: no absolute path")
    return path_of(parts.path, prefix)


def _names(hosts: tuple[str, ...], scheme: str) -> set[str]:
    port = ":443" if scheme == "https" else ":80"
    found = {host.strip().lower() for host in hosts}
    return found | {host + port for host in found} | {host.removesuffix(port) for host in found}
