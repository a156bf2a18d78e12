# SPDX-License-Identifier: Apache-2.0
"""A vfs with real local storage and a store in memory, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tidegate.abc import Backend
from tidegate.backends.local import Devices, LocalBackend
from tidegate.backends.local.device import Device
from tidegate.errors import NotFound, ProviderUnavailable, TidegateError
from tidegate.events.kinds import Event
from tidegate.model import (
    Account,
    Filters,
    Folder,
    FolderMount,
    Peer,
    Principal,
    Protocol,
    StorageSpec,
    UsageDelta,
    VPath,
)
from tidegate.store.properties import MemoryProperties
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.context import VfsOptions
from tidegate.vfs.factory import VfsSessions
from tidegate.vfs.session import Session

PUT = OpenFlags(write=True, create=True, truncate=True)
GET = OpenFlags(read=True)
RESUME = OpenFlags(write=True, create=True)


class UsageKeeper:
    """The store's usage part in memory. `down` makes every call fail; `calls` counts them by name."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts = {account.username: account for account in accounts}
        self.folders: dict[str, Folder] = {}
        self.dirty: set[str] = set()
        self.down = False
        self.calls: list[str] = []

    def _alive(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise ProviderUnavailable

    def _need(self, username: str) -> Account:
        if username not in self.accounts:
            raise NotFound
        return self.accounts[username]

    async def user(self, username: str) -> Account | None:
        self._alive("user")
        return self.accounts.get(username)

    async def folder(self, name: str) -> Folder | None:
        self._alive("folder")
        return self.folders.get(name)

    async def add_usage(self, username: str, delta: UsageDelta) -> None:
        self._alive("add_usage")
        old = self._need(username)
        self.accounts[username] = replace(
            old,
            used_quota_size=max(0, old.used_quota_size + delta.size),
            used_quota_files=max(0, old.used_quota_files + delta.files),
            used_upload_data_transfer=old.used_upload_data_transfer + delta.upload,
            used_download_data_transfer=old.used_download_data_transfer + delta.download,
            tally=replace(
                old.tally,
                **{
                    name: max(0, getattr(old.tally, name) + getattr(delta.tally, name))
                    for name in ("bytes_in", "bytes_out", "bytes_xfer", "files_in", "files_out", "files_xfer")
                },
            ),
        )

    async def set_usage(self, username: str, *, size: int, files: int) -> None:
        self._alive("set_usage")
        old = self._need(username)
        self.accounts[username] = replace(old, used_quota_size=size, used_quota_files=files)

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        self._alive("set_transfer_usage")
        old = self._need(username)
        self.accounts[username] = replace(
            old, used_upload_data_transfer=upload, used_download_data_transfer=download
        )

    async def add_folder_usage(self, name: str, *, size: int, files: int) -> None:
        self._alive("add_folder_usage")
        if name not in self.folders:
            raise NotFound
        old = self.folders[name]
        self.folders[name] = replace(
            old,
            used_quota_size=max(0, old.used_quota_size + size),
            used_quota_files=max(0, old.used_quota_files + files),
        )

    async def set_folder_usage(self, name: str, *, size: int, files: int) -> None:
        self._alive("set_folder_usage")
        self.folders[name] = replace(self.folders[name], used_quota_size=size, used_quota_files=files)

    async def mark_usage(self, username: str, *, dirty: bool) -> None:
        self._alive(f"mark {dirty}")
        (self.dirty.add if dirty else self.dirty.discard)(username)

    async def dirty_usage(self) -> list[str]:
        self._alive("dirty_usage")
        return sorted(self.dirty)

    async def touch_first(self, username: str, kind: Literal["upload", "download"], when_ms: int) -> None:
        self._alive("touch_first")
        self.accounts[username] = replace(self._need(username), **{f"first_{kind}": when_ms})


class World:
    """Directories, a store, events, and a `VfsSessions` over them."""

    def __init__(self, base: Path, **settings: Any) -> None:
        self.base = base
        self.store = UsageKeeper()
        self.events: list[Event] = []
        self.properties = MemoryProperties()
        self.track_quota = settings.pop("track_quota", 2)
        self.inspections = settings.pop("inspections", None)
        self.kept = settings.pop("kept", None)
        self.options = VfsOptions(**settings)
        self.vfs = self.start()
        self._sessions: list[Session] = []
        self._next = 0

    def start(self) -> VfsSessions:
        """The vfs as after a start of the server; the store and the files are as they were left."""
        self.vfs = VfsSessions(
            self.build,
            self.store,
            emit=self.events.append,
            options=self.options,
            track_quota=self.track_quota,
            inspections=self.inspections,
            kept=self.kept,
            properties=self,
        )
        return self.vfs

    async def property_roots(self) -> set[str]:
        return set()

    def build(self, spec: StorageSpec) -> Backend:
        return LocalBackend(spec.directory, create=True)

    def home(self, name: str = "alice") -> Path:
        return self.base / "homes" / name

    def account(
        self, name: str = "alice", *, filters: dict[str, Any] | None = None, **fields: Any
    ) -> Account:
        """A stored account; folders named in `virtual_folders` are stored as well."""
        defaults: dict[str, Any] = {"home_dir": str(self.home(name)), "permissions": {"/": ("*",)}}
        account = Account(username=name, **(defaults | fields), filters=Filters(**(filters or {})))
        self.store.accounts[name] = account
        for mount in account.virtual_folders:
            self.store.folders.setdefault(mount.name, Folder(name=mount.name, mapped_path=mount.mapped_path))
        return account

    def mount(self, name: str, virtual_path: str, **fields: Any) -> FolderMount:
        path = self.base / "folders" / name
        return FolderMount(name=name, virtual_path=virtual_path, mapped_path=str(path), **fields)

    def folder_dir(self, name: str) -> Path:
        return self.base / "folders" / name

    async def login(self, account: Account | str = "alice", ip: str = "192.0.2.7") -> Session:
        if isinstance(account, str):
            account = self.store.accounts[account]
        self._next += 1
        peer = Peer(f"c{self._next}", Protocol.SFTP, ip, 4711, "127.0.0.1:2022", "SSH-2.0-test")
        session = await self.vfs.open(Principal(account, "password", ip), peer)
        self._sessions.append(session)
        return session

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()
        await self.vfs.close()

    def of(self, kind: type[Event]) -> list[Any]:
        """Events of one kind."""
        return [event for event in self.events if type(event) is kind]

    async def used(self, name: str = "alice") -> tuple[int, int]:
        """(bytes, files) as the store knows them once everything is written."""
        await self.vfs.tracker.settle()
        account = self.store.accounts[name]
        return account.used_quota_size, account.used_quota_files

    async def folder_used(self, name: str) -> tuple[int, int]:
        await self.vfs.tracker.settle()
        folder = self.store.folders[name]
        return folder.used_quota_size, folder.used_quota_files


@asynccontextmanager
async def vfs_world(base: Path, **settings: Any) -> AsyncIterator[World]:
    world = World(base, **settings)
    try:
        yield world
    finally:
        await world.close()


class Threads(Devices):
    """Every device is one whose calls go to threads, as on NFS."""

    def _remember(self, st_dev: int, fstype: str) -> Device:
        return super()._remember(st_dev, "fuse.slow")


class _LocalWorld(World):
    devices: Devices
    kernel: bool | None = None

    def build(self, spec: StorageSpec) -> Backend:
        return LocalBackend(spec.directory, create=True, devices=self.devices, kernel=self.kernel)


@asynccontextmanager
async def local_world(
    base: Path, *, threads: bool = False, kernel: bool | None = None, **settings: Any
) -> AsyncIterator[World]:
    """A world whose storage runs in threads, or (`kernel` False) is contained without openat2."""
    world = _LocalWorld(base, **settings)
    world.devices = Threads(workers=4) if threads else Devices(workers=4)
    world.kernel = kernel
    try:
        yield world
    finally:
        await world.close()
        world.devices.close()


def p(text: str) -> VPath:
    return VPath.parse(text)


async def put(session: Session, path: str, data: bytes, flags: OpenFlags = PUT, chunk: int = 32768) -> None:
    """Upload as a client would: blocks, close; after an error the file is aborted."""
    file = await session.open(p(path), flags)
    try:
        for offset in range(0, len(data), chunk):
            await file.write(offset, data[offset : offset + chunk])
    except BaseException:
        with suppress(TidegateError):  # the error of the write is the one that matters
            await file.close()
        raise
    await file.close()


async def get(session: Session, path: str) -> bytes:
    file = await session.open(p(path), GET)
    parts = []
    offset = 0
    try:
        while data := await file.read(offset, 32768):
            parts.append(data)
            offset += len(data)
    finally:
        await file.close()
    return b"".join(parts)


async def names(session: Session, path: str = "/") -> set[str]:
    found: list[str] = []
    async for batch in session.list(p(path)):
        found += [entry.name for entry in batch]
    assert len(found) == len(set(found)), "a name was listed twice"
    return set(found)
