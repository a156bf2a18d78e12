# SPDX-License-Identifier: Apache-2.0
"""The contract between the SFTP dialogue and whatever carries its bytes (a plain channel, or the fast lane).

Inward, the carrier owns reassembly: it calls ``dialogue.feed(view)`` with all contiguous bytes it has and
gets back how many were consumed; an incomplete packet at the end stays with the carrier, which offers it
again with more behind it. A view is valid only during the call. After each burst of input the carrier
calls nothing more: the dialogue itself calls `Outlet.flush` once at the end of `feed`.

Outward, the dialogue calls the methods below. While `congested` is true the dialogue takes no further
request and `feed` consumes nothing; the carrier pauses reading from the peer, and calls
``dialogue.drained()`` once it has room again.
"""

from __future__ import annotations

from typing import Protocol

from tidegate.vfs.api import File


class Outlet(Protocol):
    """Takes outgoing SFTP packets of one channel, in order."""

    @property
    def congested(self) -> bool:
        """Whether more bytes wait to be sent than the outgoing bound allows."""
        ...

    def send(self, packet: bytes | bytearray) -> None:
        """Queue one complete SFTP packet (its uint32 length included). Never fails, never blocks."""
        ...

    def send_data(self, request_id: int, file: File, offset: int, size: int) -> int | None:
        """Answer a READ from memory: an SSH_FXP_DATA packet with up to `size` bytes of `file`.

        Returns:
            bytes sent; 0 at or past the end of the file (nothing is sent); None if `file` would have to
            wait (nothing is sent). A short count is allowed.
        """
        ...

    def flush(self) -> None:
        """A burst of replies is complete: put it on the wire."""
        ...

    def close(self, *, clean: bool) -> None:
        """End the channel: after what is queued, with exit status 0 if `clean`, else 1."""
        ...
