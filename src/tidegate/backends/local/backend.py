# SPDX-License-Identifier: Apache-2.0
"""`LocalBackend`: the contract of `tidegate.abc.Backend` on a directory of this host.

Long, because the contract is one class; what acts on the disk stands in the modules beside it.
"""

from __future__ import annotations

import asyncio
import builtins
import copy
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

from tidegate.abc import Backend, Capability, FileHandle, OpenOptions, Outcome, Publish
from tidegate.backends.local import links, operations
from tidegate.backends.local.attrs import check_attrs, check_regular, set_on_path
from tidegate.backends.local.device import Device, Devices
from tidegate.backends.local.files import LocalFile
from tidegate.backends.local.journal import Journal
from tidegate.backends.local.listing import BATCH, Listing, expire_partials, find_partials
from tidegate.backends.local.names import (
    MOVED_PREFIX,
    STAGED,
    aside_name,
    check_key,
    key_refusal,
    tree_name,
)
from tidegate.backends.local.opening import Opener
from tidegate.backends.local.root import Root, make_root
from tidegate.backends.local.uploads import NewFile, Upload
from tidegate.errors import (
    AlreadyExists,
    ConfigError,
    InvalidArgument,
    InvalidHandle,
    IsADirectory,
    OtherDevice,
    StorageFailed,
    TidegateError,
)
from tidegate.model import Attrs, Entry, Space

if TYPE_CHECKING:
    from tidegate.backends.local.undecided import Undecided

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_DIRECTORY_MODE: Final = 0o777
READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
COPY_SLICE: Final = 64 * 1024 * 1024
"""Bytes copied in one turn of a thread, so that a large copy leaves room for others."""


class _Opened(NamedTuple):
    fd: int
    st_dev: int
    upload: Upload | NewFile | None
    existed_size: int | None

    def undo(self) -> None:
        if self.upload is not None:
            self.upload.finish(Outcome.KEEP, None)
        else:
            os.close(self.fd)


Batches = AsyncIterator[list[Entry]]


def _is_current(root: Root, _raw: bytes) -> bool:
    return root.is_current()


