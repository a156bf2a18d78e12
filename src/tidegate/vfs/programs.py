# SPDX-License-Identifier: Apache-2.0
"""A system program works on directories of an account: what may be, what is charged, what is seen of it.

A program asks nobody, so all of its rules are settled before it starts (`tidegate.policy.programs`), and its
directories are handed over as descriptors. Bytes of its channel are charged as traffic and pay bandwidth as
those of a file. What it stores is charged when it has ended, by the difference of two counts of what it may
change; while it runs the same count tells if the quota is exceeded, and rests `REST` times as long as it
took.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from tidegate.abc import HostsPrograms, Key
from tidegate.errors import Denied, ProviderUnavailable, TidegateError, Unsupported
from tidegate.model import Permission, ProgramDirectory, ProgramUse, VPath
from tidegate.policy.programs import ELSEWHERE, ProgramRules
from tidegate.policy.quota import ChargeSet, require
from tidegate.vfs.context import Context
from tidegate.vfs.contracts import fulfils, identity_of
from tidegate.vfs.files.attached import require_unlocked_trees
from tidegate.vfs.files.progress import Progress
from tidegate.vfs.mounts import Mount
from tidegate.vfs.usage.scan import measure_tree

CHECK_SECONDS: Final = 2.0
"""Least time between two counts of what a program stores."""

REST: Final = 10
"""The factor of the rest after a count: no other is made for that many times as long as it took."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenDirectory:
    """A directory that a program is handed.

    Attributes:
        key: its path relative to `ProgramRun.base`.
        fd: descriptor (O_PATH), valid until `ProgramRun.close`.
        writes: True if the program may change it.
    """

    key: Key
    fd: int
    writes: bool


class ProgramRun:
    """One program, from before its start to after its end.

    Attributes:
        base: descriptor of the directory that keys are relative to, valid until `close`.
        directories: everything that the program may reach.
        umask: for what it creates.
        owner: uid and gid to run as, where the server is root and sets owners; -1 for the server's own.
        max_file: most bytes that one file may have, by quota and `max_upload_file_size`.
        location: of the first directory, for logs.
        point: the virtual path of `base`.
        granted: permissions in the first directory.
    """

    def __init__(
        self, context: Context, mount: Mount, use: ProgramUse, subject: VPath, granted: frozenset[Permission]
    ) -> None:
        self._context = context
        self._mount = mount
        self._use = use
        self._subject = subject
        self._stack = AsyncExitStack()
        self._charges: ChargeSet = mount.charges
        self._counted: tuple[int, int] | None = None
        self._several = False
        self._turns = 0
        self._next = 0.0
        self._unseen = 0
        self._closed = False
        self._progress = Progress("upload" if use.writes else "download", subject, time.time())
        self.base = -1
        self.directories: tuple[OpenDirectory, ...] = ()
        self.umask = 0o022
        self.owner = (-1, -1)
        self.max_file = 0
        self.location = mount.location(mount.key(subject))
        self.point = mount.path
        self.granted = granted

    async def open(self, backend: HostsPrograms, wanted: Sequence[ProgramDirectory]) -> None:
        """Open the directories; `close` also after a failure."""
        stack = self._stack
        self.base = await backend.descriptor("")
        stack.callback(os.close, self.base)
        opened = []
        storage = self._mount.backend
        assert storage is not None
        for one in wanted:
            key = self._mount.key(one.path)
            fd = await backend.descriptor(key)
            stack.callback(os.close, fd)
            opened.append(OpenDirectory(key, fd, one.writes))
            if one.writes:  # nobody locks anything in there until it has ended
                self._context.programs[fd, self] = identity_of(storage, key)
                stack.callback(self._context.programs.pop, (fd, self))
        self.directories = tuple(opened)
        self.umask = backend.program_umask
        uid, gid = self._context.owner
        self.owner = (-1 if uid is None else uid, -1 if gid is None else gid)
        room = min(
            (one.ceiling - one.count.used for one in self._charges.grow_limits),
            default=self._charges.max_file,
        )
        self.max_file = max(0, min(self._charges.max_file, room))

    async def begin(self) -> None:
        """Before the start: count what is there, and show the program among the session's transfers.

        Raises:
            QuotaExceeded: nothing may be uploaded (downloaded) any more.
        """
        context, charges = self._context, self._charges
        with context.limits_of(self._use, self._subject):
            if self._use.writes:
                charges.may_upload(new=True, replaced=0)
            else:
                charges.may_download()
        if any(one.writes for one in self.directories) and (charges.grow or charges.files):
            usage = context.usage
            usage.acts += 1
            self._stack.callback(self._ended)
            await context.begin(self._mount)
            began = time.monotonic()
            self._counted = await self._count()
            self._next = time.monotonic() + max(CHECK_SECONDS, REST * (time.monotonic() - began))
            self._turns = usage.turns
        context.transfers.add(self._progress)
        self._stack.callback(context.transfers.discard, self._progress)

    def _ended(self) -> None:
        self._context.usage.acts -= 1
        self._context.changed()

    # -- traffic -------------------------------------------------------------------------------------

    def received(self, size: int) -> float:
        """The program is given bytes of the client; returns seconds to wait before it is given more.

        Raises:
            QuotaExceeded: a limit on traffic is reached.
        """
        charges, throttle = self._charges, self._context.up
        require(charges.up_limits, size)
        for count in charges.up:
            count.add(size)
        self._unseen += size
        self._progress.size += size
        return 0.0 if throttle is None else throttle.take(size, time.monotonic())

    def sent(self, size: int) -> float:
        """The client is sent bytes of the program; returns seconds to wait before it is sent more.

        Raises:
            QuotaExceeded: a limit on traffic is reached.
        """
        charges, throttle = self._charges, self._context.down
        require(charges.down_limits, size, reading=True)
        for count in charges.down:
            count.add(size)
        self._progress.size += size
        return 0.0 if throttle is None else throttle.take(size, time.monotonic())

    # -- space ---------------------------------------------------------------------------------------

    @property
    def watched(self) -> bool:
        """True if `check` may find that a quota is exceeded."""
        return self._counted is not None and bool(self._charges.grow_limits or self._charges.file_limits)

    @property
    def due(self) -> bool:
        """True if it is time for `check`: enough time went by, or more came in than there is room for."""
        now = time.monotonic()
        return now >= self._next or (self._unseen > self.max_file and now >= self._next - CHECK_SECONDS)

    async def check(self) -> None:
        """Count what the program has stored.

        Raises:
            QuotaExceeded: more than the quota allows.
        """
        began = time.monotonic()
        self._unseen = 0
        size, files = self._growth(await self._count())
        took = time.monotonic() - began
        self._next = began + took + max(CHECK_SECONDS, REST * took)
        with self._context.limits_of(self._use, self._subject):
            if size > 0:
                require(self._charges.grow_limits, size)
            if files > 0:
                require(self._charges.file_limits, files)

    async def _count(self) -> tuple[int, int]:
        backend = self._mount.backend
        assert backend is not None
        size = files = 0
        for one in outermost(self.directories):
            more, names, several = await measure_tree(backend, one.key)
            size, files = size + more, files + names
            self._several = self._several or several
        return size, files

    def _growth(self, now: tuple[int, int]) -> tuple[int, int]:
        before = self._counted or now
        return now[0] - before[0], now[1] - before[1]

    # -- the end -------------------------------------------------------------------------------------

    async def close(self) -> None:
        """After the end: charge what was stored, and let go. Never raises; carried to its end once begun."""
        if not self._closed:
            self._closed = True
            await self._context.acts.run(self._close())

    async def _close(self) -> None:
        context = self._context
        async with self._stack:
            if self._counted is None:
                context.changed()  # traffic may have been charged
                return
            try:
                growth = self._growth(await self._count())
            except TidegateError as error:
                log.warning(
                    "usage of %s: what a program stored cannot be counted: %s", context.usage.name, error
                )
                context.tracker.doubt(context.usage)
                return
            self._charges.credit(*growth)
            # Others charged meanwhile what may lie in the same directories, or another name of a file grew.
            if context.usage.turns != self._turns or self._several:
                context.tracker.doubt(context.usage)


