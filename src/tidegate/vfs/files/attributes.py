# SPDX-License-Identifier: Apache-2.0
"""Setting attributes: what `setstat_mode` and a storage's capabilities leave of a wish."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tidegate.abc import Capability
from tidegate.errors import Unsupported
from tidegate.model import Attrs

SET_ID_BITS: Final = 0o6000
"""Bits of a mode that clients never set. A set-user-id file would run as the server on behalf of whoever has
a shell on the host, so these two bits are left out silently, as they are for new files."""


def supported(attrs: Attrs, capabilities: Capability, setstat_mode: int, *, lenient: bool = False) -> Attrs:
    """The part of `attrs` that is to be set.

    Args:
        setstat_mode: 0 demands everything; 1 ignores mode, owner and times; 2 ignores those of them that
            the storage does not have.
        lenient: leave out what the storage lacks, whatever the mode (attributes set on an open file).

    Raises:
        Unsupported: something is demanded that the storage cannot do.
    """
    if setstat_mode == 1:
        attrs = replace(attrs, mode=None, uid=None, gid=None, atime_ns=None, mtime_ns=None)
    if attrs.mode is not None and attrs.mode & SET_ID_BITS:
        attrs = replace(attrs, mode=attrs.mode & ~SET_ID_BITS)
    skip = lenient or setstat_mode == 2
    if attrs.mode is not None and Capability.MODES not in capabilities:
        _skip_or_refuse("mode", skip=skip)
        attrs = replace(attrs, mode=None)
    if (attrs.uid is not None or attrs.gid is not None) and Capability.OWNERS not in capabilities:
        _skip_or_refuse("owner", skip=skip)
        attrs = replace(attrs, uid=None, gid=None)
    if (attrs.atime_ns is not None or attrs.mtime_ns is not None) and Capability.TIMES not in capabilities:
        _skip_or_refuse("times", skip=skip)
        attrs = replace(attrs, atime_ns=None, mtime_ns=None)
    if attrs.size is not None and Capability.TRUNCATE not in capabilities:
        _skip_or_refuse("size", skip=False)
    return attrs


def _skip_or_refuse(what: str, *, skip: bool) -> None:
    if not skip:
        raise Unsupported(f"this storage keeps no {what}" if what != "size" else "this storage cannot resize")
