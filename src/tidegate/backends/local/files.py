# SPDX-License-Identifier: Apache-2.0
"""Open files: reads from the page cache without waiting, writes inline if quick, threads for the rest.

Long, because the quick and the slow way of each call stand side by side.
"""

from __future__ import annotations

import asyncio
import errno
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeVar

from typing_extensions import Buffer

from tidegate.abc import FileHandle, Outcome
from tidegate.backends.local.attrs import MAX_OFFSET, check_attrs, entry_of, set_on_fd
from tidegate.backends.local.device import Device, Devices
from tidegate.backends.local.errors import translate
from tidegate.backends.local.uploads import NewFile, Upload
from tidegate.errors import InvalidArgument, InvalidHandle
from tidegate.model import Attrs, Entry

T = TypeVar("T")

INLINE_WRITE_MAX: Final = 4 * 1024 * 1024
"""Bytes; a larger single write goes to a thread even on a quick device."""
BIG_FILE: Final = 64 * 1024 * 1024
"""Bytes; freeing a file of this size may take long, so replacing or removing one goes to a thread."""
READ_LEASH: Final = 4
"""An inline read counts this many times its duration against its device: 5 ms are a strike."""
READ_MAX: Final = 64 * 1024 * 1024
"""Bytes; the most one `read` returns room for."""

_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_NOT_SUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_NO_KERNEL_COPY: Final = _NOT_SUPPORTED | {errno.EINVAL, errno.EXDEV, errno.EPERM, errno.EBADF}
_END_OF_ALL: Final = MAX_OFFSET - READ_MAX
_COPY_BUFFER: Final = 1024 * 1024
_preadv = getattr(os, "preadv", None)


