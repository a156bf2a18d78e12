# SPDX-License-Identifier: Apache-2.0
"""The contract between doors and the vfs.

Doors are typed against these protocols, so that a dialogue can be tested with a session of any kind.
Every method raises errors of `tidegate.errors` only. Cancelling a call leaves each file either as it was
or with some prefix of the operation's bytes, never half-renamed.

Long, because it is the whole contract, and most of it is docstrings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from typing_extensions import Buffer

from tidegate.cluster.registry import LiveTransfer
from tidegate.errors import TidegateError
from tidegate.model import (
    Attrs,
    Entry,
    Peer,
    Permission,
    Principal,
    ProgramDirectory,
    ProgramUse,
    Space,
    VPath,
)

if TYPE_CHECKING:
    from tidegate.model.properties import Properties, PropertyName
    from tidegate.model.rights import Right


@dataclass(frozen=True, slots=True)
class OpenFlags:
    """Flags of opening a file; the names are those of POSIX, but for the last two.

    Attributes:
        atomic: what is there keeps its content until the new one is complete, whatever the upload mode, for
            this session too; a second such upload of a name is another one. For files that begin empty.
        replaces: publish an upload only in place of the file that has this `File.version`; else `close`
            raises `Conflict`. Empty for no condition.
    """

    read: bool = False
    write: bool = False
    append: bool = False
    create: bool = False
    truncate: bool = False
    exclusive: bool = False
    atomic: bool = False
    replaces: str = ""


class Span(NamedTuple):
    """The part of the tree that a request is about, as far as the order of requests is concerned.

    Attributes:
        domain: number of the storage; what lies in different ones is independent.
        path: everything at and below it.
        changes: True if names, content or attributes may change.
    """

    domain: int
    path: VPath
    changes: bool

    def conflicts(self, other: Span) -> bool:
        """True if requests over the two must be carried out in order of arrival."""
        return (
            (self.changes or other.changes)
            and self.domain == other.domain
            and (self.path.is_within(other.path) or other.path.is_within(self.path))
        )


@dataclass(slots=True)
class Exchange:
    """A command of a protocol whose replies have codes (FTP), for the events of what it does.

    Attributes:
        command: the verb.
        code_of: the code of the reply to an error; to None if all went well.
        reply: the code, where the door knows it better than the storage; 0 asks `code_of`.
    """

    command: str
    code_of: Callable[[TidegateError | None], int]
    reply: int = 0

    def code(self, error: TidegateError | None) -> int:
        """The code of the reply."""
        return self.reply or self.code_of(error)


class File(Protocol):
    """An open file as a door sees it: policy, quota, bandwidth and accounting are inside.

    Reads and writes may run concurrently. `close` or `abort` is called once, after all of them ended;
    after either every method raises `InvalidHandle`.

    Attributes:
        version: of a file opened for reading, changes with its content; empty where storage tells none.
        small: bytes that a small file held when it was opened for reading, 0 for all other files. A door
            needs no room for more: clients ask for 255 KiB, whatever the size.
        exchange: the command that the transfer is of; None without one.
        announced: bytes that the client said it would send; 0 if it did not say. For those who watch.
        in_order: writes reach the storage one after the other: while one waits, those behind it wait too.
    """

    path: VPath
    readable: bool
    writable: bool
    small: int
    in_order: bool
    exchange: Exchange | None
    announced: int

    @property
    def version(self) -> str:
        """See above."""
        ...

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; ``b""`` at or past the end. Waits for bandwidth."""
        ...

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """As `FileHandle.readinto_nowait`; None also if bandwidth would have to be waited for."""
        ...

    async def write(self, offset: int, data: Buffer) -> None:
        """Write all of `data`.

        Raises:
            QuotaExceeded, TooLarge: a limit was reached. The upload is lost: later writes raise the same,
                and `close` raises it again after removing what the rules say must go.
        """
        ...

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Write all of `data` if nothing has to be waited for; False means nothing happened."""
        ...

    async def stat(self) -> Entry:
        """Attributes now."""
        ...

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes of the open file; never fails a finished upload for want of a capability."""
        ...

    async def sync(self) -> None:
        """Fsync."""
        ...

    async def close(self) -> None:
        """The client closed the file: publish an upload, settle quota, log the transfer."""
        ...

    def close_nowait(
        self,
        later: list[Callable[[], object]] | None = None,
        stored: list[asyncio.Future[None]] | None = None,
    ) -> bool:
        """`close`, if all went well and nothing has to be waited for; False means nothing happened.

        Args:
            later: gets what an answer to the client need not wait for; the caller calls it in this turn of
                the loop.
            stored: gets a future if the end of an upload is kept: the client is told when it has a result,
                and that the act failed if it has an exception (`ProviderUnavailable`). Without a list such an
                end is left to `close`.
        """
        ...

    async def abort(self) -> None:
        """The client vanished: end a transfer as failed, by the rules of the upload mode. Never raises."""
        ...