def outermost(directories: Sequence[OpenDirectory]) -> list[OpenDirectory]:
    """Of those that may be changed the ones that lie in no other."""
    written = [one for one in directories if one.writes]
    return [
        one
        for one in written
        if not any(
            other is not one and (not other.key or one.key.startswith(f"{other.key}/")) for other in written
        )
    ]


async def open_program(context: Context, use: ProgramUse, wanted: Sequence[ProgramDirectory]) -> ProgramRun:
    """Judge a program, and open what it may reach.

    Args:
        context: the session's.
        use: what is wanted; its rules are those of the account.
        wanted: every directory that it is to reach; the first is what it is about. Paths are without links.

    Raises:
        Denied: a permission is missing, or a rule exists that the program would not obey.
        Unsupported: the storage is no disk of this host, or there are several.
        NotFound: a directory is not there.
    """
    subject = wanted[0].path
    rules = ProgramRules(context.principal.account, context.options.names)
    for one in wanted:
        decision = rules.decide(one, use)
        if decision.rule == "storage":
            raise Unsupported(decision.text)
        if not decision.allowed:
            raise context.refused_program(use, one.path, Denied(decision.text, rule=decision.rule))
    _check_others(context, use, subject, writes=any(one.writes for one in wanted))
    mount, backend, _ = await context.table.at(subject)
    if not fulfils(backend, HostsPrograms):
        raise Unsupported(ELSEWHERE)
    for one in wanted[1:]:
        if (await context.table.at(one.path)).mount is not mount:
            text = f"{one.path} and {subject} lie in different folders; a program works in one"
            raise context.refused_program(use, one.path, Unsupported(text))
    run = ProgramRun(context, mount, use, subject, rules.granted(subject))
    try:
        await run.open(backend, wanted)
        await require_unlocked_trees(context, use, [one.path for one in wanted if one.writes])
    except BaseException:
        await run.close()
        raise
    return run


def _check_others(context: Context, use: ProgramUse, subject: VPath, *, writes: bool) -> None:
    """Return if nobody else has to be asked or told before content is moved.

    Raises:
        Denied: somebody has.
        ProviderUnavailable: what is done now could not be told.
    """
    if context.kept is not None and context.kept.full and writes:
        raise ProviderUnavailable
    inspections = context.inspections
    if inspections is None:
        return
    asked = writes and (inspections.upload or inspections.delete)
    if asked or inspections.download:
        text = "not allowed for a program: files are inspected here, and those of a program would not be"
        raise context.refused_program(use, subject, Denied(text, rule="inspectors"))
