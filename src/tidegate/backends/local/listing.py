# SPDX-License-Identifier: Apache-2.0
"""Listings: bounded batches, each name stat'ed once and relative to the directory's descriptor."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, Self

from tidegate.backends.local.attrs import MODES, entry_of, mode_of, new_entry
from tidegate.backends.local.device import Device, Devices
from tidegate.backends.local.journal import (
    PARTIAL_KEEP_DAYS,
    STALE_UPLOAD_SECONDS,
    remove_stale,
)
from tidegate.backends.local.links import shown_size
from tidegate.backends.local.names import HIDDEN, PART_PREFIX, UPLOAD_PREFIX, is_hidden, part_name
from tidegate.backends.local.root import Root
from tidegate.backends.local.uploads import SAFE, lock
from tidegate.errors import InvalidHandle, NotADirectory, NotFound
from tidegate.model import Entry, Kind

BATCH: Final = 256
"""Entries in a batch: about half a millisecond inline."""
HOLD_NS: Final = 5_000_000
"""The time (5 ms) that a listing and its reader may go on before others run."""


class Listing:
    """Iterates over a directory's entries in batches. Opened by the first step.

    Releases its descriptor at the end, on `aclose`, and when it is forgotten.

    Attributes:
        parts: unfinished uploads were seen.
        expired: one of them is too old; whoever accounts for it removes it (`expire_partials`).
    """

    __slots__ = (
        *("_closed", "_device", "_devices", "_entries", "_fd", "_lock", "_raw", "_root", "_since"),
        *("expired", "parts"),
    )

    def __init__(self, root: Root, raw: bytes, devices: Devices, device: Device) -> None:
        self._root = root
        self._raw = raw
        self._devices = devices
        self._device = device
        self._fd = -1
        self._entries: Iterator[os.DirEntry[str]] | None = None
        self._closed = False
        self._since = 0
        self.parts = False
        self.expired = False
        self._lock = threading.Lock()  # between a step in a thread and `aclose`

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Entry]:
        if self._closed:
            raise StopAsyncIteration
        try:
            if self._device.fast():
                if not self._since:
                    self._since = time.monotonic_ns()
                    asyncio.get_running_loop().call_soon(self._others_ran)
                batch = self._devices.inline(self._device, self._step)
                if time.monotonic_ns() - self._since > HOLD_NS:
                    await asyncio.sleep(0)
            else:
                batch = await self._devices.thread(self._device, self._pinned_step)
        except BaseException:
            self._release()
            raise
        if not batch:
            self._release()
            raise StopAsyncIteration
        return batch

    def _others_ran(self) -> None:
        self._since = 0

    async def aclose(self) -> None:
        """Release the directory."""
        self._release()

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        self._closed = True
        # A step under way in a thread closes after itself, see _pinned_step.
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        entries, self._entries = self._entries, None
        fd, self._fd = self._fd, -1
        if entries is not None:
            entries.close()  # type: ignore[attr-defined]  # an iterator of os.scandir
        if fd >= 0:
            os.close(fd)

    def _pinned_step(self) -> list[Entry]:
        self._root.pin()
        try:
            with self._lock:
                if self._closed:
                    raise InvalidHandle
                return self._step()
        finally:
            self._root.unpin()
            if self._closed:
                self._release()

    def _step(self) -> list[Entry]:
        if self._entries is None:
            self._open()
        entries = self._entries
        assert entries is not None
        batch: list[Entry] = []
        add, link = batch.append, Kind.LINK
        seen = True
        while seen and not batch:
            seen = False
            for entry in islice(entries, BATCH):
                seen = True
                name = entry.name
                if name[0] == "." and name.startswith(HIDDEN) and is_hidden(name):
                    self._see_hidden(os.fsencode(name))
                    continue
                try:
                    # `entry_of` without its call, and fields by number, which takes half as long as by name:
                    # a tenth of a listing.
                    at = entry.stat(follow_symlinks=False)
                    mode, size = at[0], at[6]
                    kind, bits = MODES.get(mode) or mode_of(mode)
                    if kind is link:
                        size = shown_size(self._fd, name, size)
                    changed, used = at.st_mtime_ns, at.st_atime_ns
                    add(new_entry(Entry, (name, kind, size, bits, at[4], at[5], changed, used, at[3])))
                except FileNotFoundError:
                    continue
                except PermissionError:
                    add(Entry(name, _kind_of(entry), 0, 0))
        return batch

    def _see_hidden(self, name: bytes) -> None:
        if not name.startswith(PART_PREFIX):
            sweep(self._fd, name)
            return
        self.parts = True
        if not self.expired:
            with suppress(OSError):
                self.expired = _too_old(os.lstat(name, dir_fd=self._fd))

    def _open(self) -> None:
        try:
            self._fd = self._root.resolve(self._raw, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            with self._root.parent(self._raw) as parent:  # NotFound if a file is on the way
                found = parent.lstat()
            raise (NotFound if found is None else NotADirectory) from None
        self._entries = os.scandir(self._fd)


def find_partials(root: Root, raw: bytes) -> list[Entry]:
    """Partials in a directory that nobody is writing and that no finished file hides.

    A partial's name follows from its target's and not the other way round, so entries have the hidden names.

    Raises:
        NotFound, NotADirectory.
    """
    fd = root.resolve(raw, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(fd) as entries:
            found = {name for entry in entries if (name := os.fsencode(entry.name)).startswith(PART_PREFIX)}
        if not found:
            return []
        with os.scandir(fd) as entries:
            for entry in entries:
                found.discard(part_name(os.fsencode(entry.name)))
        kept = []
        for name in found:
            try:
                part = os.open(name, os.O_RDONLY | SAFE, dir_fd=fd)
            except OSError:
                continue
            try:
                if lock(part) and stat.S_ISREG((at := os.fstat(part)).st_mode):
                    kept.append(entry_of(os.fsdecode(name), at))
            finally:
                os.close(part)
        return kept
    finally:
        os.close(fd)


def expire_partials(root: Root, raw: bytes) -> list[Entry]:
    """See `tidegate.abc.ExpiresPartials.expire_partials`."""
    fd = root.resolve(raw, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(fd) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
        parts = {name for name in names if name.startswith(PART_PREFIX)}
        hidden = {part for name in names if parts and (part := part_name(name)) in parts}
        expired = []
        for name in parts:
            with suppress(OSError):
                found = os.lstat(name, dir_fd=fd)
                if (name in hidden or _too_old(found)) and stat.S_ISREG(found.st_mode):
                    age = 0 if name in hidden else PARTIAL_KEEP_DAYS * 86400
                    if remove_stale(fd, name, PART_PREFIX, age) == "removed" and name not in hidden:
                        expired.append(entry_of(os.fsdecode(name), found))
        return expired
    finally:
        os.close(fd)


def _too_old(found: os.stat_result) -> bool:
    return time.time() - found.st_mtime >= PARTIAL_KEEP_DAYS * 86400


def sweep(dir_fd: int, name: bytes) -> bool:
    """Remove the hidden temporary `name` if it is a leftover; whether it was removed."""
    try:
        return remove_stale(dir_fd, name, UPLOAD_PREFIX, STALE_UPLOAD_SECONDS) == "removed"
    except OSError:
        return False


def clear_hidden(dir_fd: int, name: bytes) -> bool:
    """Make a directory that looks empty to users empty: remove unfinished uploads nobody is writing.

    Returns:
        whether it holds nothing else now. Nothing is removed if there are other entries.
    """
    from tidegate.backends.local.staged import clear_stale  # directories that look empty are seldom

    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        with os.scandir(fd) as entries:
            hidden = []
            for entry in entries:
                if not is_hidden(entry.name):
                    return False
                hidden.append(os.fsencode(entry.name))
        return all(
            {"removed", "gone"}
            & {remove_stale(fd, temp, prefix, 0) for prefix in (UPLOAD_PREFIX, PART_PREFIX)}
            or clear_stale(fd, temp) == "removed"
            for temp in hidden
        )
    finally:
        os.close(fd)


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    if entry.is_dir(follow_symlinks=False):
        return Kind.DIRECTORY
    return Kind.FILE if entry.is_file(follow_symlinks=False) else Kind.OTHER