class OpenDirectory(Protocol):
    """A directory that a program is handed.

    Attributes:
        key: its path relative to `ProgramRun.base`.
        fd: descriptor (O_PATH), valid until `ProgramRun.close`.
        writes: True if the program may change it.
    """

    @property
    def key(self) -> str:
        """See above."""
        ...

    @property
    def fd(self) -> int:
        """See above."""
        ...

    @property
    def writes(self) -> bool:
        """See above."""
        ...


class ProgramRun(Protocol):
    """One system program, from before its start to after its end; `close` is called once it has ended.

    Attributes:
        base: descriptor of the directory that keys are relative to, valid until `close`.
        directories: everything that the program may reach.
        umask: for what it creates.
        owner: uid and gid to run as, where the server is root and sets owners; -1 for the server's own.
        max_file: most bytes that one file may have.
        location: of the first directory, for operators.
        point: the virtual path of `base`.
        granted: permissions in the first directory.
    """

    point: VPath
    granted: frozenset[Permission]
    base: int
    umask: int
    owner: tuple[int, int]
    max_file: int
    location: str

    @property
    def directories(self) -> Sequence[OpenDirectory]:
        """See above."""
        ...

    async def begin(self) -> None:
        """Before the start.

        Raises:
            QuotaExceeded: nothing may be uploaded (downloaded) any more.
        """
        ...

    def received(self, size: int) -> float:
        """The program is given bytes of the client; returns seconds to wait before it is given more.

        Raises:
            QuotaExceeded: a limit on traffic is reached.
        """
        ...

    def sent(self, size: int) -> float:
        """The client is sent bytes of the program; returns seconds to wait before it is sent more.

        Raises:
            QuotaExceeded: a limit on traffic is reached.
        """
        ...

    @property
    def watched(self) -> bool:
        """True if `check` may find that a quota is exceeded."""
        ...

    @property
    def due(self) -> bool:
        """True if it is time for `check`."""
        ...

    async def check(self) -> None:
        """Count what the program has stored.

        Raises:
            QuotaExceeded: more than the quota allows.
        """
        ...

    async def close(self) -> None:
        """After the end: charge what was stored, and let go. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Lock:
    """A write lock (RFC 4918 section 6) as a session sees it.

    Attributes:
        token: a URI.
        path: what is locked (the lock root), as a path of the session.
        scope: ``exclusive`` or ``shared``.
        depth_infinite: everything below `path` is covered too.
        owner: what the client said about the owner.
        account: whose it is; nobody else can use it.
        seconds: granted at the last refresh.
        left: seconds until it ends.
    """

    token: str
    path: VPath
    scope: Literal["exclusive", "shared"]
    depth_infinite: bool
    owner: str
    account: str
    seconds: float
    left: float


class SessionLocks(Protocol):
    """Write locks. They are on what a path leads to, whatever account, mount or link leads there."""

    @property
    def active(self) -> bool:
        """False if certainly nothing is locked, by anybody."""
        ...

    async def lock(
        self,
        path: VPath,
        *,
        scope: Literal["exclusive", "shared"] = "exclusive",
        depth_infinite: bool = False,
        owner: str = "",
        seconds: float,
    ) -> Lock:
        """Lock a path, whether or not something is there; nothing is created.

        Needs `upload` or `overwrite`; for a path where nothing is, tokens of locks on the directory above
        (`Session.holding`).

        Args:
            path: of what.
            scope: see `Lock`.
            depth_infinite: see `Lock`.
            owner: at most `tidegate.contracts.cluster.MAX_OWNER` characters.
            seconds: for how long; a longer time than the server grants is cut to that.

        Raises:
            Locked: another lock, or a transfer, is in the way; its `root` names what is locked.
            Denied: no permission.
            PeerLimit: too many locks.
            InvalidArgument: `owner` or `seconds`.
        """
        ...

    async def refresh(self, path: VPath, token: str, seconds: float) -> Lock:
        """Let a lock that covers `path` last `seconds` from now on.

        Raises:
            NotFound: no such lock covers `path`.
            Denied: it is another account's.
        """
        ...

    async def unlock(self, path: VPath, token: str) -> None:
        """End a lock that covers `path`.

        Raises:
            NotFound: no such lock covers `path`.
            Denied: it is another account's.
        """
        ...

    async def list(self, path: VPath) -> list[Lock]:
        """Locks that cover `path`."""
        ...


class SessionProperties(Protocol):
    """Dead properties (RFC 4918 section 4.2): XML that clients keep beside files and directories.

    They belong to what a path leads to. Renames take them along, copies copy them, removals remove them, and
    new content leaves them as they are, whatever door does it.
    """

    async def get(self, path: VPath) -> Mapping[PropertyName, bytes]:
        """Properties of a file or directory: namespace and name to the XML of the content."""
        ...

    async def of_children(self, path: VPath) -> Mapping[str, Mapping[PropertyName, bytes]]:
        """Properties of what is directly in a directory, by name, in one query; without what has none.

        A name may be one that a listing does not show.
        """
        ...

    async def patch(self, path: VPath, sets: Properties, removes: Collection[PropertyName] = ()) -> None:
        """Set and remove properties of something that exists; all of it happens, or nothing.

        Needs `chtimes` or `overwrite`. Removing what is not there is no error.

        Raises:
            NotFound: nothing is there.
            Locked: a lock is in the way.
            QuotaExceeded: more than `PropertyLimits` allow.
            Unsupported: the server keeps no properties.
        """
        ...


class Replacement(Protocol):
    """Something that is made to take the place of another; see `Session.replacing`."""

    async def swap(self) -> None:
        """Let it take its place. Paths at and below mean what was there until then: the caller removes it.

        Raises:
            Locked: a lock came up meanwhile.
            Conflict: somebody is writing something in what is to be replaced.
            ProviderUnavailable: it is done, but what was done could not all be told.
        """
        ...


class Session(Protocol):
    """One principal's view of the tree through one connection (or channel).

    Attributes:
        start_directory: where relative paths begin; a door whose peer changes directory may set it.
        transfers: what is being moved now; the door shares this very set with its entry in the registry.
    """

    principal: Principal
    peer: Peer
    start_directory: VPath
    transfers: set[LiveTransfer]

    def answers(self, exchange: Exchange | None) -> None:
        """Events of what is done from here on are of this command."""
        ...

    @property
    def locks(self) -> SessionLocks:
        """Write locks, as this account takes and sees them."""
        ...

    @property
    def properties(self) -> SessionProperties:
        """Dead properties of what this account sees."""
        ...

    def holding(self, tokens: Iterable[str]) -> AbstractContextManager[None]:
        """A context in which acts count as made with these lock tokens.

        It holds for the task that enters it and for those that it starts there; a file opened within has them
        for as long as it is open.
        """
        ...

    async def stat(self, path: VPath, *, follow: bool = True) -> Entry:
        """STAT, or LSTAT with follow False. The entry's `name` is the path's own last component."""
        ...

    def list(self, path: VPath) -> AsyncIterator[list[Entry]]:
        """Entries of a directory in batches: hidden ones left out, folders put in, no ``.`` or ``..``."""
        ...

    async def rights(self, directory: VPath) -> Callable[[str, bool], Right]:
        """Rights to what is in a directory, by the rules; storage may refuse more.

        Returns:
            a function of a name and of whether that is a directory, cheap enough for each line of a listing;
            the empty name is the directory itself.

        Raises:
            TidegateError: the path cannot be resolved.
        """
        ...

    async def open(self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None) -> File:
        """Open a file; the permissions for everything the flags allow are decided here, once."""
        ...

    async def open_unnamed(self, label: VPath) -> File:
        """Open an upload whose path `name` tells before it is closed; nobody sees it until then.

        Args:
            label: stands for the path in events, should it never get one.

        Raises:
            Denied: the account may upload nowhere.
            Unsupported: the account's own storage has no place for it.
        """
        ...

    async def name(self, file: File, path: VPath) -> None:
        """Judge the path of an unnamed upload as `open` would, to be published there, replacing a file.

        Raises:
            OtherDevice: that is on another storage, or counts in another quota.
            TidegateError: as `open`; another path can be tried.
        """
        ...

    def open_nowait(self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None) -> File | None:
        """As `open`, for what is simple, allowed and needs no waiting: to read a file, to write a new one.

        None means that nothing happened and `open` must be asked. Never raises.
        """
        ...

    def begin_nowait(
        self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None
    ) -> Callable[[], File] | None:
        """As `open_nowait`, and the file is open once what is returned was called.

        The caller MUST call it once, in this turn of the loop and before anything else is asked of the
        session: it does what an answer to the client need not wait for.
        """
        ...

    async def remove(self, path: VPath) -> None:
        """Remove a file or link."""
        ...

    async def mkdir(self, path: VPath, attrs: Attrs | None = None) -> None:
        """Create one directory."""
        ...

    async def rmdir(self, path: VPath) -> None:
        """Remove an empty directory."""
        ...

    async def rename(self, source: VPath, target: VPath, *, replace: bool) -> None:
        """Rename; an existing target is `AlreadyExists`, unless `replace` or a setting says to replace it."""
        ...

    async def symlink(self, text: str, link: VPath) -> None:
        """Create `link` with `text` (a virtual path, relative to the link's directory or absolute)."""
        ...

    async def readlink(self, path: VPath) -> str:
        """The text of a link as a virtual path."""
        ...

    @property
    def overlaps(self) -> bool:
        """True if requests that need no order among them may run at the same time (`span`).

        False while all storage in use is inline (`tidegate.abc.Backend.inline`).
        """
        ...

    def span(self, path: VPath, *, changes: bool) -> Span:
        """The span of a request about `path`: more than the path itself where links or inline storage are."""
        ...

    async def real_path(self, path: VPath) -> VPath:
        """The path without links on the way, existing or not, as far as all of it may be seen."""
        ...

    async def hardlink(self, source: VPath, target: VPath) -> None:
        """Give a file a second name."""
        ...

    async def set_attrs(self, path: VPath, attrs: Attrs, *, follow: bool = True) -> None:
        """Set size, mode, owner, times, by `setstat_mode` and permission."""
        ...

    async def space(self, path: VPath) -> Space:
        """Room at `path`, narrowed by quota."""
        ...

    async def copy_range(
        self, source: File, offset: int, length: int, target: File, target_offset: int
    ) -> int:
        """copy-data: `length` 0 copies to the end of `source`; returns the bytes copied."""
        ...

    async def copy(self, source: VPath, target: VPath, *, replace: bool) -> None:
        """copy-file, server side where the backend can."""
        ...

    async def checksum(
        self, file: VPath | File, algorithm: str, offset: int = 0, length: int = 0, block: int = 0
    ) -> Sequence[bytes]:
        """Digests of a range (length 0: to the end), one for each `block` bytes (0: one in all).

        Args:
            file: a path or an open readable file.
            algorithm: md5, sha1, sha224, sha256, sha384, sha512, crc32 or blake3.

        Raises:
            Unsupported: unknown algorithm.
        """
        ...

    async def program(self, use: ProgramUse, directories: Sequence[ProgramDirectory]) -> ProgramRun:
        """Have a system program judged, and open what it may reach.

        Args:
            use: what is wanted.
            directories: all of them, without links; the first is what it is about.

        Raises:
            Denied: a permission is missing, or a rule exists that a program would not obey.
            Unsupported: the storage is no disk of this host.
            NotFound: a directory is not there.
        """
        ...

    def location(self, path: VPath) -> str:
        """The place of a path for the log: on the host, or the key in the store. Looks at nothing there."""
        ...

    def require_copy(self, source: VPath, target: VPath) -> None:
        """Check that a directory may be copied, before what is at the target makes room for it.

        What is in it is judged when it is copied.

        Raises:
            Denied, NotFound: refused; on record.
        """
        ...

    async def require_removable(self, path: VPath, entry: Entry) -> None:
        """Check that one thing may be removed, as far as that can be told before; not what is in it.

        Raises:
            TidegateError: refused; on record.
        """
        ...

    def replacing(
        self, path: VPath, *, moves: VPath | None = None
    ) -> AbstractAsyncContextManager[Replacement | None]:
        """Make something within that is to take the place of what is at a path.

        Within, paths at and below `path` mean what is made, for this task and those that it starts: they
        begin with nothing, and what is made there is judged, charged and told as what it is going to be.
        Nobody else sees it before `Replacement.swap`; without that it is removed at the end. Events are told
        after `swap`. The caller has judged that what is there may be removed (`require_removable`).

        Args:
            path: where something is.
            moves: the path that what is made is moved from: it is not removed at the end, but goes back there
                if it cannot take its place.

        Returns:
            a context manager. It gives None where the storage has no such step: nothing is different then.

        Raises:
            Locked: a lock is in the way.
            Conflict: somebody is writing something in what is to be replaced.
        """
        ...

    async def identity(self, path: VPath, *, follow: bool) -> str:
        """The place that a path leads to, free of links, whether or not something is there.

        Paths of one identity lead to one thing; one that begins with another and a slash lies in it. It asks
        for no permission, and is for comparisons, never for clients.

        Args:
            path: to be looked at.
            follow: a link at its end is followed too.
        """
        ...

    def failed(
        self, intent: str, path: VPath | str, error: TidegateError, target: VPath | str | None = None
    ) -> None:
        """Put on record that a request failed, unless that was done where it failed.

        Args:
            intent: what was wanted, a word that `explain --op` takes.
            path: of what; text as received if it cannot be a path.
            error: why.
            target: the second path.
        """
        ...

    async def close(self) -> None:
        """Abort what is open and release the mounts. Never raises; safe to call twice."""
        ...


class Sessions(Protocol):
    """Opens sessions; what the composition root hands to doors."""

    async def open(self, principal: Principal, peer: Peer) -> Session:
        """A session for a principal: home created if missing, mounts ready.

        Raises:
            LoginRefused: the account's limit of concurrent sessions is reached.
            WorldError: the home's storage cannot be used.
        """
        ...