class LocalBackend:
    """One directory of this host.

    Args:
        root: absolute path of the directory; it may itself be a link.
        create: make it, with missing parents, if it is not there.
        umask: taken from the mode of new files and directories; the process's own umask has no effect.
        uid: owner of a root that is created; only when the server runs as root.
        gid: group of it.
        follow_links: follow links inside the root; False refuses every path with a link in it.
        devices: threads and what is known of devices, shared by all backends; None makes its own.
        journal_dir: where named temporaries are noted for `sweep_journal`; None notes nothing.
        kernel: False forces the portable containment even where openat2(2) works; for tests.
    """

    capabilities = (
        Capability.LINKS
        | Capability.HARDLINKS
        | Capability.MODES
        | Capability.OWNERS
        | Capability.TIMES
        | Capability.TRUNCATE
        | Capability.RANDOM_WRITE
        | Capability.READ_WRITE
        | Capability.APPEND
        | Capability.PARTIALS
        | Capability.SERVER_COPY
        | Capability.SPACE
        | Capability.REAL_DIRECTORIES
    )

    inline = True

    def __init__(
        self,
        root: str,
        *,
        create: bool = False,
        umask: int = 0o022,
        uid: int | None = None,
        gid: int | None = None,
        follow_links: bool = True,
        devices: Devices | None = None,
        journal_dir: str | None = None,
        kernel: bool | None = None,
    ) -> None:
        if not root.startswith("/") or "\0" in root:
            raise ConfigError("local storage: the root must be an absolute path")
        if not 0 <= umask <= 0o777:
            raise ConfigError("local storage: umask must be between 0 and 0777")
        self._root = Root(root, follow_links=follow_links, kernel=kernel)
        self._create = create
        self._umask = umask
        self._owner = (uid, gid)
        self._own_devices = devices is None
        self._devices = devices or Devices()
        self._journal = Journal(journal_dir, root)
        self._opener = Opener(self._root, umask, self._journal)
        self._super = os.geteuid() == 0
        self._device: Device | None = None
        self._mounts: list[tuple[str, Device]] = []
        self._unlinked: LocalBackend | None = None
        self._beside: dict[
            str, str | None
        ] = {}  # entries of the journal by hidden key; `unlinked` shares them
        self._undecided: dict[str, Undecided] = {}  # by the hidden name; shared likewise

    # -- life --------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `tidegate.abc.Backend.open`.

        Leftovers of a crash are `sweep_journal`'s matter and, where there is no journal, that of listings:
        opening never searches a tree.

        Raises:
            StorageFailed: the root is missing or cannot be used.
            ConfigError: the process does not use UTF-8 for file names.
        """
        if sys.getfilesystemencoding() != "utf-8":
            raise ConfigError(
                "local storage: file names must be UTF-8; start with PYTHONUTF8=1 or LC_ALL=C.UTF-8"
            )
        devices, path = self._devices, self._root.path
        device = devices.guess(path)
        if devices.opened_lately(path, device):
            found = devices.inline(device, self._open)
        else:
            # In a thread: nothing is known yet of the device, which may be a file server that is down.
            found = await devices.thread(device, self._open, orphan=lambda _: self._root.close())
        self._device, self._mounts = found
        if self._device is device and self._root.real == path:
            devices.note_opened(path)

    def _open(self) -> tuple[Device, list[tuple[str, Device]]]:
        root = self._root
        try:
            if self._create:
                uid, gid = self._owner
                make_root(root.path, mode=DEFAULT_DIRECTORY_MODE & ~self._umask, uid=uid, gid=gid)
            root.open()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StorageFailed("storage root is missing or not a directory") from error
        except PermissionError as error:
            raise StorageFailed("storage root cannot be opened") from error
        try:
            self._journal.open()
            device = self._devices.of(root.fd, os.fstat(root.fd).st_dev)
            return device, self._devices.mounted_below(root.real)
        except BaseException:
            root.close()
            raise

    async def is_current(self) -> bool:
        """See `tidegate.abc.ChecksRoot.is_current`; also takes notice of file servers mounted below since."""
        current = await self._run("", _is_current)
        if current:
            # In place: `unlinked` shares the list.
            self._mounts[:] = self._devices.mounted_below(os.path.realpath(self._root.path))
        return current

    async def close(self) -> None:
        """See `tidegate.abc.Backend.close`. Open files live on until they are closed."""
        self._root.close()
        self._unlinked = None
        if self._own_devices:
            self._devices.close()

    @property
    def unlinked(self) -> LocalBackend:
        """See `tidegate.abc.KnowsPlaces`. It lives as long as this one is open."""
        if self._unlinked is None:
            twin = self._unlinked = copy.copy(self)
            self._give(twin, self._root.unlinked)
        return self._unlinked

    def _give(self, twin: LocalBackend, root: Root) -> None:
        twin._root = root
        twin._opener = Opener(root, self._umask, self._journal)
        twin._unlinked = twin

    def location(self, key: str) -> str:
        """See `tidegate.abc.Backend.location`: the path on this host."""
        root = self._root.path
        return f"{root.rstrip('/')}/{key}" if key else root

    def identity(self, key: str) -> str:
        """See `tidegate.abc.Identifies`: the path on this host without links above the root."""
        root = f"file:{self._root.real}".rstrip("/")
        return f"{root}/{key}" if key else root

    # -- running -----------------------------------------------------------------------------------------

    def _device_of(self, key: str) -> Device:
        for mount, device in self._mounts:
            if key.startswith(mount) and (len(key) == len(mount) or key[len(mount)] == "/"):
                return device
        if self._device is None:
            raise InvalidHandle("storage is closed")
        return self._device

    async def _run(
        self, key: str, call: Callable[Concatenate[Root, bytes, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        raw = check_key(key)
        device = self._device_of(key) if self._mounts else self._device
        if device is None:
            raise InvalidHandle("storage is closed")
        if device.fast():
            return self._devices.inline(device, call, self._root, raw, *args, **kwargs)
        return await self._devices.thread(
            device, partial(operations.pinned, self._root, call, raw, *args, **kwargs)
        )

    async def _run_in_thread(self, key: str, call: Callable[[], T]) -> T:
        return await self._devices.thread(
            self._device_of(key), partial(operations.pinned_call, self._root, call)
        )

    # -- the required contract -----------------------------------------------------------------------------

    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        """See `tidegate.abc.Backend.stat`. A missing file with a partial has the partial's attributes."""
        return await self._run(key, operations.look, key[key.rfind("/") + 1 :], follow=follow)

    def list(self, key: str) -> AsyncIterator[list[Entry]]:
        """See `tidegate.abc.Backend.list`."""
        return Listing(self._root, check_key(key), self._devices, self._device_of(key))

    async def partials(self, key: str) -> Batches:
        """See `tidegate.abc.ListsPartials`."""
        found = await self._run_in_thread(key, partial(find_partials, self._root, check_key(key)))
        for start in range(0, len(found), BATCH):
            yield found[start : start + BATCH]

    async def expire_partials(self, key: str) -> builtins.list[Entry]:
        """See `tidegate.abc.ExpiresPartials`."""
        return await self._run_in_thread(key, partial(expire_partials, self._root, check_key(key)))

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        """See `tidegate.abc.Backend.open_file`."""
        if not options.read and not options.write:
            raise InvalidArgument("invalid argument: neither read nor write")
        raw = check_key(key)
        device = self._device_of(key)
        if device.fast():
            opened = self._devices.inline(device, self._open_file, raw, options, device)
        else:
            call = partial(self._open_file, raw, options, device)
            opened = await self._devices.thread(
                device, partial(operations.pinned_call, self._root, call), orphan=_Opened.undo
            )
        return self._file(key, options, opened)

    def _file(self, key: str, options: OpenOptions, opened: _Opened) -> LocalFile:
        fd, st_dev, upload, existed_size = opened
        return LocalFile(
            fd,
            key[key.rfind("/") + 1 :],
            self._devices,
            self._devices.of(fd, st_dev),
            readable=options.read,
            writable=options.write,
            upload=upload,
            append=options.append and options.write,
            existed_size=existed_size,
        )

    def open_nowait(self, key: str, options: OpenOptions) -> LocalFile | None:
        """See `tidegate.abc.OpensAtOnce`."""
        raw = check_key(key)
        device = self._device_of(key) if self._mounts else self._device
        if device is None or not device.fast():
            return None
        clock = device.clock
        start = clock()
        opened: _Opened | None = None
        try:
            if options.write:
                created = self._opener.create(raw, options)
                if created is not None:
                    opened = _Opened(created.fd, created.st_dev, created, None)
            elif options.read and not options.create and not options.truncate:
                opened = self._open_plain(raw)
        except OSError:
            return None  # what is wrong is for `open_file` to find out
        finally:
            device.note(clock() - start)
        return None if opened is None else self._file(key, options, opened)

    def _open_plain(self, raw: bytes) -> _Opened | None:
        fd = self._root.plainly(raw, READ)
        if fd is None:
            return None
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            return None
        return _Opened(fd, found.st_dev, None, found.st_size)

    def _open_file(self, raw: bytes, options: OpenOptions, device: Device) -> _Opened:
        if options.write or options.create:
            upload = self._opener.open(raw, options, device)
            return _Opened(upload.fd, upload.st_dev, upload, upload.existed_size)
        fd = self._root.resolve(raw, READ)
        try:
            found = os.fstat(fd)
            check_regular(found.st_mode)
        except BaseException:
            os.close(fd)
            raise
        return _Opened(fd, found.st_dev, None, found.st_size)

    async def _on_upload(
        self,
        handle: FileHandle,
        call: Callable[[Upload], T],
        *,
        orphan: Callable[[T], object] | None = None,
    ) -> T:
        assert isinstance(handle, LocalFile)
        upload = handle.upload
        assert isinstance(upload, Upload)
        device = self._devices.of(handle.fileno(), upload.st_dev)
        pinned = partial(operations.pinned_call, self._root, partial(call, upload))
        if device.fast():
            return self._devices.inline(device, pinned)
        return await self._devices.thread(device, pinned, orphan=orphan)

    async def reopen(self, handle: FileHandle, options: OpenOptions) -> FileHandle:
        """See `tidegate.abc.SharesUploads`."""
        assert isinstance(handle, LocalFile)

        def again(upload: Upload) -> _Opened:
            fd = self._opener.reopen(upload, handle.fileno(), options)
            found = os.fstat(fd)
            return _Opened(fd, found.st_dev, None, found.st_size)

        return self._file(handle.name, options, await self._on_upload(handle, again, orphan=_Opened.undo))

    async def retarget(self, handle: FileHandle, key: str, *, exclusive: bool) -> None:
        """See `tidegate.abc.SharesUploads`."""
        raw = check_key(key)
        await self._on_upload(handle, lambda upload: self._opener.retarget(upload, raw, exclusive=exclusive))

    async def forsake(self, handle: FileHandle) -> None:
        """See `tidegate.abc.SharesUploads`."""

        def forsake(upload: Upload) -> None:
            upload.unname()
            upload.forsaken = True

        await self._on_upload(handle, forsake)

    async def remove(self, key: str) -> None:
        """See `tidegate.abc.Backend.remove`. The partial of an unfinished upload to it goes too."""
        if not key:
            raise IsADirectory
        if not await self._run(key, operations.remove):
            raw = check_key(key)
            await self._run_in_thread(key, partial(operations.remove, self._root, raw, heavy=True))

    async def mkdir(
        self, key: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """See `tidegate.abc.Backend.mkdir`."""
        if not key:
            raise AlreadyExists
        check_attrs(Attrs(uid=uid, gid=gid))
        wanted = (DEFAULT_DIRECTORY_MODE if mode is None else mode) & 0o777 & ~self._umask
        await self._run(key, operations.mkdir, wanted, *((uid, gid) if self._super else (None, None)))

    async def rmdir(self, key: str) -> None:
        """See `tidegate.abc.Backend.rmdir`. Leftover partials do not make a directory non-empty."""
        await self._run(key, operations.rmdir)

    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        """See `tidegate.abc.Backend.rename`."""
        raw = check_key(target)
        if await self._run(source, operations.rename, raw, replace=replace):
            await self._run_in_thread(target, partial(links.adjust_tree, self._root, raw))
        if self._undecided:
            from tidegate.backends.local.undecided import moved

            waiting = list(self._undecided.values())
            await self._run_in_thread(target, partial(moved, self._journal, waiting, check_key(source), raw))

    async def beside(self, key: str, *, moves: bool) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        folder, _, name = check_key(key).rpartition(b"/")
        hidden = tree_name(moves=moves)
        place = os.fsdecode(folder + b"/" + hidden if folder else hidden)
        STAGED.add(os.fsdecode(hidden))
        try:
            entry = await self._run_in_thread(key, partial(self._journal.add, folder, hidden, name))
        except BaseException:
            STAGED.discard(os.fsdecode(hidden))
            raise
        self._beside[place] = entry
        return place

    async def exchange(self, hidden: str, key: str) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        from tidegate.backends.local import staged  # trees are replaced by few

        await self._run(hidden, staged.exchange, check_key(key))
        if not hidden.rpartition("/")[2].startswith(MOVED_PREFIX.decode()):
            return hidden
        # What is there now is not what was moved, and need not outlive a crash.
        try:
            plain = await self.beside(key, moves=False)
        except TidegateError:
            return hidden
        raw = check_key(plain)
        try:
            await self._run(hidden, staged.rename_hidden, raw.rpartition(b"/")[2])
        except TidegateError:
            if not await self._run_in_thread(plain, partial(staged.is_there, self._root, raw)):
                await self.leave_beside(plain)
                return hidden
        await self.leave_beside(hidden)
        return plain

    async def leave_beside(self, hidden: str) -> None:
        """See `tidegate.abc.ReplacesTrees`."""
        from tidegate.backends.local import staged

        entry = self._beside.pop(hidden, None)
        name = hidden.rpartition("/")[2]
        try:
            there = await self._run_in_thread(hidden, partial(staged.is_there, self._root, check_key(hidden)))
        finally:
            STAGED.discard(name)
        if not there:
            Journal.drop(entry)

    async def set_aside(self, key: str, successor: FileHandle, *, keep: bool = True) -> tuple[str, bool]:
        """See `tidegate.abc.SetsAside`."""
        from tidegate.backends.local import undecided  # few uploads wait for a verdict

        assert isinstance(successor, LocalFile)
        raw, name = check_key(key), aside_name()
        call = partial(undecided.begin, self._root, self._journal, raw, name, successor.fileno(), keep=keep)
        pinned = partial(operations.pinned_call, self._root, call)
        one = await self._devices.thread(self._device_of(key), pinned, orphan=undecided.Undecided.end)
        folder, text = raw.rpartition(b"/")[0], os.fsdecode(name)
        self._undecided[text] = one
        return os.fsdecode(folder + b"/" + name if folder else name), one.old

    async def replaced(self, hidden: str, key: str) -> None:
        """See `tidegate.abc.SetsAside`."""
        from tidegate.backends.local import undecided

        one = self._undecided[hidden.rpartition("/")[2]]
        await self._run_in_thread(
            key, partial(undecided.note, self._root, self._journal, check_key(key), one)
        )

    async def put_back(self, hidden: str, key: str) -> bool:
        """See `tidegate.abc.SetsAside`."""
        from tidegate.backends.local import undecided

        name = hidden.rpartition("/")[2]
        one = self._undecided[name]
        try:
            done = await self._run_in_thread(
                key, partial(undecided.put_back, self._root, check_key(key), one)
            )
        finally:
            one.end()
        del self._undecided[name]  # after a failure `withdraw` may be asked
        return done

    async def withdraw(self, hidden: str, key: str, *, last: bool = False) -> bool:
        """See `tidegate.abc.SetsAside`."""
        from tidegate.backends.local import undecided

        name = hidden.rpartition("/")[2]
        one = self._undecided[name]
        try:
            return await self._run_in_thread(
                key, partial(undecided.withdraw, self._root, check_key(key), one)
            )
        finally:
            if last:
                one.end()
            if one.ended:
                del self._undecided[name]

    async def drop_aside(self, hidden: str) -> None:
        """See `tidegate.abc.SetsAside`."""
        from tidegate.backends.local import undecided

        one = self._undecided.get(hidden.rpartition("/")[2])
        if one is None:
            return
        raw = check_key(hidden)
        try:
            await self._run_in_thread(hidden, partial(undecided.drop, self._root, self._journal, raw, one))
        except TidegateError:
            return
        finally:
            del self._undecided[os.fsdecode(one.name)]
            one.end()

    def refusal(self, key: str, size: int) -> str:
        """See `tidegate.abc.RefusesKeys`."""
        del size
        return key_refusal(key)

    async def rename_across(self, source: str, other: Backend, target: str, *, replace: bool) -> None:
        """See `tidegate.abc.RenamesAcross`."""
        if not isinstance(other, LocalBackend):
            raise OtherDevice
        raw = check_key(target)
        into, there = other.end_of_rename(target)
        if there.fast():
            tree = await self._run(source, operations.rename, raw, replace=replace, into=into)
        else:
            call = partial(operations.rename, self._root, check_key(source), raw, replace=replace, into=into)
            tree = await self._run_in_thread(source, call)
        if tree:
            adjust = partial(operations.pinned_call, into, partial(links.adjust_tree, into, raw))
            await self._devices.thread(there, adjust)

    def end_of_rename(self, key: str) -> tuple[Root, Device]:
        """Root and device that another backend of this kind renames into."""
        return self._root, self._device_of(key)

    # -- capabilities ------------------------------------------------------------------------------------

    async def set_attrs(self, key: str, attrs: Attrs, *, follow: bool = True) -> None:
        """See `tidegate.abc.Backend.set_attrs`. Order: size, owner, mode, times."""
        check_attrs(attrs)
        await self._run(key, set_on_path, attrs, follow=follow)

    async def symlink(self, text: str, key: str) -> None:
        """See `tidegate.abc.Backend.symlink`. Its text is kept (see `links`)."""
        await self._run(key, operations.symlink, text)

    async def readlink(self, key: str) -> str:
        """See `tidegate.abc.Backend.readlink`."""
        if not key:
            raise InvalidArgument("invalid argument: not a link")
        return await self._run(key, links.readlink)

    async def place_of(self, key: str, *, follow: bool) -> str:
        """See `tidegate.abc.KnowsPlaces`."""
        return await self._run(key, links.place_of, follow=follow)

    async def survey(self, key: str) -> tuple[str, Entry | None]:
        """See `tidegate.abc.KnowsPlaces`."""
        return await self._run(key, operations.survey, key[key.rfind("/") + 1 :])

    @property
    def program_umask(self) -> int:
        """See `tidegate.abc.HostsPrograms`."""
        return self._umask

    async def descriptor(self, key: str) -> int:
        """See `tidegate.abc.HostsPrograms`."""
        unlinked = self.unlinked
        return await unlinked._run(key, operations.descriptor)  # noqa: SLF001  a twin of ours

    async def hardlink(self, source: str, target: str) -> None:
        """See `tidegate.abc.Backend.hardlink`. For regular files only; a link is followed first."""
        await self._run(source, operations.hardlink, check_key(target))

    async def copy(self, source: str, target: str, *, replace: bool) -> int:
        """See `tidegate.abc.Backend.copy`. The target appears when it is complete.

        Cancellation ends it until then; once it is being published it returns.
        """
        reader = await self.open_file(source, OpenOptions(read=True))
        try:
            found = await reader.stat()
            options = OpenOptions(
                write=True,
                create=True,
                truncate=True,
                exclusive=not replace,
                publish=Publish.ATOMIC,
                mode=found.mode,
            )
            writer = await self.open_file(target, options)
            outcome = Outcome.DROP
            try:
                assert isinstance(reader, LocalFile)
                assert isinstance(writer, LocalFile)
                done = 0
                while size := min(COPY_SLICE, found.size - done):  # what is added meanwhile is not copied
                    count = await writer.copy_from(reader, done, size)
                    if not count:
                        break
                    done += count
                outcome = Outcome.COMMIT
            finally:
                await _through(writer.close(outcome))
        finally:
            await _through(reader.close())
        return done

    async def space(self, key: str) -> Space:
        """See `tidegate.abc.Backend.space`."""
        return await self._run(key, operations.space)


async def _through(ending: Coroutine[Any, Any, None]) -> None:
    """Await an ending whatever comes: whether the copy is there is known when it is over."""
    task = asyncio.ensure_future(ending)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((task,))
    task.result()


def _proof(backend: LocalBackend) -> Backend:
    """The type checker's word that the contract is kept."""
    return backend


__all__ = ["LocalBackend"]
