# SPDX-License-Identifier: Apache-2.0
"""The backends that serve the parts of the tree: the home and the virtual folders of one session.

Backends are shared: `BackendPool` keeps one per storage root while sessions use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from tidegate.abc import Backend, Capability, ChecksRoot, Key, ListsSizes
from tidegate.errors import TidegateError
from tidegate.model import ROOT, Entry, FolderMount, Kind, StorageSpec, VPath
from tidegate.policy.folders import Folders
from tidegate.policy.quota import ChargeSet
from tidegate.vfs.api import Span
from tidegate.vfs.staged import STAGED
from tidegate.vfs.usage.tracker import FolderUsage

SYNTHETIC_MODE: Final = 0o755
"""Permission bits of a directory that exists only because a folder is mounted below it."""


OpenBackend = Callable[[StorageSpec], Backend]
"""Builds (does not open) a backend; the root is to be created if missing."""
MakeReady = Callable[[StorageSpec], Awaitable[None]]
"""Loads what `OpenBackend` needs for a root, if that is not there yet."""


class _Shared:
    """One backend that sessions share."""

    __slots__ = ("backend", "key", "lock", "opened", "refs", "spec")

    def __init__(self, spec: StorageSpec, backend: Backend) -> None:
        self.spec = spec
        self.key = spec.key
        self.backend = backend
        self.refs = 0
        self.opened = False
        self.lock = asyncio.Lock()


class BackendPool:
    """Backends by storage root, shared by the sessions that use them now.

    Nothing stays open for a root that no session uses: its directory may be moved, replaced or unmounted
    then. A session that begins while others use the same root gets their backend only if that still serves
    the root's path (`tidegate.abc.ChecksRoot`); otherwise it gets a new one, and theirs goes on until they
    end.

    Args:
        build: makes an unopened backend; kept as an attribute.
        ready: called before it, for each session's roots; kept as an attribute.
    """

    def __init__(self, build: OpenBackend, ready: MakeReady | None = None) -> None:
        self.build = build
        self.ready = ready
        self._current: dict[str, _Shared] = {}
        self._used: dict[Backend, _Shared] = {}

    async def acquire(self, spec: StorageSpec) -> Backend:
        """An open backend for `spec`, until `release`.

        Raises:
            WorldError: it cannot be opened.
        """
        if self.ready is not None:
            await self.ready(spec)
        key = spec.key
        shared = self._current.get(key)
        if shared is not None:
            if await self._held_if_current(shared):
                return shared.backend
            if self._current.get(key) is shared:
                del self._current[key]
            # A root that was moved away may be back: two backends of one directory would charge twice.
            for other in [used for used in self._used.values() if used.key == key and used is not shared]:
                if await self._held_if_current(other):
                    self._current[key] = other
                    return other.backend
            shared = self._current.get(key)  # somebody else may have seen it first
        if shared is None:
            backend = self.build(spec)
            shared = self._current[key] = self._used[backend] = _Shared(spec, backend)
        shared.refs += 1
        try:
            if not shared.opened:
                async with shared.lock:
                    if not shared.opened:
                        await shared.backend.open()
                        shared.opened = True
        except BaseException:
            if self._current.get(key) is shared:
                del self._current[key]
            await self._let_go(shared)
            raise
        return shared.backend

    async def _held_if_current(self, shared: _Shared) -> bool:
        """Hold an open backend if it still serves its root.

        Raises:
            TidegateError: that cannot be told.
        """
        shared.refs += 1  # while the root is looked at
        current = False
        try:
            async with shared.lock:
                opened = shared.opened
            backend = shared.backend
            current = opened and (not isinstance(backend, ChecksRoot) or await backend.is_current())
        finally:
            if not current:
                await self._let_go(shared)
        return current

    async def release(self, backend: Backend) -> None:
        """End one `acquire`; the backend is closed with its last session."""
        shared = self._used.get(backend)
        if shared is not None:
            await self._let_go(shared)

    async def _let_go(self, shared: _Shared) -> None:
        shared.refs -= 1
        if shared.refs > 0 or self._used.pop(shared.backend, None) is None:
            return
        if self._current.get(shared.key) is shared:
            del self._current[shared.key]
        await _close(shared.backend)

    def in_use(self) -> list[tuple[StorageSpec, Backend]]:
        """Every root that is open now, with its backend."""
        return [(shared.spec, shared.backend) for shared in self._used.values() if shared.opened]

    async def close(self) -> None:
        """Close every backend."""
        backends = list(self._used)
        self._current.clear()
        self._used.clear()
        for backend in backends:
            await _close(backend)


async def _close(backend: Backend) -> None:
    try:
        await backend.close()
    except TidegateError:
        return  # nothing of ours is open there any more


class Mount:
    """A part of the tree.

    Attributes:
        path: where it is seen.
        spec: its storage.
        folder: the folder mount, None for the home.
        usage: live usage of the folder, None for the home.
        charges: what is charged here.
        backend: open once it was needed.
        in_order: True if the open backend takes the writes of a file in order only.
        describe: makes an unopened backend, to ask it where something is.
    """

    __slots__ = ("_describe", "backend", "charges", "folder", "in_order", "path", "spec", "usage")

    def __init__(
        self,
        path: VPath,
        spec: StorageSpec,
        charges: ChargeSet,
        folder: FolderMount | None,
        usage: FolderUsage | None,
        *,
        describe: OpenBackend,
    ) -> None:
        self._describe = describe
        self.path = path
        self.spec = spec
        self.folder = folder
        self.usage = usage
        self.charges = charges
        self.backend: Backend | None = None
        self.in_order = False

    def location(self, key: Key) -> str:
        """The location of a key, for operators; asked of the storage, whether or not it was opened."""
        key = self._shown(key)
        try:
            return (self.backend or self._describe(self.spec)).location(key)
        except TidegateError:
            return ""  # there is no such storage here

    def key(self, path: VPath) -> Key:
        """The key of a virtual path that this mount serves."""
        return path[1:] if len(self.path) == 1 else path.relative_to(self.path)

    def _shown(self, key: Key) -> Key:
        staged = STAGED.get()
        return key if staged is None else staged.shown_key(self, key)

    def virtual(self, key: Key) -> VPath:
        """The virtual path of a key."""
        key = self._shown(key)
        return VPath(f"{'' if self.path == '/' else self.path}/{key}" if key else str(self.path))


class ResolvedPath(NamedTuple):
    """The mount, storage and key of a virtual path."""

    mount: Mount
    backend: Backend
    key: Key

    @property
    def location(self) -> str:
        """The location, for operators."""
        return self.mount.location(self.key)


def _key(mount: Mount, path: VPath) -> Key:
    """The key of a virtual path, or what is made beside it meanwhile (`vfs.staged`)."""
    staged = STAGED.get()
    if staged is not None and (hidden := staged.hidden_key(mount, path)) is not None:
        return hidden
    return mount.key(path)


@asynccontextmanager
async def listing(
    backend: Backend, key: Key, *, counts: bool = False
) -> AsyncIterator[AsyncIterator[list[Entry]]]:
    """A backend's listing, whose resources are released however the walk ends.

    Args:
        counts: times are not needed (`tidegate.abc.ListsSizes`).
    """
    batches = backend.list_sizes(key) if counts and isinstance(backend, ListsSizes) else backend.list(key)
    try:
        yield batches
    finally:
        release = getattr(batches, "aclose", None)
        if release is not None:
            await release()


_NO_PATHS: Final[frozenset[VPath]] = frozenset()
"""Shared by all sessions without folders."""


class MountTable:
    """The mounts of one session.

    Args:
        pool: where backends come from.
        mounts: home (at ``/``) and folders; a folder at ``/`` replaces the home.

    Attributes:
        has_points: True if anything is mounted below the root.
        overlaps: True if storage that is not inline was opened.
    """

    def __init__(self, pool: BackendPool, mounts: Iterable[Mount]) -> None:
        self._pool = pool
        by_path = {mount.path: mount for mount in mounts}
        self._deepest = sorted(by_path.values(), key=lambda mount: len(mount.path), reverse=True)
        self._points = frozenset(path for path in by_path if path != "/") or _NO_PATHS
        self._above = (
            frozenset(above for point in self._points for above in point.ancestors()[1:]) or _NO_PATHS
        )
        self.has_points = bool(self._points)
        self.overlaps = False
        # Two mounts of one kind of storage may show the same files under two names.
        self._domains = [mount.spec.resource for mount in self._deepest]
        self.root = by_path[VPath("/")]

    @property
    def folders(self) -> Folders:
        """The mount points, for rules that speak about them."""
        return Folders({mount.path: mount.spec.resource for mount in self._deepest})

    @property
    def mounts(self) -> list[Mount]:
        """Every mount, deepest first."""
        return self._deepest

    async def at(self, path: VPath) -> ResolvedPath:
        """The mount that serves `path`, its backend (opened at first use) and the key there."""
        resolved = self.known(path)
        if resolved is not None:
            return resolved
        mount = self._serving(path)
        acquired = await self._pool.acquire(mount.spec)
        if mount.backend is None:
            mount.backend = acquired
            mount.in_order = Capability.RANDOM_WRITE not in acquired.capabilities
            self.overlaps = self.overlaps or not acquired.inline
        else:  # two operations opened it at the same time
            await self._pool.release(acquired)
        return ResolvedPath(mount, mount.backend, _key(mount, path))

    def known(self, path: VPath) -> ResolvedPath | None:
        """As `at`; None if the backend has yet to be opened."""
        mount = self._serving(path) if self.has_points else self.root
        backend = mount.backend
        return None if backend is None else ResolvedPath(mount, backend, _key(mount, path))

    def span(self, path: VPath, *, changes: bool) -> Span:
        """The span of a request about `path`; see `tidegate.vfs.api.Session.span`.

        All of the storage, if requests there run in order of arrival (it is inline, or not open yet), or if
        one file may have several paths (links, other mounts of the same storage) and something changes.
        """
        mount = self._serving(path)
        domain = self._domains.index(mount.spec.resource)
        backend = mount.backend
        if backend is None or backend.inline:
            return Span(domain, ROOT, changes=True)
        several = Capability.LINKS in backend.capabilities or self._domains.count(mount.spec.resource) > 1
        return Span(domain, ROOT if changes and several else path, changes)

    def location(self, path: VPath) -> str:
        """The location of `path`, whether or not its storage can be used; for operators."""
        mount = self._serving(path)
        return mount.location(mount.key(path))

    def kind_of(self, path: VPath) -> str:
        """The kind of storage that serves a path, for instance ``local``."""
        return self._serving(path).spec.config.kind

    def _serving(self, path: VPath) -> Mount:
        for candidate in self._deepest:
            if path.is_within(candidate.path):
                return candidate
        return self.root

    def is_point(self, path: VPath) -> bool:
        """True if a folder is mounted exactly there."""
        return path in self._points

    def holds_points(self, path: VPath) -> bool:
        """True if a folder is mounted below `path`."""
        return path in self._above

    def overlay(self, directory: VPath) -> dict[str, bool]:
        """Names that mounts put into a directory: True for a mount point, False for a way to one."""
        if directory not in self._above:
            return {}
        names: dict[str, bool] = {}
        for point in sorted(self._points):
            if point != directory and point.is_within(directory):
                first, _, rest = point.relative_to(directory).partition("/")
                names[first] = names.get(first, False) or not rest
        return names

    async def prepare(self) -> None:
        """Open the root mount, and create directories that lead to mount points where that is possible."""
        await self.at(VPath("/"))
        for above in sorted(self._above, key=len):
            if above == "/" or above in self._points:
                continue
            try:
                _, backend, key = await self.at(above)
                await backend.mkdir(key)
            except TidegateError:
                continue  # it exists, or is shown without existing

    async def close(self) -> None:
        """Give the backends back."""
        for mount in self._deepest:
            if mount.backend is not None:
                backend, mount.backend = mount.backend, None
                await self._pool.release(backend)


def synthetic(name: str) -> Entry:
    """A directory that is seen without being there."""
    return Entry(name, Kind.DIRECTORY, 0, SYNTHETIC_MODE)
