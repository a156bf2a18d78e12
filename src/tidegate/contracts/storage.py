# SPDX-License-Identifier: Apache-2.0
"""Contracts of storage. Words like MUST are meant as in RFC 2119; names are promised by `tidegate.abc`.

A backend is small by contract: stat, list, open, remove, mkdir, rmdir, rename. Everything else is a
`Capability` that it declares; callers look at `capabilities` first and an undeclared operation raises
`tidegate.errors.Unsupported`. A backend knows no user, no permission and no protocol. It is handed *keys*:
relative paths without a leading slash, ``""`` for its own root, already free of ``.``, ``..``, empty
components and NUL; it MUST refuse a key that is not. Every failure leaves a backend as an error of
`tidegate.errors`, never as OSError.

No method of a backend may block the event loop for longer than an operation on memory takes: what can wait
on a device goes to a thread. And every call MUST end: what waits on a network has a time limit of the
backend's own, because a change that has begun is not given up when the client is gone. The ``*_nowait``
methods answer at once or say that they would have to wait.

Order: calls on different keys and handles overlap, and reads of one handle do. What changes one key is not
begun while another change of it is under way in the same session. Writes of one handle overlap only with
`Capability.RANDOM_WRITE`; without it they come one after the other, each beginning where the last one ended.

Long, because whoever implements storage reads it as one text.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from typing_extensions import Buffer

from tidegate.model import Attrs, Entry, Space, StorageSpec

if TYPE_CHECKING:
    from tidegate.model.observe import Observe

Key = str
"""A backend's path: relative, clean, ``""`` for the root."""


class Capability(enum.Flag):
    """Abilities of a backend beyond the required contract."""

    NONE = 0
    LINKS = enum.auto()
    """symlink, readlink, and `stat` with follow=False sees links"""
    HARDLINKS = enum.auto()
    MODES = enum.auto()
    """`Attrs.mode` is kept"""
    OWNERS = enum.auto()
    TIMES = enum.auto()
    TRUNCATE = enum.auto()
    """set any size, on a path or a handle"""
    RANDOM_WRITE = enum.auto()
    """write at any offset, in any order"""
    READ_WRITE = enum.auto()
    """one handle both reads and writes"""
    APPEND = enum.auto()
    """open an existing file and go on at its end"""
    PARTIALS = enum.auto()
    """an unfinished upload can be kept aside and taken up again (`Publish.RESUMABLE`)"""
    SERVER_COPY = enum.auto()
    """copy without moving bytes through us"""
    SPACE = enum.auto()
    REAL_DIRECTORIES = enum.auto()
    """empty directories exist by themselves and mkdir twice fails"""


class Publish(enum.IntEnum):
    """The moment at which a written file becomes visible; the numbers are those of `upload_mode`."""

    INPLACE = 0
    """bytes go to the target; what arrived stays, whatever happens"""
    ATOMIC = 1
    """nothing is visible before `WriteOutcome.COMMIT`; a failed upload leaves the old file untouched"""
    RESUMABLE = 2
    """as ATOMIC, and a failed upload is kept under a hidden name for resuming"""


class Outcome(enum.Enum):
    """The way a file handle ends."""

    COMMIT = "commit"
    """the upload is complete: publish it"""
    KEEP = "keep"
    """the upload broke off: INPLACE leaves it, ATOMIC drops it, RESUMABLE keeps the partial"""
    DROP = "drop"
    """the upload was refused (quota, size, policy): leave nothing of it, keep the old file if one survives"""


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """Options of opening a file.

    Attributes:
        read: reading is wanted.
        write: writing is wanted.
        create: create if missing.
        exclusive: with create: fail with `AlreadyExists` if anything has that name.
        truncate: start empty.
        append: every write goes to the end, whatever its offset.
        publish: see `Publish`. ATOMIC and RESUMABLE apply when the file is created or truncated; a file
            opened without truncate is edited in place (a RESUMABLE partial of it, if there is one and no
            finished file, is taken up instead).
        mode: permission bits of a new file before the umask; None takes the backend's default.
        uid: owner of a new file; None leaves the server's own.
        gid: group of a new file; None leaves the server's own.
        fsync: make the content durable before COMMIT returns.
        replaces: only in place of the file that has this version (`FileHandle`'s, if the backend tells it):
            else COMMIT raises `Conflict`. Empty for no condition. A file that is too large for one request
            may be refused by `Unsupported`.
    """

    read: bool = False
    write: bool = False
    create: bool = False
    exclusive: bool = False
    truncate: bool = False
    append: bool = False
    publish: Publish = Publish.INPLACE
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    fsync: bool = False
    replaces: str = ""


