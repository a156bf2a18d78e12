# SPDX-License-Identifier: Apache-2.0
"""The contract between the SFTP dialogue and whatever carries its bytes (a plain channel, or the fast lane).

Inward, the carrier owns reassembly: it calls ``dialogue.feed(view)`` with all contiguous bytes it has and
gets back how many were consumed. What is left, an incomplete packet or packets that the dialogue will not
take yet, stays with the carrier, which offers it again. A view is valid only during the call.

Outward, the dialogue calls the methods below; it calls `flush` at the end of `feed`, and after replies
that came later. All calls are made on the event loop's thread, and `feed` is never entered twice.

There are two reasons for which `feed` may leave complete packets unconsumed, and in both the carrier
pauses reading from the peer:

* `congested` is true: too much output waits. The carrier knows when it has room again, and then offers
  what it holds once more (and resumes reading).
* ``dialogue.saturated`` is true: the dialogue holds as many requests and bytes as its bounds allow. It calls
  `resume` when it takes requests again; the carrier then does the same.

In short, after each `feed`: if something was consumed and neither is true, offer the rest again; then pause
reading exactly while either is true. At the end of input the carrier calls ``dialogue.eof_received()`` once
everything complete has been consumed, and ``dialogue.connection_lost()`` when the channel is gone.
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
            wait (nothing is sent). A short count means that the file ends there.

        Raises:
            TidegateError: `file` refused; nothing is sent.
        """
        ...

    def flush(self) -> None:
        """A burst of replies is complete: put it on the wire."""
        ...

    def resume(self) -> None:
        """The dialogue is no longer saturated: offer what is held, resume reading."""
        ...

    def close(self, *, clean: bool) -> None:
        """End the channel: after what is queued, with exit status 0 if `clean`, else 1."""
        ...
