# SPDX-License-Identifier: Apache-2.0
"""Open files: reading and writing under quota and bandwidth, and what happens at the end.

The ``*_nowait`` methods are the hot path: everything they need was worked out when the file was opened, and
what costs more than a few comparisons is left to the asynchronous twins by answering None or False.

Long, because reading, writing and ending share fields that the hot path reads as slots: a second object would
cost each packet a call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Final, Literal

from typing_extensions import Buffer

from tidegate.abc import Backend, CopiesRanges, FileHandle, Key, Outcome
from tidegate.errors import (
    InvalidArgument,
    InvalidHandle,
    PeerGone,
    QuotaExceeded,
    TidegateError,
    TooLarge,
    Unsupported,
)
from tidegate.events.kinds import TransferAction, Transferred
from tidegate.model import Action, Attrs, Entry, Intent, VPath
from tidegate.policy.quota import require
from tidegate.policy.throttle import PIECE_BYTES, TokenBucket
from tidegate.vfs.acts import carry
from tidegate.vfs.api import Exchange
from tidegate.vfs.context import Context, rejected, text_of
from tidegate.vfs.files.attached import HELD, refuse_write
from tidegate.vfs.files.attributes import supported
from tidegate.vfs.files.inspection import (
    Early,
    accepted,
    inspect_upload,
    publish_and_ask,
    sees_named,
    shows,
)
from tidegate.vfs.files.reach import check_place
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import ResolvedPath

SLACK_SECONDS: Final = 0.005
"""Bandwidth debt below which nobody waits: timers are no finer, and a high limit costs nothing."""

SMALL_FILE_BYTES: Final = 64 * 1024
"""Up to this size a file is small; see `vfs.api.File`."""

ONE_WAY: Final = "this storage cannot read and write one file at a time"
Ending = Literal["ok", "failed", "quota"]


class File:
    """`vfs.api.File`; also a live transfer of the registry.

    Attributes:
        operation_type: ``upload`` or ``download``.
        virtual_path: what the client calls it.
        started: seconds since the epoch.
        size: bytes moved.
        small: see `vfs.api.File`.
        withheld: the place whose `download` was wanted and is not granted; None if all was.
        exchange: see `vfs.api.File`; announced and in_order likewise.
        one_way: reading was wanted, and the storage cannot read what is being written.
    """

    __slots__ = (
        "_append", "_bandwidth_lock", "_charges", "_clock", "_close", "_closed", "_context",
        "_created", "_early", "_exact", "_failure", "_first_byte", "_generation", "_handle",
        "_held", "_locks", "_paid_at", "_publisher", "_readinto", "_readslow", "_received",
        "_resolved", "_throttle_down", "_throttle_up", "_upload", "_write", "_writeslow",
        "announced", "exchange", "in_order", "one_way", "operation_type", "path", "readable", "size", "small",
        "started", "virtual_path", "withheld", "writable",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        resolved: ResolvedPath,
        handle: FileHandle,
        path: VPath,
        *,
        readable: bool,
        upload: Upload | None,
        append: bool,
        joined: bool = False,
        early: Early | None = None,
    ) -> None:
        self.path = path
        self.readable = readable
        self.withheld: VPath | None = None
        self.exchange: Exchange | None = None
        self.one_way = False
        self.writable = upload is not None
        self.operation_type = "upload" if upload is not None else "download"
        self.virtual_path: str = path
        self.started = time.time()
        self.size = 0
        self.announced = 0
        self.in_order = resolved.mount.in_order
        self._context = context
        self._resolved = resolved
        self._handle = handle
        self._upload = upload
        self._early = early
        self._created = upload is not None and handle.existed_size is None and not joined
        # Where several handles share an upload, one publishes it with the attributes that it knows.
        self._publisher = upload.handle if joined and upload is not None else None
        self._append = append
        self._clock = monotonic()
        self._first_byte = 0.0
        self._closed = False
        self._failure: TidegateError | None = None
        self._exact = True
        self._received = 0
        self._paid_at = 0.0
        self._bandwidth_lock: asyncio.Lock | None = None
        self._charges = resolved.mount.charges
        self._throttle_up: TokenBucket | None = context.up
        self._throttle_down: TokenBucket | None = context.down
        self._readinto = handle.readinto_nowait
        self._write = handle.write_nowait
        self._close: Callable[[Outcome], bool] | None = getattr(handle, "close_nowait", None)
        known = handle.existed_size or 0
        self.small = known if upload is None and known <= SMALL_FILE_BYTES else 0
        self._readslow = not readable
        self._writeslow = upload is None or append or upload.names > 1
        self._held = HELD.get()
        self._locks = locks = context.locks
        # A lock that has come to be since the file was opened is noticed by this.
        self._generation = -1 if locks.active else locks.generation
        context.files[self] = None
        context.transfers.add(self)

    @property
    def version(self) -> str:
        """See `vfs.api.File`."""
        version = getattr(self._handle, "version", "")
        return version if isinstance(version, str) else ""

    @property
    def total_size(self) -> int:
        """Bytes of the whole transfer, as far as that is known: of a download, and of an announced upload."""
        return self.announced or (0 if self.writable else self._handle.existed_size or 0)

    # -- reading -------------------------------------------------------------------------------------

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Fill `buffers` from memory; None if anything has to be waited for or refused.

        Raises:
            InvalidHandle: the file is closed.
            TidegateError: reading failed, and so has the transfer.
        """
        if self._readslow:
            if self._closed:
                raise InvalidHandle
            return None
        throttle, charges = self._throttle_down, self._charges
        now = monotonic()
        if throttle is not None and throttle.debt(now) > SLACK_SECONDS:
            return None
        limits = charges.down_limits
        if limits:
            wanted = sum(map(len, buffers))
            for quota_limit in limits:
                if quota_limit.count.used + wanted > quota_limit.ceiling:
                    return None
        try:
            done = self._readinto(offset, buffers)
        except TidegateError as error:
            self._failure = self._failure or error
            raise
        if done:
            self.size += done
            if self.size == done:
                self._first_byte = monotonic() - self._clock
            for count in charges.down:
                count.used += done
            for quota_limit in limits:
                if quota_limit.count.used >= quota_limit.warn_at:
                    quota_limit.moved()
            if throttle is not None:
                self._paid_at = now + throttle.take(done, now)
        return done

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; ``b""`` at or past the end.

        Raises:
            InvalidHandle: the file is closed.
            QuotaExceeded: the transfer allowance is used up.
        """
        if self._closed:
            raise InvalidHandle
        if not self.readable:
            raise self._unreadable()
        if self._throttle_down is None:
            return await self._read(offset, size)
        async with self._turn():
            data = await self._read(offset, size)
            await self._pay(self._throttle_down, len(data))
            return data

    async def _read(self, offset: int, size: int) -> bytes:
        room = min(
            (quota_limit.ceiling - quota_limit.count.used for quota_limit in self._charges.down_limits),
            default=size,
        )
        if room < size:
            # At the very limit the end of the file is still worth telling.
            if room <= 0:
                if not await self._handle.read(offset, 1):
                    return b""
                try:
                    require(self._charges.down_limits, 1, reading=True)
                except QuotaExceeded as error:
                    self._fail(error, Intent.DOWNLOAD)
                    raise
            size = max(1, room)
        for count in self._charges.down:
            count.add(size)
        done = 0
        try:
            data = await self._handle.read(offset, size)
            done = len(data)
        except TidegateError as error:
            self._failure = self._failure or error
            raise
        finally:
            if done != size:
                for count in self._charges.down:
                    count.add(done - size)
        self.size += done
        if done and self.size == done:
            self._first_byte = monotonic() - self._clock
        return data

    # -- writing -------------------------------------------------------------------------------------

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Write all of `data` at once; False if anything has to be waited for or refused.

        Raises:
            InvalidHandle: the file is closed.
            TidegateError: writing failed, perhaps half way; so has the upload.
        """
        if self._writeslow:
            if self._closed:
                raise InvalidHandle
            return False
        upload = self._upload
        assert upload is not None
        throttle, charges = self._throttle_up, self._charges
        now = monotonic()
        if throttle is not None and throttle.debt(now) > SLACK_SECONDS:
            return False
        size = len(data)  # type: ignore[arg-type]  # bytes or a byte view
        if not size:  # changes nothing, wherever it is (POSIX)
            return True
        reservation = upload.reservation
        if reservation.resizing or reservation.loose or self._locks.generation != self._generation:
            return False
        end = offset + size
        grow = end - reservation.charged
        limits, up_limits = charges.grow_limits, charges.up_limits
        if grow > 0:
            if end > charges.max_file:
                return False
            for quota_limit in limits:
                if quota_limit.count.used + grow > quota_limit.ceiling:
                    return False
        for quota_limit in up_limits:
            if quota_limit.count.used + size > quota_limit.ceiling:
                return False
        try:
            if not self._write(offset, data):
                return False
        except TidegateError as error:
            self._broken(error)
            raise
        if end > upload.high:  # noqa: PLR1730  # max() costs twice as much here
            upload.high = end
        if grow > 0:
            reservation.charged = end
            for count in charges.grow:
                count.used += grow
            for quota_limit in limits:
                if quota_limit.count.used >= quota_limit.warn_at:
                    quota_limit.moved()
        for count in charges.up:
            count.used += size
        for quota_limit in up_limits:
            if quota_limit.count.used >= quota_limit.warn_at:
                quota_limit.moved()
        self.size += size
        self._received += size
        if throttle is not None:
            self._paid_at = now + throttle.take(size, now)
        return True

    async def write(self, offset: int, data: Buffer) -> None:
        """Write all of `data`.

        Raises:
            InvalidHandle: the file is closed.
            QuotaExceeded, TooLarge: a limit says no; the upload is lost.
        """
        self._may_write()
        view = memoryview(data)
        size = view.nbytes
        if self._throttle_up is None:
            await self.store(offset, view)
        else:
            async with self._turn():
                await self._pay(self._throttle_up, size)
                self._may_write()
                await self.store(offset, view)
        self.size += size
        self._received += size

    async def store(self, offset: int, view: memoryview, *, received: bool = True) -> None:
        """Charge and write, without bandwidth; `received` is False for bytes that never left the server.

        Raises:
            QuotaExceeded, TooLarge: a limit says no; the upload is lost.
        """
        await self._store(offset, view.nbytes, lambda: self._handle.write(offset, view), received)

    async def store_copy(self, source: FileHandle, start: int, size: int, offset: int) -> bool:
        """As `store` of bytes that the storage copies by itself; False if it cannot, and nothing was done."""
        handle = self._handle
        if not isinstance(handle, CopiesRanges) or not handle.copies_range(source, start, size, offset):
            return False
        await self._store(offset, size, lambda: handle.copy_range(source, start, size, offset), False)
        return True

    async def _store(self, offset: int, size: int, do: Callable[[], Awaitable[None]], received: bool) -> None:
        self._may_write()
        if self._locks.generation != self._generation:
            await self._require_unlocked()
        upload = self._upload
        assert upload is not None
        if not size:  # changes nothing, wherever it is (POSIX)
            return
        reservation = upload.reservation
        end = offset + size + reservation.loose
        loose = self._append and upload.shared
        if loose:
            self._inexact()  # where the end is by then depends on the others
            end = reservation.charged + size
        elif self._append:
            end = (reservation.charged if upload.inplace else upload.high) + size
        grow = end - reservation.charged
        try:
            if grow > 0:
                self._charges.require_size(end)
                require(self._charges.grow_limits, grow * upload.names)
                upload.unsure = upload.unsure or upload.names > 1
            if received:
                require(self._charges.up_limits, size)
        except (QuotaExceeded, TooLarge) as error:
            self._fail(error, Intent.UPLOAD)
            raise
        except TidegateError as error:
            self._broken(error)
            raise
        if grow > 0:
            reservation.charged = end
            reservation.loose += size if loose else 0
            for count in self._charges.grow:
                count.add(grow * upload.names)
        if received:
            for count in self._charges.up:
                count.add(size)
        upload.high = max(upload.high, end)  # if that is not exact, the end asks
        if reservation.resizing:  # before or after: the size is one or the other
            self._inexact()
        reservation.writing += 1
        try:
            await do()
        except TidegateError as error:
            self._broken(error)
            raise
        except BaseException:
            self._inexact()
            raise
        finally:
            reservation.writing -= 1

    async def _require_unlocked(self) -> None:
        """Fail the upload if a lock forbids it; see `tidegate.vfs.files.attached`.

        Raises:
            Locked: it does.
        """
        generation = self._locks.generation
        error = await self._lock_refusal(Intent.OVERWRITE)
        if error is not None:
            self._broken(error)
            raise error
        self._generation = generation

    async def _lock_refusal(self, intent: Intent) -> TidegateError | None:
        resolved = self._resolved
        if self._upload is not None:
            resolved = resolved._replace(key=self._upload.state.at[1])  # it may have been renamed
        return await refuse_write(self._context, intent, self.path, resolved, self._held)

    def _inexact(self) -> None:
        """Note that the charge may differ from the size: the end asks, and no scan is exact before."""
        self._exact = False
        if self._upload is not None:
            self._upload.inexact()

    def _broken(self, error: TidegateError) -> None:
        """A write failed: what is there is not what was sent, and is no whole file."""
        self._inexact()
        self._failure = self._failure or error
        self._writeslow = True

    def _may_write(self) -> None:
        if self._closed:
            raise InvalidHandle
        if self._upload is None:
            raise InvalidArgument("file is not open for writing")
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: QuotaExceeded | TooLarge, intent: Intent) -> None:
        """A limit ends this transfer."""
        self._failure = error
        self._writeslow = True
        if intent is Intent.DOWNLOAD:
            self._readslow = True
        self._context.over(intent, self.path, error)

    # -- bandwidth -----------------------------------------------------------------------------------

    def _turn(self) -> asyncio.Lock:
        """One piece of one file at a time asks for bandwidth: that is what shares it evenly between files."""
        if self._bandwidth_lock is None:
            self._bandwidth_lock = asyncio.Lock()
        return self._bandwidth_lock

    async def _pay(self, throttle: TokenBucket, size: int) -> None:
        while size > 0:
            piece = min(size, PIECE_BYTES)
            now = monotonic()
            wait = throttle.take(piece, now)
            self._paid_at = now + wait
            if wait > SLACK_SECONDS:
                await asyncio.sleep(wait)
            size -= piece

    # -- the rest ------------------------------------------------------------------------------------

    async def stat(self) -> Entry:
        """Attributes now."""
        if self._closed:
            raise InvalidHandle
        return (await self._handle.stat())._replace(name=self.path.name)

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes; what the storage lacks is left out silently, what policy forbids is refused.

        Raises:
            Denied: a permission is missing.
            QuotaExceeded, TooLarge: the new size does not fit.
        """
        if self._closed:
            raise InvalidHandle
        context, path = self._context, self.path
        if attrs.size is not None and self._upload is None:
            raise InvalidArgument("file is not open for writing")
        created = self._created  # then mode and times belong to the upload, as those of OPEN do
        for intent, asked in (
            (Intent.CHMOD, attrs.mode is not None and not created),
            (Intent.CHOWN, attrs.uid is not None or attrs.gid is not None),
            (Intent.CHTIMES, (attrs.mtime_ns is not None or attrs.atime_ns is not None) and not created),
        ):
            if asked:
                context.require(intent, path)
                check_place(context, intent, path, self._resolved)
        if self._locks.active and (refusal := await self._lock_refusal(Intent.CHTIMES)) is not None:
            raise refusal
        wanted = supported(
            attrs, self._resolved.backend.capabilities, context.options.setstat_mode, lenient=True
        )
        started = monotonic()
        if wanted.size is not None and self._upload is not None:
            self._may_write()
            try:
                self._charges.require_size(wanted.size)
            except TooLarge as error:
                self._fail(error, Intent.UPLOAD)
                raise
            with context.limits(Intent.UPLOAD, path):
                self._upload.resize(wanted.size)
            await self._upload.set_size(self._handle, wanted.size)
            await self._record(Action.TRUNCATE, started, Attrs(size=wanted.size))
        rest = replace(wanted, size=None)
        if rest != Attrs():
            await (self._handle if self._publisher is None else self._publisher).set_attrs(rest)
            if rest.mode is not None:
                await self._record(Action.CHMOD, started, Attrs(mode=rest.mode))
            if rest.uid is not None or rest.gid is not None:
                await self._record(Action.CHOWN, started, Attrs(uid=rest.uid, gid=rest.gid))
            if rest.mtime_ns is not None or rest.atime_ns is not None:
                times = Attrs(atime_ns=rest.atime_ns, mtime_ns=rest.mtime_ns)
                await self._record(Action.CHTIMES, started, times)

    async def _record(self, action: Action, started: float, attrs: Attrs) -> None:
        host = self._resolved.location
        await self._context.operated(action, self.path, host, started, attrs=attrs)

    async def sync(self) -> None:
        """Fsync."""
        if self._closed:
            raise InvalidHandle
        await self._handle.sync()

    # -- the end -------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Publish an upload, settle quota, log the transfer.

        Once begun it runs to its end, even if the caller is cancelled.

        Raises:
            QuotaExceeded, TooLarge: the upload was refused while it ran; nothing of it is left.
            TidegateError: the file could not be published.
        """
        if self._closed:
            raise InvalidHandle
        self._shut()
        wait = self._paid_at - monotonic()
        if wait > 0:
            try:
                await asyncio.sleep(wait)  # what was let through in advance is paid for before it counts
            except asyncio.CancelledError:
                await carry(self._context, self._end(Outcome.KEEP, PeerGone()))
                raise
        failure = self._failure
        if self._upload is None:
            await self._end(Outcome.COMMIT, failure)
            return
        if failure is None:
            outcome = Outcome.COMMIT
        else:
            outcome = Outcome.DROP if rejected(failure) else Outcome.KEEP
        await carry(self._context, self._end(outcome, failure))

    def close_nowait(
        self,
        later: list[Callable[[], object]] | None = None,
        stored: list[asyncio.Future[None]] | None = None,
    ) -> bool:
        """`close`, if all went well and nothing has to be waited for; False means nothing happened.

        Args:
            later: see `vfs.api.File.close_nowait`; stored likewise.

        Raises:
            InvalidHandle: the file is closed.
            TidegateError: as `close`.
        """
        if self._closed:
            raise InvalidHandle
        close, upload = self._close, self._upload
        context = self._context
        if (
            context.inspects_uploads or (stored is None and self._end_is_kept())
            if upload is not None
            else context.kept is not None and context.kept.downloads
        ):
            return False
        if close is None or self._failure is not None or not self._exact or self._paid_at > monotonic():
            return False
        failure: TidegateError | None = None
        if upload is not None:
            if not upload.finish_nowait(close):
                return False
        else:
            try:
                if not close(Outcome.COMMIT):
                    return False
            except TidegateError as error:
                failure = error
        self._closed = self._readslow = self._writeslow = True
        if upload is not None and stored is not None and context.kept is not None and context.kept.uploads:
            waits = context.kept.record_nowait(self._report(None))
            if waits is not None:
                stored.append(waits)
            if later is None:
                self._ended()
            else:
                later.append(self._ended)
            return True
        if failure is None and later is not None:
            later += (self._ended, self._tell)
            return True
        self._ended()
        context.emit(self._report(failure))
        if failure is not None:
            raise failure
        return True

    def _ended(self) -> None:
        """Settle what `close_nowait` has ended."""
        upload, context = self._upload, self._context
        if upload is not None:
            upload.finished()
        context.files.pop(self, None)
        context.transfers.discard(self)

    def _tell(self) -> None:
        """Record that all went well."""
        self._context.emit(self._report(None))

    async def abort(self) -> None:
        """End the transfer as failed. Never raises.

        Once begun it runs to its end, even if the caller is cancelled.
        """
        if self._closed:
            return
        self._shut()
        failure = self._failure or PeerGone()
        outcome = Outcome.DROP if rejected(failure) else Outcome.KEEP
        try:
            await carry(self._context, self._end(outcome, failure))
        except TidegateError:
            return

    def _shut(self) -> None:
        self._closed = self._readslow = self._writeslow = True

    async def _end(self, outcome: Outcome, failure: TidegateError | None) -> None:
        """Close the handle, settle, record.

        Raises:
            TidegateError: `failure` of an upload, or what went wrong now.
        """
        upload, context = self._upload, self._context
        ending: TidegateError | None = None
        named = False
        if upload is not None and context.inspects_uploads and shows(upload, outcome):
            named = sees_named(context, self._resolved, upload, self.path)
            refusal = await inspect_upload(
                context,
                self._resolved,
                upload,
                self._handle if upload.inplace else upload.handle,
                self.path,
                complete=failure is None,
                early=self._early,
                named=False if named else None,
            )
            if refusal is not None:
                outcome, failure, upload.condemned = Outcome.DROP, refusal, upload.inplace
        if self._early is not None:
            await self._early.end()
        if (
            upload is not None
            and outcome is Outcome.COMMIT
            and not upload.inplace
            and self._locks.generation != self._generation
        ):
            refusal = await self._lock_refusal(Intent.OVERWRITE)
            if refusal is not None:
                outcome, failure = Outcome.KEEP, refusal
        try:
            if upload is None:
                await self._handle.close()
            elif named and outcome is Outcome.COMMIT:
                failure = await publish_and_ask(
                    context,
                    self._resolved,
                    upload,
                    lambda pending: upload.finish(self._handle, outcome, exact=self._exact, pending=pending),
                    self.path,
                )
            else:
                await upload.finish(self._handle, outcome, exact=self._exact)
        except TidegateError as error:
            ending = error
        finally:
            context.files.pop(self, None)
            context.transfers.discard(self)
        await context.tell(self._report(failure or ending))
        if upload is not None and failure is not None and not accepted(failure):
            raise failure
        if ending is not None:
            raise ending

    def _report(self, failure: TidegateError | None) -> Transferred:
        context = self._context
        action: TransferAction = Action.UPLOAD if self._upload is not None else Action.DOWNLOAD
        status: Ending = "ok" if failure is None else "quota" if rejected(failure) else "failed"
        first = False
        if failure is None:
            first = context.tracker.touch(context.usage, "download" if self._upload is None else "upload")
        else:
            failure.told = True  # by what follows
        if self._charges.down and self.size != self._received:
            context.changed()
        resolved, exchange = self._resolved, self.exchange
        return Transferred(
            context.origin,
            time.time(),
            action,
            status,
            self.path,
            resolved.mount.location(resolved.key),
            self._received if self._upload is not None else self.size,
            monotonic() - self._clock,
            "" if failure is None else text_of(failure),
            first,
            "" if exchange is None else exchange.command,
            0 if exchange is None else exchange.code(failure),
            resolved.mount.spec.config.kind,
            self._first_byte,
            self._upload.high if self._upload is not None and failure is None else -1,
        )

    def _end_is_kept(self) -> bool:
        """True if the end of this upload, good or bad, may be kept: then its client waits until it is."""
        context = self._context
        if context.kept is None or not context.kept.uploads:
            return False
        ends: tuple[Ending, ...] = ("ok", "failed", "quota")
        return any(
            context.kept.wants(
                Transferred(
                    context.origin, 0.0, Action.UPLOAD, end, self.path, size=self._received, first=end == "ok"
                )
            )
            for end in ends
        )

    def _unreadable(self) -> TidegateError:
        """The reason why nothing is read: that was not asked for, or `download` is not granted where it lies.

        Raises:
            Denied: the latter.
        """
        if self.withheld is not None:
            self._context.require(Intent.DOWNLOAD, self.withheld)
        if self.one_way:
            return Unsupported(ONE_WAY)
        return InvalidArgument("file is not open for reading")

    # -- what the session's copy and checksum use ----------------------------------------------------

    @property
    def handle(self) -> FileHandle:
        """The backend's handle, for reading without bandwidth and accounting.

        Raises:
            InvalidHandle: the file is closed.
            InvalidArgument: it is not open for reading.
        """
        if self._closed:
            raise InvalidHandle
        if not self.readable:
            raise self._unreadable()
        return self._handle

    @property
    def upload(self) -> Upload | None:
        """The accounting of what is written; None of a download."""
        return self._upload

    def named(self, path: VPath, resolved: ResolvedPath) -> None:
        """It is published at this path; see `tidegate.vfs.files.unnamed`.

        Raises:
            InvalidHandle: it is closed, and inspectors may have been asked about the path that it had.
        """
        if self._closed:
            raise InvalidHandle
        self.path = self.virtual_path = path
        self._resolved = resolved

    @property
    def at(self) -> tuple[Backend, Key]:
        """The storage and key of the file."""
        return self._resolved.backend, self._resolved.key