class FileHandle(Protocol):
    """An open file. Reads and writes may run concurrently; `close` is called once, after all of them.

    Attributes:
        existed_size: size in bytes of the file this handle replaces or continues, None if it is new.
            What quota accounting needs to charge differences. Of a handle for reading, the size at opening if
            that is known; doors then keep no room for more than a small file has.
        staged: True if what is written lies beside the target until COMMIT. Only the backend knows if it
            continues a finished file or an unfinished upload. False for reading.
        version: MAY be there, of a handle for reading: a text that changes with the content. A backend that
            has it obeys `OpenOptions.replaces`, in one step with the write.
        took: True if it took the place of an unfinished upload that was kept; False without PARTIALS.
    """

    existed_size: int | None

    @property
    def staged(self) -> bool:
        """See above."""
        ...

    @property
    def took(self) -> bool:
        """See above."""
        ...

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end, ``b""`` at or past it."""
        ...

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Fill `buffers` in order from `offset` with what is in memory already.

        Returns:
            bytes read, 0 at or past the end, None if it would have to wait (or this handle cannot do it).
            A short count MUST mean that the file ends there: clients take it for that, or ask for less
            from then on. What is in memory only in part is None.
        """
        ...

    async def write(self, offset: int, data: Buffer) -> None:
        """Write all of `data` at `offset`. The buffer is free for reuse when this returns."""
        ...

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Write all of `data` if that needs no waiting; False means nothing was written."""
        ...

    async def stat(self) -> Entry:
        """Attributes now; the size counts what was written."""
        ...

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes; times MUST still hold after `close`."""
        ...

    async def sync(self) -> None:
        """Make what was written durable."""
        ...

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """End the handle. For a read handle the outcome has no meaning.

        Raises:
            TidegateError: the file could not be published; the old file, if any, is untouched.
        """
        ...


@runtime_checkable
class KnowsDigests(Protocol):
    """A `FileHandle` for reading MAY have this: storage that keeps digests of what it was given."""

    async def digest(self, algorithm: str) -> bytes | None:
        """The digest of the whole content, as the storage keeps it with that content; None if it has none.

        Args:
            algorithm: ``blake3``, or a name of `hashlib` in lower case.
        """
        ...


@runtime_checkable
class CopiesRanges(Protocol):
    """A `FileHandle` for writing MAY have this: storage that copies from file to file by itself."""

    def copies_range(self, source: FileHandle, start: int, size: int, offset: int) -> bool:
        """True if `copy_range` with these arguments is possible now; asks nothing, changes nothing."""
        ...

    async def copy_range(self, source: FileHandle, start: int, size: int, offset: int) -> None:
        """As `FileHandle.write` at `offset` of what `source`, open for reading, has from `start`.

        Raises:
            TidegateError: as `FileHandle.write`, and as reading `source`.
        """
        ...


@runtime_checkable
class ClosesAtOnce(Protocol):
    """A `FileHandle` MAY have this beside its contract; handles of `OpensAtOnce.open_nowait` MUST."""

    def close_nowait(self, outcome: Outcome = Outcome.COMMIT) -> bool:
        """As `FileHandle.close`, if that needs no waiting; False means that nothing happened.

        Raises:
            TidegateError: as `close`; the handle has ended.
        """
        ...