class LocalFile:
    """An open file of a `LocalBackend`; see `tidegate.abc.FileHandle`.

    Args:
        fd: the file, owned.
        name: last component, for `stat`.
        devices: threads.
        device: the file's device.
        readable: True if reading was asked for.
        upload: the other half of a file open for writing; None for a read handle.
        append: writes go to the end and therefore stay in order.
    """

    __slots__ = (
        *(
            "_append",
            "_appending",
            "_closed",
            "_device",
            "_devices",
            "_fd",
            "_jobs",
            "_name",
            "_order",
            "_readable",
            "_times",
        ),
        *("_upload", "_writable", "existed_size"),
    )

    def __init__(
        self,
        fd: int,
        name: str,
        devices: Devices,
        device: Device,
        *,
        readable: bool,
        writable: bool = False,
        upload: Upload | NewFile | None = None,
        append: bool = False,
        existed_size: int | None = None,
    ) -> None:
        self.existed_size = existed_size
        self._fd = fd
        self._name = name
        self._devices = devices
        self._device = device
        self._readable = readable
        self._writable = writable
        self._upload = upload
        self._append = append
        self._appending = 0
        self._order: asyncio.Lock | None = None
        self._jobs: set[Future[Any]] = set()
        self._times: tuple[int, int] | None = None
        self._closed = False

    async def copy_from(self, source: LocalFile, offset: int, size: int) -> int:
        """Copy up to `size` bytes at `offset` from `source` to the same offset; 0 at its end."""
        self._check()
        source._check(reading=True)
        call = partial(copy_range, source._fd, self._fd, offset, size)
        return await self._devices.thread(self._device, call, jobs=(self._jobs, source._jobs))

    @property
    def upload(self) -> Upload | NewFile | None:
        """The other half of a file open for writing."""
        return self._upload

    @property
    def name(self) -> str:
        """Last component of the key it was opened by."""
        return self._name

    def fileno(self) -> int:
        """The descriptor."""
        self._check()
        return self._fd

    @property
    def staged(self) -> bool:
        """True if what is written lies beside the target until COMMIT."""
        return self._upload is not None and self._upload.staged

    @property
    def took(self) -> bool:
        """True if it took the place of an unfinished upload that was kept."""
        return self.staged and not getattr(self._upload, "existed", True) and self.existed_size is not None

    # -- reading -----------------------------------------------------------------------------------------

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """See `tidegate.abc.FileHandle.readinto_nowait`; here a short count is always the end of the file."""
        if self._closed or not self._readable:
            raise InvalidHandle
        if not 0 <= offset < _END_OF_ALL:
            return _past_the_end(offset)
        device = self._device
        if device.nowait:
            try:
                count = os.preadv(self._fd, buffers, offset, _NOWAIT)
                # Short is the end of the file, or the end of what is cached; the peer must not be told the
                # one for the other (OpenSSH lowers its read size for good after a short answer).
                if 0 < count < sum(map(len, buffers)):
                    return self._rest_nowait(offset, buffers, count)
                return count
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in _NOT_SUPPORTED:
                    raise translate(error) from error
                device.nowait = False
        if _preadv is None or not (device.in_memory or device.fast()):
            return None
        # No way to ask first. A local disk that has been quick is trusted, on a shorter leash than writes
        # and metadata: cold reads are where a disk waits.
        clock = device.clock
        start = clock()
        try:
            return os.preadv(self._fd, buffers, offset)
        except OSError as error:
            raise translate(error) from error
        finally:
            device.note((clock() - start) * READ_LEASH)

    def _rest_nowait(self, offset: int, buffers: Sequence[memoryview], count: int) -> int | None:
        """Go on after a short read: the whole count, also if the file ends there, or None if it would wait.

        Raises:
            OSError: as preadv; EAGAIN means that the rest is not in memory.
        """
        done = count
        rest = list(buffers)
        while rest:
            while rest and count >= len(rest[0]):
                count -= len(rest.pop(0))
            if not rest:
                break
            rest[0] = rest[0][count:]
            count = os.preadv(self._fd, rest, offset + done, _NOWAIT)
            if not count:
                break
            done += count
        return done

    async def read(self, offset: int, size: int) -> bytes:
        """See `tidegate.abc.FileHandle.read`."""
        if size < 0:
            raise InvalidArgument("invalid argument: size")
        size = min(size, READ_MAX)
        buffer = bytearray(size)
        with memoryview(buffer) as view:
            count = self.readinto_nowait(offset, (view,))
        if count is None:
            return await self._in_thread(partial(_pread_all, self._fd, size, offset))
        del buffer[count:]
        return bytes(buffer)

    # -- writing -----------------------------------------------------------------------------------------

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """See `tidegate.abc.FileHandle.write_nowait`."""
        if self._closed or not self._writable:
            raise InvalidHandle
        device = self._device
        if not device.fast() or (self._append and (self._appending or self._jobs)):
            return False
        size = memoryview(data).nbytes
        if size > INLINE_WRITE_MAX:
            return False
        if not 0 <= offset <= MAX_OFFSET - size:
            raise InvalidArgument("invalid argument: offset")
        clock = device.clock
        start = clock()
        try:
            done = os.write(self._fd, data) if self._append else os.pwrite(self._fd, data, offset)
            if done != size:
                self._write_all(offset, data, done)
        except OSError as error:
            raise translate(error) from error
        finally:
            device.note(clock() - start)
        return True

    async def write(self, offset: int, data: Buffer) -> None:
        """See `tidegate.abc.FileHandle.write`."""
        if self.write_nowait(offset, data):
            return
        size = memoryview(data).nbytes
        if not 0 <= offset <= MAX_OFFSET - size:
            raise InvalidArgument("invalid argument: offset")
        # The caller may reuse its buffer when we are cancelled, and the thread would still be reading it.
        own = data if isinstance(data, bytes) else bytes(data)
        call = partial(self._write_all, offset, own, 0)
        if not self._append:
            await self._in_thread(call)
            return
        if self._order is None:
            self._order = asyncio.Lock()
        self._appending += 1
        try:
            async with self._order:
                await self._settled()
                await self._in_thread(call)
        finally:
            self._appending -= 1

    def _write_all(self, offset: int, data: Buffer, done: int) -> None:
        with memoryview(data) as view, view.cast("B") as flat:
            while done < len(flat):
                if self._append:
                    done += os.write(self._fd, flat[done:])
                else:
                    done += os.pwrite(self._fd, flat[done:], offset + done)

    # -- attributes --------------------------------------------------------------------------------------

    async def stat(self) -> Entry:
        """See `tidegate.abc.FileHandle.stat`."""
        self._check()
        return entry_of(self._name, await self._run(partial(os.fstat, self._fd)))

    async def set_attrs(self, attrs: Attrs) -> None:
        """See `tidegate.abc.FileHandle.set_attrs`."""
        self._check()
        check_attrs(attrs)
        times = await self._run(partial(set_on_fd, self._fd, attrs))
        if times is not None:
            self._times = times
        if attrs.mode is not None and self._upload is not None:
            self._upload.final_mode = None

    async def sync(self) -> None:
        """See `tidegate.abc.FileHandle.sync`."""
        self._check()
        await self._in_thread(partial(os.fsync, self._fd))

    # -- the end -----------------------------------------------------------------------------------------

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """See `tidegate.abc.FileHandle.close`.

        Once begun it runs to its end, even if the caller is cancelled.
        """
        if not self.close_nowait(outcome):
            self._closed = True
            await self._devices.finish(self._close_slowly(partial(self._finish, outcome)))

    def close_nowait(self, outcome: Outcome = Outcome.COMMIT) -> bool:
        """See `tidegate.abc.ClosesAtOnce`."""
        if self._closed:
            raise InvalidHandle
        device = self._device
        if self._jobs or not device.fast() or self._is_heavy(outcome):
            return False
        self._closed = True
        clock = device.clock
        start = clock()
        try:
            self._finish(outcome)
        except OSError as error:
            raise translate(error) from error
        finally:
            device.note(clock() - start)
        return True

    def _is_heavy(self, outcome: Outcome) -> bool:
        upload = self._upload
        if upload is None:
            return False
        if outcome is Outcome.DROP:
            return True
        return upload.fsync or (upload.staged and (self.existed_size or 0) >= BIG_FILE)

    def _finish(self, outcome: Outcome) -> None:
        fd, self._fd = self._fd, -1
        if self._upload is None:
            os.close(fd)
        else:
            self._upload.finish(outcome, self._times)

    async def _close_slowly(self, ending: Callable[[], None]) -> None:
        await self._settled()
        try:
            await self._devices.thread(self._device, ending)
        finally:
            if self._fd >= 0:  # the threads are gone: the server is stopping
                self._finish(Outcome.KEEP)

    def abandon(self) -> None:
        """Close the descriptors and do nothing else, as the end of a process does; for what simulates one."""
        fd, self._fd = self._fd, -1
        self._closed = True
        if fd >= 0:
            if isinstance(self._upload, Upload):
                os.close(self._upload.dir_fd)
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0 and not self._jobs:
            warnings.warn(f"unclosed file {self._name!r}", ResourceWarning, source=self, stacklevel=2)
            self._closed = True
            self._finish(Outcome.KEEP)

    # -- helpers -----------------------------------------------------------------------------------------

    def _check(self, *, reading: bool = False) -> None:
        if self._closed or (reading and not self._readable):
            raise InvalidHandle

    async def _run(self, call: Callable[[], T]) -> T:
        if self._device.fast():
            return self._devices.inline(self._device, call)
        return await self._devices.thread(self._device, call, jobs=(self._jobs,))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await self._devices.thread(self._device, call, jobs=(self._jobs,))

    async def _settled(self) -> None:
        """Wait for threads that a cancelled caller left at work."""
        left = [asyncio.wrap_future(job) for job in tuple(self._jobs)]
        if left:
            await asyncio.wait(left)
        for job in left:
            if not job.cancelled():
                job.exception()  # looked at: whoever asked for it has gone


def _past_the_end(offset: int) -> int:
    if offset < 0:
        raise InvalidArgument("invalid argument: offset")
    return 0


def _pread_all(fd: int, size: int, offset: int) -> bytes:
    """Read until `size` bytes or the end."""
    piece = os.pread(fd, size, offset)
    if len(piece) == size or not piece:
        return piece
    pieces = [piece]
    done = len(piece)
    while done < size:
        piece = os.pread(fd, size - done, offset + done)
        if not piece:
            break
        pieces.append(piece)
        done += len(piece)
    return b"".join(pieces)


def copy_range(source: int, target: int, offset: int, size: int) -> int:
    """Copy up to `size` bytes between descriptors, in the kernel where it can."""
    done = 0
    kernel = hasattr(os, "copy_file_range")
    while done < size:
        at = offset + done
        if kernel:
            try:
                count = os.copy_file_range(source, target, size - done, at, at)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
                kernel = False
                continue
        else:
            piece = os.pread(source, min(_COPY_BUFFER, size - done), at)
            count = os.pwrite(target, piece, at) if piece else 0
        if not count:
            break
        done += count
    return done


def _proof(file: LocalFile) -> FileHandle:
    """The type checker's word that the contract is kept."""
    return file
