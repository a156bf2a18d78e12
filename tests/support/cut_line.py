# SPDX-License-Identifier: Apache-2.0
"""A TCP line to a server that a test can cut, restore, or let fall silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType


class CutLine:
    """Forwards 127.0.0.1:`port` to a target port while it is up.

    Attributes:
        connections: connections made through the line.
        was_cut: set when the line cut itself, as `cut_at` asked.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent = False
        self.port = 0
        self.connections = 0
        self.was_cut = asyncio.Event()
        self._word = b""
        self._deliver = False
        self._doomed: asyncio.StreamReader | None = None

    async def __aenter__(self) -> CutLine:
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def restore(self) -> None:
        """Take connections (again)."""
        self._silent = False
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse connections and drop those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_at(self, word: bytes, *, deliver: bool) -> None:
        """Cut when the client next sends a word; then refuse connections until `restore`.

        Args:
            word: looked for within one piece that the client sends, any case.
            deliver: pass it on and cut when the answer comes, instead of the answer; else cut at once.
        """
        self.was_cut.clear()
        self._word, self._deliver = word.lower(), deliver

    def _hear(self, data: bytes, answers: asyncio.StreamReader) -> bool:
        """True if the bytes of a client may be passed on."""
        if not self._word or self._word not in data.lower():
            return True
        self._word = b""
        if self._deliver:
            self._doomed = answers
            return True
        self._break()
        return False

    def _answer(self, answers: asyncio.StreamReader) -> bool:
        """True if the bytes of the server may be passed on."""
        if answers is not self._doomed:
            return True
        self._break()
        return False

    def _break(self) -> None:
        """`cut`, from within: a connection's own task cannot wait for itself to end."""
        self._doomed = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        self.was_cut.set()

    def silence(self) -> None:
        """Keep and take connections, but pass nothing on any more."""
        self._silent = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        back: asyncio.StreamWriter | None = None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(back)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, lambda data: self._hear(data, there)))
                group.create_task(self._pump(there, writer, lambda _: self._answer(there)))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for line in (writer, back):
                if line is not None:
                    self._writers.discard(line)
                    line.close()
                    with contextlib.suppress(OSError):
                        await line.wait_closed()
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[bytes], bool]
    ) -> None:
        while data := await reader.read(65536):
            if passes(data) and not self._silent:
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
