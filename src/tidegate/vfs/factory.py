# SPDX-License-Identifier: Apache-2.0
"""Opens sessions: `VfsSessions` is what the composition root hands to doors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from tidegate.abc import Backend, HeldLock, LockTable
from tidegate.cluster.memory import MemoryLocks
from tidegate.cluster.registry import Holds
from tidegate.errors import NotFound, TidegateError
from tidegate.events.kinds import Event
from tidegate.inspection.inspections import Inspections
from tidegate.model import ROOT, Account, Peer, Principal, StorageSpec, VPath
from tidegate.policy.folders import mount_point, storage_at, storage_of, storages_of
from tidegate.policy.gate import Gate
from tidegate.policy.throttle import TokenBucket, bandwidth_bucket, rates_for
from tidegate.vfs.acts import Acts
from tidegate.vfs.context import Context, Kept, VfsOptions
from tidegate.vfs.contracts import identity_of
from tidegate.vfs.files.attached import blocking_lock
from tidegate.vfs.mounts import BackendPool, MakeReady, Mount, MountTable, OpenBackend
from tidegate.vfs.property_index import PropertyIndex
from tidegate.vfs.session import Session
from tidegate.vfs.usage.lease import Lease
from tidegate.vfs.usage.reservations import PathTable
from tidegate.vfs.usage.scan import Scans
from tidegate.vfs.usage.tracker import AccountUsage, FolderUsage, UsageStore, UsageTracker, session_tally

if TYPE_CHECKING:
    from tidegate.model.properties import KeepsProperties


MakeSession = Callable[[Context, VPath, list[FolderUsage]], Session]
"""Makes the session of a context, with its start directory and the usage of its folders."""


class VfsSessions:
    """`vfs.api.Sessions`, and everything that sessions of one process share.

    Life: constructed, `reconcile` (before doors open), `open`..., `close` (after doors closed).

    Bandwidth: the rate that applies to a client (its network's entry in `bandwidth_limits`, else the
    account's) bounds all sessions of the account that come under the same entry together, and so each of
    them. Clients of different entries do not share.

    Args:
        build: makes an unopened backend for a storage root; the root is created if missing.
        ready: loads what `build` needs for a root, if that is not there yet.
        store: the data provider, None to remember nothing.
        emit: takes events; never blocks.
        inspections: asked before transfers and removals count.
        kept: takes events of what is done, if some must not be lost.
        options: see `VfsOptions`.
        track_quota: as in the `data_provider` section.
        lease: this server's marks, if several servers may use the store.
        locks: write locks; None for those of this object alone.
        properties: keeps dead properties; None for nobody.
        session: makes each session; `tidegate.vfs.timed` has one that is timed.

    Attributes:
        tracker: live usage.
        scans: quota scans.
        locks: write locks.
        properties: which storage has dead properties.
        holds: sessions by account and folder, and those that get none for now.
    """

    def __init__(
        self,
        build: OpenBackend,
        store: UsageStore | None,
        *,
        emit: Callable[[Event], None],
        kept: Kept | None = None,
        inspections: Inspections | None = None,
        options: VfsOptions | None = None,
        track_quota: int = 2,
        lease: Lease | None = None,
        locks: LockTable | None = None,
        properties: KeepsProperties | None = None,
        ready: MakeReady | None = None,
        session: MakeSession = Session,
    ) -> None:
        self._emit = emit
        self._session = session
        self._kept = kept
        self._inspections = inspections
        self._options = options or VfsOptions()
        self._paths = PathTable()
        self._acts = Acts()
        self._pool = BackendPool(build, ready)
        self._lease = lease
        self._programs: dict[object, str] = {}
        self.locks: LockTable = locks or MemoryLocks()
        self.properties = PropertyIndex(properties)
        self._closing = False
        self.tracker = UsageTracker(store, track_quota=track_quota, emit=emit, lease=lease)
        self.scans = Scans(self.tracker, self._pool)
        self.holds = Holds()

    def reconfigure(self, options: VfsOptions) -> None:
        """Take other options for new sessions; those that are open keep theirs."""
        self._options = options

    async def reconcile(self) -> list[str]:
        """Count again what a crash left uncertain; returns the accounts concerned.

        Raises:
            ProviderUnavailable: not now.
        """
        if self._lease is not None:
            await self._lease.start(partial(self.scans.reconcile, own=False))
        return await self.scans.reconcile()

    async def open(self, principal: Principal, peer: Peer) -> Session:
        """A session for a principal: home created if missing, mounts ready.

        Raises:
            LoginRefused: the account or a folder of it is held (`tidegate.cluster.registry.Holds`).
            WorldError: the home's storage cannot be used.
            ProviderUnavailable: usage cannot be read.
        """
        used = self.holds.enter(principal.account)
        try:
            session = await self._open(principal, peer)
        except BaseException:
            self.holds.leave(used)
            raise
        session.ended = partial(self.holds.leave, used)
        if self.properties.active:
            for spec in storages_of(principal.account).values():
                if self.properties.takes_sweep(spec.key):
                    self._acts.start(self._sweep(spec))
        return session

    async def _sweep(self, spec: StorageSpec) -> None:
        """Forget properties of files that are gone; once a day for each storage that somebody uses."""
        from tidegate.vfs.property_sweep import sweep_quietly

        index = self.properties
        with suppress(TidegateError):  # sessions that need the storage will say so
            async with self.storage(spec) as backend:
                if index.may_have(identity_of(backend, "")):
                    after = index.swept.get(spec.key, "")
                    index.swept[spec.key] = await sweep_quietly(
                        backend, index.store, after, go_on=lambda: not self._closing
                    )

    @asynccontextmanager
    async def storage(self, spec: StorageSpec) -> AsyncIterator[Backend]:
        """The open storage of a home or folder, shared with the sessions that use it.

        Raises:
            WorldError: it cannot be used.
        """
        backend = await self._pool.acquire(spec)
        try:
            yield backend
        finally:
            await self._pool.release(backend)

    async def describe(self, spec: StorageSpec) -> Backend:
        """The storage of a home or folder without opening it, to ask what needs no opening.

        Raises:
            StorageFailed: there is no such storage here.
        """
        if self._pool.ready is not None:
            await self._pool.ready(spec)
        return self._pool.build(spec)

    async def _open(self, principal: Principal, peer: Peer) -> Session:
        account = principal.account
        usage = await self.tracker.account(account, principal.asked)
        folders: list[FolderUsage] = []
        table: MountTable | None = None
        try:
            tally = session_tally(account)
            describe = self._pool.build
            charges = self.tracker.charges(account, usage, tally, ip=peer.remote_ip)
            home = Mount(ROOT, storage_of(account), charges, None, None, describe=describe)
            mounts = [home]
            for mounted in account.virtual_folders:
                folder = await self.tracker.folder(mounted)
                folders.append(folder)
                charges = self.tracker.charges(
                    account, usage, tally, ip=peer.remote_ip, mount=mounted, folder=folder
                )
                path = VPath.parse(mounted.virtual_path)
                spec = storage_of(account, mounted)
                if self._pool.ready is not None:
                    await self._pool.ready(
                        spec
                    )  # it may be asked where it is before anything of it is opened
                mounts.append(Mount(path, spec, charges, mounted, folder, describe=describe))
            table = MountTable(self._pool, mounts)
            await table.prepare()
        except BaseException:
            if table is not None:
                await table.close()
            self.tracker.release(usage, folders)
            raise
        up, down = _throttles(usage, principal, peer)
        context = Context(
            principal=principal,
            peer=peer,
            gate=Gate(principal, peer.protocol, names=self._options.names),
            table=table,
            tracker=self.tracker,
            usage=usage,
            paths=self._paths,
            options=self._options,
            emit=self._emit,
            kept=self._kept,
            inspections=self._inspections,
            acts=self._acts,
            locks=self.locks,
            programs=self._programs,
            properties=self.properties,
            up=up,
            down=down,
        )
        start = VPath.parse(account.filters.start_directory or "/")
        return self._session(context, start, folders)

    async def locks_against(
        self, account: Account, path: VPath, *, member: bool, tree: bool
    ) -> HeldLock | None:
        """The lock that keeps an account from changing a path, if it submits no token; None if none does.

        Args:
            account: whose session it would be.
            path: without links.
            member: the path appears or disappears; `tree`: what is below it changes too.

        Raises:
            WorldError: its storage cannot be opened, or the locks cannot be asked.
        """
        if not self.locks.active:
            return None
        backend = await self._pool.acquire(storage_at(account, path))
        try:
            place = identity_of(backend, path.relative_to(mount_point(account, path)))
        finally:
            await self._pool.release(backend)
        none: frozenset[str] = frozenset()
        return await blocking_lock(self.locks, account.username, place, none, member=member, tree=tree)

    async def set_usage(self, username: str, *, size: int, files: int, add: bool = False) -> None:
        """Set (or add to) an account's quota numbers by hand.

        Raises:
            NotFound: no such account.
            Conflict: a scan of it runs.
        """
        self.scans.check_idle("user", username)
        if add:
            await self.tracker.settle(username)
            account = await self.tracker.store.user(username) if self.tracker.store else None
            if account is None:
                raise NotFound(f"no user {username}")
            size, files = size + account.used_quota_size, files + account.used_quota_files
        await self.tracker.set_usage(username, size=size, files=files)

    def open_roots(self) -> list[tuple[StorageSpec, Backend]]:
        """Every storage root that a session uses now."""
        return self._pool.in_use()

    async def close(self) -> None:
        """Stop scans, wait for operations under way, write usage, close backends."""
        self._closing = True
        await self.scans.close()
        await self._acts.drain()
        await self.tracker.close()
        if self._lease is not None:
            await self._lease.stop()
        await self._pool.close()


def _throttles(
    usage: AccountUsage, principal: Principal, peer: Peer
) -> tuple[TokenBucket | None, TokenBucket | None]:
    rates = rates_for(principal.account, peer.remote_ip)
    pair: list[TokenBucket | None] = []
    for direction, rate in (("up", rates.upload), ("down", rates.download)):
        key = (direction, rates.where, rate)
        bucket = usage.shared.get(key)
        if bucket is None:
            bucket = bandwidth_bucket(rate)
            if bucket is not None:
                usage.shared[key] = bucket
        pair.append(bucket if isinstance(bucket, TokenBucket) else None)
    return pair[0], pair[1]
