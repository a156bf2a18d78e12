# SPDX-License-Identifier: Apache-2.0
"""Contracts of inspectors, which are asked before an act counts."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tidegate.model import Origin

Read = Callable[[int, int], Awaitable[bytes]]
"""Reads up to so many bytes from an offset; an empty answer is the end."""


class Inspected(enum.StrEnum):
    """Acts that are asked about."""

    LOGIN = "login"
    """somebody proved who they are, and no rule refuses them; they are not told yet"""
    OPEN_UPLOAD = "open_upload"
    """a file is about to be opened for writing"""
    UPLOAD = "upload"
    """a file was written and its client has closed it, or has gone; unless uploads are written in place it is
    not published yet"""
    DOWNLOAD = "download"
    """a file is about to be opened for reading"""
    DELETE = "delete"
    """a file, link or directory is about to be removed"""


@dataclass(frozen=True, slots=True)
class InspectedAct:
    """Something that is about to count.

    Attributes:
        kind: what it is.
        origin: who does it and from where.
        path: what the client calls the file; empty of a login.
        size: bytes of the file, None if unknown; of an upload that is about to begin those of the file
            that is there.
        read: reads up to so many bytes from an offset of the content, None where there is none to read. An
            answer shorter than asked for is not the end of the file: an empty one is. Not to be used after
            `Inspector.inspect` has returned.
        location: the file's place on the host or its key; empty where the content has none of its own yet.
        digests: digests of the content that are known already, as hexadecimal text by algorithm.
        complete: False of an upload whose client has gone, where what arrived stays.
        method: of a login, such as ``publickey``.
        open_flags: of an upload that is about to begin, as open(2) of Linux has them; 0 of a new file.
        arriving: the upload is still being written, and its size is not known. `read` waits for bytes, and
            its empty answer until the client has closed the file; that time is not counted. What was read may
            be written again: then the answer is not used, and the inspector is asked again at the end.
        once: with `arriving`: the storage cannot give back what was written. `read` goes forward only, and
            the client waits for an inspector that does not read.
        resized: an upload of which nothing arrived: a client sets the size of a file that is there by its
            path. `size` and `read` tell what it would be then, and a refusal leaves it as it is.
    """

    kind: Inspected
    origin: Origin
    path: str = ""
    size: int | None = None
    read: Read | None = field(default=None, compare=False, repr=False)
    location: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    method: str = ""
    open_flags: int = 0
    arriving: bool = False
    once: bool = False
    resized: bool = False


class NotNow(Exception):
    """Raised by an inspector while an upload arrives: it wants to be asked when all of it is there.

    Then what `InspectedAct.once` is said of can rarely be read.
    """


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer.

    Attributes:
        allowed: the act may count.
        text: what a client is told of a refusal, one line; empty is "permission denied". Not told of logins.
        reason: why, for the log alone; empty is `text`.
        quarantine: of a refused upload: its content is kept apart, if the server has a quarantine.
        infected: the content is malicious: the source of the client gets a score.
    """

    allowed: bool = True
    text: str = ""
    reason: str = ""
    quarantine: bool = False
    infected: bool = False


ALLOWED = Verdict()
"""Go on."""


class Inspector(Protocol):
    """Is asked before acts count, and waited for. Life: constructed, `open`, `inspect`..., `close`.

    The configuration says which acts it is asked about, how long it may take, and whether an act counts if it
    fails or takes longer. It is called for many acts at once, and cancelled when it takes too long.
    """

    async def open(self) -> None:
        """Get ready."""
        ...

    async def inspect(self, act: InspectedAct) -> Verdict:
        """Answer. An error is no answer: the configuration says what it counts for."""
        ...

    async def close(self) -> None:
        """Release everything."""
        ...