class QuickHandle(FileHandle, ClosesAtOnce, Protocol):
    """A handle with both."""


class Backend(Protocol):
    """Storage of bytes. One instance serves one root (a directory, a bucket prefix).

    Life: constructed (pure), `open`, used, `close` (legal after a failed open).
    """

    @property
    def capabilities(self) -> Capability:
        """Abilities beyond the required contract."""
        ...

    @property
    def inline(self) -> bool:
        """True if most calls end without waiting, as those on memory or a local disk do.

        The requests of a session then run in order of arrival, one at a time. False for storage behind a
        network: requests that do not touch the same paths run at the same time, and so do their calls.
        """
        ...

    def location(self, key: Key) -> str:
        """The location of `key`, for the logs and events of operators: a path of the host, ``s3://bucket/key``...

        Holds no secret; legal before `open` and after `close`; looks at nothing.
        """
        ...

    async def open(self) -> None:
        """Connect or open the root; MUST create a missing root directory when asked to by its options.

        Also removes what a crash left behind (unfinished ATOMIC uploads).
        """
        ...

    async def close(self) -> None:
        """Release everything."""
        ...

    async def stat(self, key: Key, *, follow: bool = True) -> Entry:
        """Attributes of `key`.

        Raises:
            NotFound: nothing there.
            Denied: the path leads outside the root.
        """
        ...

    def list(self, key: Key) -> AsyncIterator[list[Entry]]:
        """Entries of a directory in batches of a bounded size, each stat'ed once, links not followed.

        Unfinished uploads are left out. The iterator MUST release its resources on `aclose`.
        """
        ...

    async def open_file(self, key: Key, options: OpenOptions) -> FileHandle:
        """Open a file.

        Raises:
            IsADirectory, NotFound, AlreadyExists, Denied, Unsupported.
        """
        ...

    async def remove(self, key: Key) -> None:
        """Remove a file or a link, never a directory (`IsADirectory`)."""
        ...

    async def mkdir(
        self, key: Key, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Create one directory; its parent MUST exist."""
        ...

    async def rmdir(self, key: Key) -> None:
        """Remove an empty directory (`DirectoryNotEmpty`, `NotADirectory` for a link to one)."""
        ...

    async def rename(self, source: Key, target: Key, *, replace: bool) -> None:
        """Rename a file, link or directory.

        With replace False an existing target is `AlreadyExists`; test and act are one step where the
        system offers that (RENAME_NOREPLACE). With replace True a file may replace a file; a directory
        never replaces anything but an empty directory.
        """
        ...

    # -- optional: declared by `capabilities`, else Unsupported -------------------------------------------

    async def set_attrs(self, key: Key, attrs: Attrs, *, follow: bool = True) -> None:
        """MODES, OWNERS, TIMES, TRUNCATE."""
        ...

    async def symlink(self, text: str, key: Key) -> None:
        """LINKS. `text` is the link's text, relative or absolute within this root; it MUST be kept."""
        ...

    async def readlink(self, key: Key) -> str:
        """LINKS. The text that `symlink` was given; absolute ones are paths within this root.

        Raises:
            Denied: the link points outside the root.
        """
        ...

    async def hardlink(self, source: Key, target: Key) -> None:
        """HARDLINKS."""
        ...

    async def copy(self, source: Key, target: Key, *, replace: bool) -> int:
        """SERVER_COPY of one file; returns the bytes copied.

        When it is cancelled it MUST NOT raise once the target is there, but return.
        """
        ...

    async def space(self, key: Key) -> Space:
        """SPACE."""
        ...


@runtime_checkable
class ListsSizes(Protocol):
    """A backend MAY have this beside `Backend` if the times of a listing cost requests of their own."""

    def list_sizes(self, key: Key) -> AsyncIterator[list[Entry]]:
        """As `Backend.list`, for who counts: names, kinds, sizes and `nlink` are right, times need not be."""
        ...


@runtime_checkable
class ListsPartials(Protocol):
    """A backend with PARTIALS SHOULD have this beside `Backend`, so that a quota scan misses nothing.

    An unfinished upload is kept only where no finished file has its name: `Outcome.KEEP` drops what another
    file hides by then, and what gives a name to something (rename, mkdir, links) drops what that hides.

    The iterator of `Backend.list` MAY be a `TellsPartials`.
    """

    def partials(self, key: Key) -> AsyncIterator[list[Entry]]:
        """Unfinished uploads kept in a directory; under the names they are kept for, where those are known.

        Only those that `stat` shows under that name (no finished file has it) and that nobody is writing.
        """
        ...


@runtime_checkable
class ExpiresPartials(Protocol):
    """A backend with PARTIALS MAY have this: unfinished uploads do not stay for ever.

    The iterator of its `Backend.list` is a `TellsPartials`. Who charges for unfinished uploads calls this
    when some are too old, so that what they were charged is given back.
    """

    async def expire_partials(self, key: Key) -> list[Entry]:
        """Remove those in a directory that are too old, and those that a finished file hides.

        Returns:
            the former: what `partials` would have listed.
        """
        ...


@runtime_checkable
class TellsPartials(Protocol):
    """The iterator of `Backend.list` MAY be this: when it is through it knows of unfinished uploads.

    Attributes:
        parts: True if the directory holds unfinished uploads.
        expired: True if some of them are too old.
    """

    @property
    def parts(self) -> bool:
        """See above."""
        ...

    @property
    def expired(self) -> bool:
        """See above."""
        ...


@runtime_checkable
class ChecksRoot(Protocol):
    """A backend SHOULD have this beside `Backend` if the root it opened can be replaced unseen."""

    async def is_current(self) -> bool:
        """True if opening the root again now would reach what is open.

        Asked when a session begins while others use the backend. After False the session gets a new backend
        for the same root, and this one is closed with its last session.

        Raises:
            WorldError: the root cannot be looked at; the session's request fails.
        """
        ...


@runtime_checkable
class RefusesKeys(Protocol):
    """A backend SHOULD have this beside `Backend` if there are names or sizes that it cannot hold."""

    def refusal(self, key: Key, size: int) -> str:
        """The reason why a file of `size` bytes cannot be held under a key, in words; empty if it can.

        Legal before `open`; asks nobody. Whoever moves files here tells it before any of them is moved.
        """
        ...


@runtime_checkable
class TriesItself(Protocol):
    """A backend over a service SHOULD have this beside `Backend`: operators ask before users do."""

    async def try_itself(self) -> None:
        """Ask the service for everything that a root needs: to list, read, write and remove.

        It may write something of its own for a moment. Called between `open` and `close`.

        Raises:
            WorldError: its `detail` says what fails and why: which permission, which setting.
        """
        ...


@runtime_checkable
class KnowsPlaces(Protocol):
    """A backend with LINKS MUST have this beside `Backend`, or one file could be charged under two keys.

    It is also what permissions are asked by: a link gives no more than what it leads to.
    """

    @property
    def unlinked(self) -> Backend:
        """The same open storage, where no operation follows a link on the way to a key or at its end.

        It raises `LinkMet` instead, and nothing is done. What acts on the last component itself (lstat,
        readlink, remove, rename...) acts on a link there too. So whoever judged a place and acts through this
        reaches that place or nothing, whatever is swapped meanwhile.
        """
        ...

    async def place_of(self, key: Key, *, follow: bool) -> Key:
        """The key without links on the way to its last component, and with `follow` of that one too.

        Nothing need exist: from the first component that is missing the rest is taken as it stands.

        Raises:
            Denied: it leads outside. TooManyLinks. NotFound: it goes up from something that is not there.
        """
        ...


@runtime_checkable
class Identifies(Protocol):
    """A backend SHOULD have this if its `location` does not tell two storages apart."""

    def identity(self, key: Key) -> str:
        """A text that is equal for the same file or directory, through whatever root of the same storage.

        Components are separated by slashes, and the identity of what lies in a directory is that of the
        directory, a slash, and a name. It ends in no slash and holds no secret. `key` is free of links. Asked
        while the backend is open; looks at nothing. Locks and properties are kept under it.
        """
        ...


@runtime_checkable
class Surveys(Protocol):
    """A backend that `KnowsPlaces` MAY have this (also `unlinked`): what opening asks, in one step."""

    async def survey(self, key: Key) -> tuple[Key, Entry | None]:
        """``place_of(key, follow=False)`` and ``stat`` of that place, not following; None for `NotFound`."""
        ...


@runtime_checkable
class HostsPrograms(Protocol):
    """A backend MAY have this: its files lie on a disk of this host, where programs can be let in.

    Attributes:
        program_umask: permission bits that files made by programs do not get.
    """

    program_umask: int

    async def descriptor(self, key: Key) -> int:
        """A descriptor (O_PATH) of the directory at a key, which the caller closes.

        Raises:
            NotFound, NotADirectory: there is none.
            LinkMet, Denied: a link is on the way.
        """
        ...


@runtime_checkable
class RenamesAcross(Protocol):
    """A backend MAY have this beside `Backend`: renaming into another root without moving bytes."""

    async def rename_across(self, source: Key, other: Backend, target: Key, *, replace: bool) -> None:
        """As `Backend.rename`, with `target` in the root of `other`.

        Raises:
            OtherDevice: it cannot be done in one step; nothing happened.
        """
        ...


class Steps(Protocol):
    """Counts of what long work of a backend has done; the backend counts, and whoever asked for it looks.

    Attributes:
        files: files done.
        size: bytes done.
        total_files: files in all, 0 while that is not known.
        total_size: bytes in all, 0 while that is not known.
    """

    files: int
    size: int
    total_files: int
    total_size: int


@runtime_checkable
class TellsSteps(Protocol):
    """A backend whose renames copy SHOULD have this: how far a rename is."""

    async def rename_telling(self, source: Key, target: Key, *, replace: bool, steps: Steps) -> None:
        """As `Backend.rename`, counting in `steps`."""
        ...


@runtime_checkable
class SharesUploads(Protocol):
    """A backend with PARTIALS SHOULD have this: who writes a file that is not published yet uses it already.

    ``handle`` is one of `Backend.open_file` with ``staged`` True that has not ended.
    """

    async def reopen(self, handle: FileHandle, options: OpenOptions) -> FileHandle:
        """Another handle on what `handle` has written so far, by ``read``, ``write`` and ``append``.

        It publishes nothing; it ends before `handle` does.
        """
        ...

    async def retarget(self, handle: FileHandle, key: Key, *, exclusive: bool) -> None:
        """COMMIT of `handle` publishes under this key; with `exclusive` it replaces nothing."""
        ...

    async def forsake(self, handle: FileHandle) -> None:
        """Nothing of `handle` is published or kept, however it ends; it can be used until then."""
        ...


@runtime_checkable
class OpensAtOnce(Protocol):
    """A backend MAY have this beside `Backend`: the ordinary ways to open a file, without a coroutine."""

    def open_nowait(self, key: Key, options: OpenOptions) -> QuickHandle | None:
        """As `Backend.open_file`, but only for what is simple and needs no waiting.

        That is to read a regular file, or (``create`` and `Publish.INPLACE`, not ``read``, ``append`` or
        ``fsync``) to create a file whose name nothing has. MUST do nothing and return None for everything
        else: if the name is taken (with ``exclusive`` also if an unfinished upload has it), if a link leads
        there, if the storage is slow or in doubt. It does not say what is wrong, `open_file` does.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRules:
    """Settings of the server for all roots in object storage; sizes in bytes.

    Attributes:
        memory: for content that is on its way, of all roots together.
        memory_share: of that, for one account's home or one folder.
        memory_seconds: a transfer that waits so long for memory is refused.
        attribute_seconds: time that what is known of a name answers questions about it.
        listing_heads: objects of one listing that are asked for their metadata, where the times are.
        requests: requests of one operation on many objects that run at the same time.
        files_ahead: small files that are fetched ahead of a client that opens those of a directory in order.
        digests: algorithms by which content is summed up while it passes: ``blake3``, or names of `hashlib`.
        partial_seconds: an unfinished upload that nobody took up for so long is removed.
        rename_seconds: a rename of a directory that a crash broke off is completed within so long.
    """

    memory: int = 256 << 20
    memory_share: int = 64 << 20
    memory_seconds: float = 60.0
    attribute_seconds: float = 5.0
    listing_heads: int = 1000
    requests: int = 32
    files_ahead: int = 16
    digests: tuple[str, ...] = ("blake3",)
    partial_seconds: float = 7 * 86400.0
    rename_seconds: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class StorageHost:
    """Services of the server for each kind of storage.

    Attributes:
        umask: taken from the mode of new files and directories, where the storage has modes.
        journal_dir: a directory of the server where a kind may note unfinished uploads, for the start after a
            crash; None if nothing is to be kept.
        on_os_error: told of errors of the operating system, to notice shortages.
        objects: settings of all roots in object storage.
        shared: what kinds of storage of one server share, by a name that says whose it is.
        host_keys: fingerprints (``SHA256:...``) of the host keys of this server, to notice what leads back
            to it; they are those of the moment of the call.
        observe: told of each request to a service, where that is counted: kind of storage, operation,
            seconds, and True if it worked; None where nothing is.
        outside: the reason why a directory of this host cannot be reached by the server, None if it can.
    """

    umask: int = 0o022
    journal_dir: str | None = None
    on_os_error: Callable[[OSError], object] | None = None
    objects: ObjectRules = ObjectRules()
    shared: dict[str, Any] = field(default_factory=dict, compare=False)
    host_keys: Callable[[], Sequence[str]] = tuple
    observe: Observe | None = None
    outside: Callable[[str], str | None] | None = None


class StorageKind(Protocol):
    """One kind of storage; the class is what an entry point of the group ``tidegate.backends`` leads to.

    Life: constructed (pure) once a server, `open`, `build` for each storage root in use, `close`.

    Attributes:
        options: a dataclass of what a record may say. pydantic checks it strictly; a ValueError of its
            ``__post_init__`` is a mistake in the record. Names of secrets are those that
            `tidegate.model.secret_names` knows (``..._secret``, ``..._password``, ``..._token``); those
            fields MUST have ``repr=False``.
        section: the key of a `filesystem` document that holds them, for instance ``s3config``; may be empty.
        needs_directory: True if a home or folder has to name a directory of the host.
    """

    options: ClassVar[Any]
    section: ClassVar[str]
    needs_directory: ClassVar[bool]

    def __init__(self, host: StorageHost) -> None:
        """Must not touch anything yet."""
        ...

    async def open(self) -> Sequence[str]:
        """Get what all roots share ready, and remove what a crash left; returns lines for the log."""
        ...

    def build(self, spec: StorageSpec, options: Any) -> Backend:
        """An unopened backend for one root; it touches nothing before `Backend.open`."""
        ...

    async def close(self) -> None:
        """Release what all roots share; their backends are closed before."""
        ...


@runtime_checkable
class WrapsStorage(Protocol):
    """A `StorageKind` MAY have this: its roots lie over roots of another kind.

    What it is over is built by the server, and `wrap` is called in place of `build`. The sections of both
    stand in one document.
    """

    def below(self, spec: StorageSpec, options: Any) -> StorageSpec:
        """The storage that a root is over. A static method: it is asked before there is an instance."""
        ...

    def wrap(self, spec: StorageSpec, options: Any, below: Backend) -> Backend:
        """An unopened backend for one root over `below`, which it opens and closes."""
        ...
