# SPDX-License-Identifier: Apache-2.0
"""`CryptBackend`: the contract of `tidegate.abc.Backend` over another backend; decisions: docs/adr/0049.

Names, attributes and the tree are those of the other one; only content and sizes are not.

Long, because each optional contract of the other storage is passed on by functions of its own.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, Final

from tidegate.abc import Backend, Capability, FileHandle, OpenOptions, Outcome, Publish
from tidegate.backends.crypt.format import CHUNK, HEADER, FileCipher, Header, plain_size, stored_size
from tidegate.backends.crypt.keys import RootKeys
from tidegate.backends.crypt.listing import plain_entry, plain_listing
from tidegate.backends.crypt.reading import CryptReader
from tidegate.backends.crypt.sharing import UploadView
from tidegate.backends.crypt.writing import CryptWriter
from tidegate.errors import (
    InvalidArgument,
    IsADirectory,
    NotFound,
    StorageFailed,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Kind, Space

FREE: Final = Capability.RANDOM_WRITE | Capability.READ_WRITE | Capability.TRUNCATE
"""Storage with all of these lets an upload be taken up again: its last chunk is read and written anew."""
PROBED: Final = 8
"""Files of a root that are looked at for the salt of the passphrase, and to try a passphrase."""
_READ: Final = OpenOptions(read=True)


class CryptBackend:
    """Encrypted files in another storage; make one with `crypt_backend`.

    Args:
        inner: holds the encrypted files; not open yet.
        keys: of the root.
        read_buffer: bytes that sequential reads ask for at once; 0 for one chunk.
        write_buffer: bytes that are handed on at once; 0 for whole chunks as they come.
    """

    def __init__(self, inner: Backend, keys: RootKeys, read_buffer: int = 0, write_buffer: int = 0) -> None:
        self.inner = inner
        self.keys = keys
        self._read_buffer = read_buffer
        self._write_buffer = write_buffer
        self._ahead = max(1, read_buffer // CHUNK)
        self._probed = False
        self.no_links: CryptBackend | None = None

    @property
    def _free(self) -> bool:
        return FREE in self.inner.capabilities

    @property
    def capabilities(self) -> Capability:
        """Those of the other storage, as far as they can be kept; see docs/adr/0049."""
        found = self.inner.capabilities & ~Capability.RANDOM_WRITE
        if self._free:
            return found | Capability.APPEND
        found &= ~(Capability.READ_WRITE | Capability.PARTIALS)
        if Capability.APPEND not in found or Capability.TRUNCATE not in found:
            found &= ~(Capability.APPEND | Capability.TRUNCATE)
        return found

    @property
    def inline(self) -> bool:
        """As the other storage."""
        return self.inner.inline

    def location(self, key: str) -> str:
        """The location of the encrypted file."""
        return self.inner.location(key)

    async def open(self) -> None:
        """Open the other storage."""
        await self.inner.open()

    async def close(self) -> None:
        """Close the other storage."""
        await self.inner.close()

    # -- looking -----------------------------------------------------------------------------------------

    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        """Attributes; the size is that of the content."""
        return plain_entry(await self.inner.stat(key, follow=follow))

    def list(self, key: str) -> AsyncIterator[list[Entry]]:
        """Entries of a directory; the sizes are those of the content."""
        return plain_listing(self.inner.list(key))

    # -- files -------------------------------------------------------------------------------------------

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        """Open a file for reading, or for writing in order.

        Raises:
            Damaged: it is not encrypted, or not with this passphrase.
        """
        if not (options.read or options.write):
            raise InvalidArgument("invalid argument: neither read nor write")
        if options.truncate and not options.write:
            raise InvalidArgument("invalid argument: truncate without write")
        if not options.write:
            return await self._open_reader(key, options)
        declared = self.capabilities
        for wanted, capability in (
            (options.read, Capability.READ_WRITE),
            (options.append, Capability.APPEND),
            (options.publish is Publish.RESUMABLE, Capability.PARTIALS),
        ):
            if wanted and capability not in declared:
                raise Unsupported
        if not self._free:
            return await self._open_in_order(key, options)
        return await self._open_free(key, options)

    async def _open_reader(self, key: str, options: OpenOptions = _READ) -> CryptReader:
        handle = await self.inner.open_file(key, options)
        try:
            return await CryptReader.open(handle, self.keys, self._ahead)
        except BaseException:
            await _let_go(handle, Outcome.COMMIT)
            raise

    async def _open_free(self, key: str, options: OpenOptions) -> FileHandle:
        fresh = options.truncate or options.exclusive
        cipher = await self._new_cipher()
        handle = await self.inner.open_file(key, replace(options, read=True, append=False))
        try:
            if not fresh and handle.existed_size:
                writer = await CryptWriter.go_on(handle, self.keys, options, self._write_buffer)
                if writer is not None:
                    return writer
        except BaseException:
            await _let_go(handle, Outcome.KEEP)
            raise
        return CryptWriter(handle, cipher, options, free=True, buffer=self._write_buffer)

    async def _open_in_order(self, key: str, options: OpenOptions) -> FileHandle:
        base: CryptReader | None = None
        last = b""
        if not (options.truncate or options.exclusive):
            try:
                base = await self._open_reader(key)
            except NotFound:
                if not options.create:
                    raise
            else:
                try:
                    last = await base.chunk(max(0, base.size - 1) // CHUNK)
                finally:
                    await base.close()
        cipher = await self._new_cipher() if base is None else None
        handle = await self.inner.open_file(key, options)
        if base is None:
            assert cipher is not None
            return CryptWriter(handle, cipher, options, free=False, buffer=self._write_buffer)
        return CryptWriter.after(handle, base, last, options, lambda: self._open_reader(key))

    async def _new_cipher(self) -> FileCipher:
        if self.keys.salt is None and not self._probed:
            self._probed = True
            with suppress(TidegateError):
                await self._probe()
        return FileCipher.new(*await self.keys.for_new())

    async def _probe(self) -> None:
        """Look at some files: they tell if the passphrase is right, and which salt it has.

        Raises:
            Damaged: one was encrypted with another passphrase.
        """
        nothing: builtins.list[Entry] = []
        batch = await anext(aiter(self.inner.list("")), nothing)
        for entry in [entry for entry in batch if entry.kind is Kind.FILE][:PROBED]:
            with suppress(NotFound):
                handle = await self.inner.open_file(entry.name, _READ)
                try:
                    beginning = await handle.read(0, HEADER)
                finally:
                    await handle.close()
                header = Header.parse(beginning)
                FileCipher.of(header, await self.keys.of(header.salt))
                self.keys.salt = self.keys.salt or header.salt

    async def try_itself(self) -> None:
        """See `tidegate.abc.TriesItself`; also tries the passphrase on some files of the root.

        Raises:
            Damaged: a file is not encrypted, or with another passphrase.
        """
        tries = getattr(self.inner, "try_itself", None)
        if tries is not None:
            await tries()
        await self._probe()

    async def remove(self, key: str) -> None:
        """Remove a file or a link."""
        await self.inner.remove(key)

    # -- the tree ----------------------------------------------------------------------------------------

    async def mkdir(
        self, key: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Create one directory."""
        await self.inner.mkdir(key, mode=mode, uid=uid, gid=gid)

    async def rmdir(self, key: str) -> None:
        """Remove an empty directory."""
        await self.inner.rmdir(key)

    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Rename; what is encrypted does not depend on names."""
        await self.inner.rename(source, target, replace=replace)

    async def set_attrs(self, key: str, attrs: Attrs, *, follow: bool = True) -> None:
        """Set attributes; for another size the last chunk is written again."""
        if attrs.size is not None:
            if Capability.TRUNCATE not in self.capabilities:
                raise Unsupported
            if attrs.size < 0:
                raise InvalidArgument("invalid argument: size")
            if (await self.inner.stat(key, follow=follow)).is_dir:
                raise IsADirectory
            handle = await self.open_file(key, OpenOptions(write=True, append=not self._free))
            outcome = Outcome.KEEP
            try:
                await handle.set_attrs(Attrs(size=attrs.size))
                outcome = Outcome.COMMIT
            finally:
                await handle.close(outcome)
            attrs = replace(attrs, size=None)
            if attrs == Attrs():
                return
        await self.inner.set_attrs(key, attrs, follow=follow)

    async def symlink(self, text: str, key: str) -> None:
        """As the other storage."""
        await self.inner.symlink(text, key)

    async def readlink(self, key: str) -> str:
        """As the other storage."""
        return await self.inner.readlink(key)

    async def hardlink(self, source: str, target: str) -> None:
        """As the other storage."""
        await self.inner.hardlink(source, target)

    async def copy(self, source: str, target: str, *, replace: bool) -> int:
        """Copy the encrypted file; returns the size of its content."""
        return plain_size(await self.inner.copy(source, target, replace=replace))

    async def space(self, key: str) -> Space:
        """As the other storage."""
        return await self.inner.space(key)


def crypt_backend(
    inner: Backend, keys: RootKeys, read_buffer: int = 0, write_buffer: int = 0
) -> CryptBackend:
    """Encryption over a backend, with those of the optional contracts of `tidegate.abc` that it can keep.

    Left out: `HostsPrograms` (programs would see what is encrypted), `OpensAtOnce`, `RenamesAcross` (another
    root may have another passphrase), and the digests that a storage knows (they are of what is encrypted).
    """
    kind = _with_optional(type(inner), FREE in inner.capabilities)
    return kind(inner, keys, read_buffer, write_buffer)


async def _let_go(handle: FileHandle, outcome: Outcome) -> None:
    """Close a stored file that cannot be used; what is wrong with it is the error to be told."""
    with suppress(TidegateError):
        await handle.close(outcome)


# -- optional contracts ----------------------------------------------------------------------------------


def _unlinked(self: Any) -> CryptBackend:
    if self.no_links is None:
        twin: Any = crypt_backend(self.inner.unlinked, self.keys, self._read_buffer, self._write_buffer)
        twin.no_links = self.no_links = twin
    found: CryptBackend = self.no_links
    return found


async def _is_current(self: Any) -> bool:
    return bool(await self.inner.is_current())


def _identity(self: Any, key: str) -> str:
    return str(self.inner.identity(key))  # that of the encrypted file


async def _place_of(self: Any, key: str, *, follow: bool) -> str:
    return str(await self.inner.place_of(key, follow=follow))


async def _survey(self: Any, key: str) -> tuple[str, Entry | None]:
    place, entry = await self.inner.survey(key)
    return place, None if entry is None else plain_entry(entry)


def _partials(self: Any, key: str) -> AsyncIterator[list[Entry]]:
    return plain_listing(self.inner.partials(key))


async def _expire_partials(self: Any, key: str) -> builtins.list[Entry]:
    return [plain_entry(entry) for entry in await self.inner.expire_partials(key)]


def _refusal(self: Any, key: str, size: int) -> str:
    return str(self.inner.refusal(key, stored_size(size)))


def _list_sizes(self: Any, key: str) -> AsyncIterator[list[Entry]]:
    return plain_listing(self.inner.list_sizes(key))


async def _reopen(_self: Any, handle: FileHandle, options: OpenOptions) -> FileHandle:
    return UploadView(_own(handle), options)


async def _retarget(self: Any, handle: FileHandle, key: str, *, exclusive: bool) -> None:
    await self.inner.retarget(_own(handle).inner, key, exclusive=exclusive)


async def _forsake(self: Any, handle: FileHandle) -> None:
    await self.inner.forsake(_own(handle).inner)


async def _beside(self: Any, key: str, *, moves: bool) -> str:
    hidden: str = await self.inner.beside(key, moves=moves)
    return hidden


async def _exchange(self: Any, hidden: str, key: str) -> str:
    now: str = await self.inner.exchange(hidden, key)
    return now


async def _leave_beside(self: Any, hidden: str) -> None:
    await self.inner.leave_beside(hidden)


async def _set_aside(self: Any, key: str, successor: FileHandle, *, keep: bool = True) -> tuple[str, bool]:
    kept: tuple[str, bool] = await self.inner.set_aside(key, _own(successor).inner, keep=keep)
    return kept


async def _replaced(self: Any, hidden: str, key: str) -> None:
    await self.inner.replaced(hidden, key)


async def _put_back(self: Any, hidden: str, key: str) -> bool:
    return bool(await self.inner.put_back(hidden, key))


async def _withdraw(self: Any, hidden: str, key: str, *, last: bool = False) -> bool:
    return bool(await self.inner.withdraw(hidden, key, last=last))


async def _drop_aside(self: Any, hidden: str) -> None:
    await self.inner.drop_aside(hidden)


def _own(handle: FileHandle) -> CryptWriter:
    if not isinstance(handle, CryptWriter):
        raise StorageFailed(detail="the handle is not of this storage")
    return handle


_OPTIONAL: Final[dict[str, Callable[..., Any]]] = {
    "is_current": _is_current,
    "identity": _identity,
    "place_of": _place_of,
    "survey": _survey,
    "partials": _partials,
    "expire_partials": _expire_partials,
    "list_sizes": _list_sizes,
    "refusal": _refusal,
    "reopen": _reopen,
    "retarget": _retarget,
    "forsake": _forsake,
    "beside": _beside,
    "exchange": _exchange,
    "leave_beside": _leave_beside,
    "set_aside": _set_aside,
    "replaced": _replaced,
    "put_back": _put_back,
    "withdraw": _withdraw,
    "drop_aside": _drop_aside,
}
"""Methods of optional contracts, for storage that has them."""
_WITH_PARTIALS: Final = frozenset(("partials", "expire_partials"))


@cache
def _with_optional(inner: type, free: bool) -> type[CryptBackend]:
    members: dict[str, Any] = {
        name: method
        for name, method in _OPTIONAL.items()
        if hasattr(inner, name) and (free or name not in _WITH_PARTIALS)
    }
    if hasattr(inner, "unlinked"):
        members["unlinked"] = property(_unlinked)
    return type(f"Crypt{inner.__name__}", (CryptBackend,), members)


def _proof(backend: CryptBackend) -> Backend:
    """The type checker's word that the contract is kept."""
    return backend
