# SPDX-License-Identifier: Apache-2.0
"""TLS over bytes that somebody else moves (`ssl.SSLObject` and two memory BIOs), sans-IO.

An event loop's own TLS cannot tell a clean end of the stream (close_notify, RFC 8446 section 6.1) from a cut
one, and uvloop's loses the last bytes of uploads whose reader pauses. This says which end it was.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any, Final

RECORD: Final = 16 * 1024
"""Bytes of content in the largest record."""


class TlsFailed(Exception):
    """The handshake or the stream failed; the text is for the log."""


class TlsStream:
    """One TLS connection, of the server's side.

    Args:
        context: with the certificate.
        tickets: session tickets that are sent after the handshake (TLS 1.3); None leaves it to `context`.

    Attributes:
        established: the handshake is through.
        ended: the peer said that nothing more comes.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "ended", "established")

    def __init__(self, context: ssl.SSLContext, *, tickets: int | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        before = context.num_tickets
        if tickets is not None:
            context.num_tickets = tickets  # taken over by a connection when it is made
        try:
            self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        finally:
            if tickets is not None:
                context.num_tickets = before
        self.established = False
        self.ended = False

    @property
    def reused(self) -> bool:
        """True if the session of an earlier connection of this context was taken up."""
        return bool(self._object.session_reused)

    @property
    def cipher(self) -> str:
        """Name of the cipher, and the version of TLS; empty before the handshake."""
        found = self._object.cipher()
        return f"{found[0]} {self._object.version()}" if found else ""

    @property
    def peer_certificate(self) -> bytes | None:
        """The client's certificate (DER), which the context has verified; None if there is none."""
        return self._object.getpeercert(binary_form=True)

    def feed(self, data: bytes | memoryview) -> None:
        """Bytes arrived; `handshake` or `read` takes them."""
        self._incoming.write(data)

    def handshake(self) -> bool:
        """Go on with the handshake; True once it is through. What is to be sent waits in `output`.

        Raises:
            TlsFailed: it failed.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ValueError) as error:
            raise TlsFailed(_reason(error)) from None
        self.established = True
        return True

    def read_into(self, buffer: memoryview) -> int:
        """Content into `buffer`; 0 if more has to arrive first, or nothing more comes (`ended`).

        Raises:
            TlsFailed: what arrived is no TLS.
        """
        filled = 0
        try:
            while filled < len(buffer):
                got: Any = self._object.read(len(buffer) - filled, buffer[filled:])
                if not got:
                    self.ended = True
                    break
                filled += got
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as error:
            self.ended = isinstance(error, ssl.SSLZeroReturnError)
        except (ssl.SSLError, ValueError) as error:
            raise TlsFailed(_reason(error)) from None
        return filled

    def read(self) -> bytes:
        """Content that has arrived, as far as it is complete; see `read_into`.

        Raises:
            TlsFailed: what arrived is no TLS.
        """
        found = bytearray()
        buffer = bytearray(RECORD)
        while got := self.read_into(memoryview(buffer)):
            found += buffer[:got]
        return bytes(found)

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt content; it waits in `output`.

        Raises:
            TlsFailed: the connection is not fit for it.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[self._object.write(view) :]
        except (ssl.SSLError, ValueError) as error:
            raise TlsFailed(_reason(error)) from None

    def output(self) -> bytes:
        """Bytes that are to be sent now."""
        return self._outgoing.read()

    def leftover(self) -> bytes:
        """After the peer's end of TLS: bytes in the clear that came behind it (RFC 4217, CCC)."""
        return self._incoming.read()

    def close(self) -> None:
        """Say that nothing more comes; that waits in `output`. Does not fail."""
        # It fails where the peer's own end has not come yet, or the connection is broken.
        with contextlib.suppress(ssl.SSLError, ValueError, OSError):
            self._object.unwrap()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate of the client: {error.verify_message}"
    found = getattr(error, "reason", None) or str(error) or "failed"
    return str(found).replace("_", " ").lower()
