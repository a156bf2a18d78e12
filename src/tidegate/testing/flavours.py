# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102, ARG002 - the methods are described in tidegate.abc, and some use no argument
"""Wrappers over any `tidegate.abc.Backend` that make it behave as remote storage does.

A wrapper declares what the wrapped storage declares and has the optional contracts that it has, except those
that answer without waiting (``*_nowait``): nothing of a wrapped storage is inline. Flavours can be nested.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from typing_extensions import Buffer

from tidegate.abc import Backend, Capability, FileHandle, OpenOptions, Outcome, Publish, TellsPartials
from tidegate.errors import StorageFailed, Unsupported
from tidegate.model import Attrs, Entry, Space

T = TypeVar("T")

OPTIONAL_CALLS: Final = (
    "is_current",
    "place_of",
    "survey",
    "rename_across",
    "expire_partials",
    "reopen",
    "retarget",
    "forsake",
)
"""Coroutine methods of the optional contracts of `tidegate.abc`."""


class Flavour:
    """A storage that passes every call on to another; subclasses change how, in `call`.

    Args:
        inner: the storage that holds the bytes; not opened yet.
    """

    def __new__(cls, inner: Backend, *_args: object, **_options: object) -> Any:
        """An instance with the optional contracts that `inner` has."""
        return object.__new__(_with_optional(cls, type(inner)))

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.no_links: Flavour | None = None

    async def call(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        """Do one awaited call of the storage or of one of its handles or listings.

        Args:
            name: ``open_file``, ``stat``...; of handles ``handle.write``...; ``list`` for each batch.
            act: does it.
        """
        return await act()

    def over(self, inner: Backend) -> Flavour:
        """The same flavour over another view of the same storage (`tidegate.abc.KnowsPlaces.unlinked`)."""
        twin: Flavour = object.__new__(_with_optional(type(self).__mro__[1], type(inner)))
        twin.__dict__.update(self.__dict__)
        twin.inner = inner
        return twin

    def handle(self, handle: FileHandle, options: OpenOptions) -> FileHandle:
        """The stand-in for a handle of the storage."""
        return FlavouredHandle(self, handle, options)

    inline = False

    @property
    def capabilities(self) -> Capability:
        return self.inner.capabilities

    def location(self, key: str) -> str:
        return self.inner.location(key)

    async def open(self) -> None:
        await self.call("open", self.inner.open)

    async def close(self) -> None:
        await self.inner.close()

    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        return await self.call("stat", lambda: self.inner.stat(key, follow=follow))

    def list(self, key: str) -> AsyncIterator[list[Entry]]:
        listing = self.inner.list(key)
        kind = FlavouredPartials if isinstance(listing, TellsPartials) else FlavouredListing
        return kind(self, "list", listing)

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        handle = await self.call("open_file", lambda: self.inner.open_file(key, options))
        return self.handle(handle, options)

    async def remove(self, key: str) -> None:
        await self.call("remove", lambda: self.inner.remove(key))

    async def mkdir(
        self, key: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        await self.call("mkdir", lambda: self.inner.mkdir(key, mode=mode, uid=uid, gid=gid))

    async def rmdir(self, key: str) -> None:
        await self.call("rmdir", lambda: self.inner.rmdir(key))

    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        await self.call("rename", lambda: self.inner.rename(source, target, replace=replace))

    async def set_attrs(self, key: str, attrs: Attrs, *, follow: bool = True) -> None:
        await self.call("set_attrs", lambda: self.inner.set_attrs(key, attrs, follow=follow))

    async def symlink(self, text: str, key: str) -> None:
        await self.call("symlink", lambda: self.inner.symlink(text, key))

    async def readlink(self, key: str) -> str:
        return await self.call("readlink", lambda: self.inner.readlink(key))

    async def hardlink(self, source: str, target: str) -> None:
        await self.call("hardlink", lambda: self.inner.hardlink(source, target))

    async def copy(self, source: str, target: str, *, replace: bool) -> int:
        return await self.call("copy", lambda: self.inner.copy(source, target, replace=replace))

    async def space(self, key: str) -> Space:
        return await self.call("space", lambda: self.inner.space(key))


class FlavouredHandle:
    """A handle of a `Flavour`."""

    def __init__(self, owner: Flavour, inner: FileHandle, options: OpenOptions) -> None:
        self.owner = owner
        self.inner = inner
        self.options = options
        self.existed_size = inner.existed_size
        self.staged = inner.staged
        self.took = inner.took

    async def read(self, offset: int, size: int) -> bytes:
        return await self.owner.call("handle.read", lambda: self.inner.read(offset, size))

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        return None

    async def write(self, offset: int, data: Buffer) -> None:
        await self.owner.call("handle.write", lambda: self.inner.write(offset, data))

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        return False

    async def stat(self) -> Entry:
        return await self.owner.call("handle.stat", self.inner.stat)

    async def set_attrs(self, attrs: Attrs) -> None:
        await self.owner.call("handle.set_attrs", lambda: self.inner.set_attrs(attrs))

    async def sync(self) -> None:
        await self.owner.call("handle.sync", self.inner.sync)

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        await self.owner.call("handle.close", lambda: self.inner.close(outcome))


class FlavouredListing:
    """A listing of a `Flavour`: each batch is one call."""

    def __init__(self, owner: Flavour, name: str, inner: AsyncIterator[list[Entry]]) -> None:
        self._owner = owner
        self._name = name
        self._inner = inner

    def __aiter__(self) -> AsyncIterator[list[Entry]]:
        return self

    async def __anext__(self) -> list[Entry]:
        return await self._owner.call(self._name, self._inner.__anext__)

    async def aclose(self) -> None:
        release = getattr(self._inner, "aclose", None)
        if release is not None:
            await release()


class FlavouredPartials(FlavouredListing):
    """A listing that tells of unfinished uploads."""

    @property
    def parts(self) -> bool:
        return bool(getattr(self._inner, "parts", True))

    @property
    def expired(self) -> bool:
        return bool(getattr(self._inner, "expired", False))


class Latency(Flavour):
    """Every awaited call takes time first, and nothing is answered without waiting.

    Args:
        inner: the storage that holds the bytes; not opened yet.
        seconds: time that a call waits before it is done.
    """

    def __init__(self, inner: Backend, seconds: float) -> None:
        super().__init__(inner)
        self.seconds = seconds

    async def call(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(self.seconds)
        return await act()


class Sequential(Flavour):
    """Takes the writes of a file in order only, each beginning where the last one ended.

    What comes otherwise is a mistake of the caller: it raises AssertionError.

    Args:
        inner: the storage that holds the bytes; not opened yet.
        without: capabilities to hide besides RANDOM_WRITE, READ_WRITE and TRUNCATE.
    """

    def __init__(self, inner: Backend, without: Capability = Capability.NONE) -> None:
        super().__init__(inner)
        self.hidden = without | Capability.RANDOM_WRITE | Capability.READ_WRITE | Capability.TRUNCATE

    @property
    def capabilities(self) -> Capability:
        return self.inner.capabilities & ~self.hidden

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        if options.read and options.write:
            raise Unsupported
        if options.append and Capability.APPEND in self.hidden:
            raise Unsupported
        if options.publish is Publish.RESUMABLE and Capability.PARTIALS in self.hidden:
            raise Unsupported
        return await super().open_file(key, options)

    def handle(self, handle: FileHandle, options: OpenOptions) -> FileHandle:
        return _OrderedHandle(self, handle, options)

    async def set_attrs(self, key: str, attrs: Attrs, *, follow: bool = True) -> None:
        if attrs.size is not None:
            raise Unsupported
        await super().set_attrs(key, attrs, follow=follow)


class _OrderedHandle(FlavouredHandle):
    def __init__(self, owner: Flavour, inner: FileHandle, options: OpenOptions) -> None:
        super().__init__(owner, inner, options)
        fresh = options.truncate or options.exclusive
        self._next = 0 if fresh else inner.existed_size or 0
        self._writing = self._closed = False

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        self._closed = True
        await super().close(outcome)

    async def write(self, offset: int, data: Buffer) -> None:
        size = memoryview(data).nbytes
        if self.options.write and not self._closed and offset >= 0 and size:
            if self._writing:
                raise AssertionError(f"a write at {offset} began before the last one ended")
            if not self.options.append and offset != self._next:
                raise AssertionError(f"a write at {offset}, where {self._next} is next")
        self._writing = True
        try:
            await super().write(offset, data)
        finally:
            self._writing = False
        self._next += size

    async def set_attrs(self, attrs: Attrs) -> None:
        if attrs.size is not None:
            raise Unsupported
        await super().set_attrs(attrs)


class Fault(enum.Enum):
    """The act of `Failing` at its call."""

    FAIL = "fail"
    """nothing is done, and the call fails"""
    HANG = "hang"
    """nothing is done, and there is no answer until the caller is cancelled or `Failing.released` is set"""
    CUT = "cut"
    """it is done and the answer is lost: this call and every one after it fail"""


class Failing(Flavour):
    """One call goes wrong.

    Args:
        inner: the storage that holds the bytes; not opened yet.
        fault: kind of the failure.
        nth: which call, counted from 1 among those that are looked at.
        names: calls that are looked at, as `Flavour.call` names them; none looks at all but `open`.

    Attributes:
        seen: names of the calls that were looked at.
        tripped: set when the call goes wrong.
        released: to be set by a test: a call that hangs fails then, as by a time-out of the storage's own.
    """

    def __init__(self, inner: Backend, fault: Fault, nth: int = 1, names: Sequence[str] = ()) -> None:
        super().__init__(inner)
        self.fault = fault
        self.nth = nth
        self.names = frozenset(names)
        self.seen: list[str] = []
        self.tripped = asyncio.Event()
        self.released = asyncio.Event()

    async def call(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        if self.tripped.is_set() and self.fault is Fault.CUT:
            raise StorageFailed("the connection to the storage is lost")
        if name in self.names or (not self.names and name != "open"):
            self.seen.append(name)
            if len(self.seen) == self.nth:
                self.tripped.set()
                if self.fault is Fault.HANG:
                    await self.released.wait()
                if self.fault is Fault.CUT:
                    await act()
                raise StorageFailed("the storage does not answer")
        return await act()


def _passed_on(name: str) -> Callable[..., Awaitable[Any]]:
    async def method(self: Flavour, *args: Any, **options: Any) -> Any:
        plain = [_unwrapped(item) for item in args]
        result = await self.call(name, lambda: getattr(self.inner, name)(*plain, **options))
        return self.handle(result, args[1]) if name == "reopen" else result

    method.__name__ = name
    return method


def _unwrapped(item: object) -> object:
    return item.inner if isinstance(item, Flavour | FlavouredHandle) else item


def _partials(self: Flavour, key: str) -> AsyncIterator[list[Entry]]:
    inner: Any = self.inner
    return FlavouredListing(self, "partials", inner.partials(key))


def _unlinked(self: Flavour) -> Flavour:
    if self.no_links is None:
        inner: Any = self.inner
        self.no_links = self.over(inner.unlinked)
        self.no_links.no_links = self.no_links
    return self.no_links


_KINDS: Final[dict[tuple[type, type], type[Flavour]]] = {}


def _with_optional(flavour: type[Flavour], inner: type) -> type[Flavour]:
    """A subclass of a flavour with the optional contracts of a kind of storage; one for each pair."""
    known = _KINDS.get((flavour, inner))
    if known is not None:
        return known
    members: dict[str, Any] = {
        name: _passed_on(name) for name in OPTIONAL_CALLS if getattr(inner, name, None) is not None
    }
    if hasattr(inner, "partials"):
        members["partials"] = _partials
    if hasattr(inner, "unlinked"):
        members["unlinked"] = property(_unlinked)
    kind = _KINDS[flavour, inner] = type(f"{flavour.__name__}{inner.__name__}", (flavour,), members)
    return kind


__all__ = [
    "Failing",
    "Fault",
    "Flavour",
    "FlavouredHandle",
    "FlavouredListing",
    "Latency",
    "Sequential",
]
