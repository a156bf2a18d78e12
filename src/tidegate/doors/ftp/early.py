# SPDX-License-Identifier: Apache-2.0
"""TLS handshakes of data connections that clients begin before they have the reply to their command."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tidegate.doors.ftp.data import DataConnection, DataFailed

if TYPE_CHECKING:
    from tidegate.doors.ftp.ways import Passive

PATIENCE_SECONDS: Final = 1.0
"""Seconds that a client which begins TLS before the reply is waited for."""

TRIALS: Final = 3
"""Uploads after which the habit of a client is known."""

TRIAL_SECONDS: Final = 0.005
"""Seconds that a client is waited for whose habit is not known."""


class EarlyTls:
    """The TLS handshake of a passive data connection, which the client may begin before its command.

    Attributes:
        sends: bytes will go to the client, as far as is known by now: session tickets may be sent.
    """

    def __init__(
        self,
        way: Passive,
        made: Callable[[socket.socket], DataConnection],
        context: ssl.SSLContext,
        *,
        require_reuse: bool,
    ) -> None:
        self.sends = False
        self._data: DataConnection | None = None
        self._begun = asyncio.Event()
        self._taken = False
        self._task = asyncio.get_running_loop().create_task(
            self._run(way, made, context, require_reuse=require_reuse), name="ftp data handshake"
        )
        self._task.add_done_callback(_seen)

    async def _run(
        self,
        way: Passive,
        made: Callable[[socket.socket], DataConnection],
        context: ssl.SSLContext,
        *,
        require_reuse: bool,
    ) -> DataConnection:
        self._data = data = made(await way.connect())
        try:
            await data.secure(context, tickets=self._begins, require_reuse=require_reuse)
        except BaseException:
            data.abort()
            raise
        finally:
            self._begun.set()
        return data

    def _begins(self) -> bool:
        self._begun.set()
        return self.sends

    @property
    def begun(self) -> bool:
        """True once the client has begun the handshake."""
        return self._begun.is_set()

    @property
    def done(self) -> bool:
        """True once the handshake is through, or has failed."""
        return self._task.done()

    async def settled(self, patience: float, seconds: float) -> None:
        """Wait for the end of the handshake, `seconds` at most, if the client begins it within `patience`."""
        if not self.begun and patience:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._begun.wait()
        if self.begun:
            await asyncio.wait({self._task}, timeout=seconds)

    async def connection(self, seconds: float) -> DataConnection:
        """The connection, once its handshake is through.

        Raises:
            DataFailed: it is not in time, or failed.
        """
        try:
            async with asyncio.timeout(seconds):
                data = await self._task
        except TimeoutError:
            what = "TLS handshake" if self._data is not None else "data connection"
            raise DataFailed(425, f"no {what} within {seconds:g} s") from None
        except OSError:
            raise DataFailed(425, "cannot open the data connection") from None
        self._taken = True
        return data

    def close(self) -> None:
        """Wait no more; a connection that nobody took is closed."""
        self._task.cancel()
        if self._data is not None and not self._taken:
            self._data.abort()


@dataclass(slots=True)
class Hellos:
    """The habit of a client: does it begin TLS on data connections before it has the reply to its command?

    basic-ftp does, and ends an empty upload before its handshake is through if the reply comes first.

    Attributes:
        early: it has done so.
        late: uploads for which it has not, in vain waited for.
    """

    early: bool = False
    late: int = 0

    def look(self, tls: EarlyTls) -> None:
        """A command has come."""
        self.early = self.early or tls.begun

    async def wait(self, tls: EarlyTls, seconds: float) -> None:
        """Before the reply: give a client that may be one of these the time to begin, and to end."""
        patience = PATIENCE_SECONDS if self.early else TRIAL_SECONDS if self.late < TRIALS else 0.0
        await tls.settled(patience, seconds)
        if tls.begun:
            self.early = True
        else:
            self.late += 1


def _seen(task: asyncio.Task[DataConnection]) -> None:
    if not task.cancelled():
        task.exception()
