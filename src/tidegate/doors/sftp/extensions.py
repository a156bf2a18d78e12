# SPDX-License-Identifier: Apache-2.0
"""Extended requests, and the extensions that VERSION advertises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidegate.doors.common.owners import Names
from tidegate.doors.sftp.handles import OpenFile
from tidegate.doors.sftp.listings import Listing
from tidegate.doors.sftp.verbs import Handler, Verbs, check_range
from tidegate.doors.sftp.wire import replies
from tidegate.doors.sftp.wire import requests as r
from tidegate.errors import Denied, InvalidArgument, InvalidHandle, NotFound, Unsupported
from tidegate.model import VPath
from tidegate.vfs.api import File, Session

DIGEST_BYTES: Final[dict[str, int]] = {
    "md5": 16,
    "sha1": 20,
    "sha224": 28,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "crc32": 4,
    "blake3": 32,
}
"""Algorithms of check-file and the length of their digests."""

MIN_CHECK_BLOCK_BYTES: Final = 256
"""Smallest block of check-file (draft-ietf-secsh-filexfer-extensions-00, section 3)."""

MAX_CHECK_REPLY_BYTES: Final = 128 * 1024
"""Most bytes of digests in one answer to check-file."""

MAX_IDS: Final = 1024
"""Most ids of each kind answered in one users-groups-by-id@openssh.com."""

ADVERTISED: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"hardlink@openssh.com", b"1"),
    (b"fsync@openssh.com", b"1"),
    (b"lsetstat@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"expand-path@openssh.com", b"1"),
    (b"copy-data", b"1"),
    (b"copy-file", b"1"),
    (b"home-directory", b"1"),
    (b"users-groups-by-id@openssh.com", b"1"),
    (b"check-file", ",".join(DIGEST_BYTES).encode()),
    (b"space-available", b"1"),
)
"""The extensions of VERSION and their values."""


_STRING_DIGESTS: Final = ("SSH-2.0-APACHE-SSHD-",)
"""Beginnings of names of clients that read digests as Apache MINA's server sends them: ``check-file`` first,
as in draft-ietf-secsh-filexfer-09 (section 9.1.2), and each digest as a string. The later draft, which WinSCP
follows, has neither."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The answer to limits@openssh.com, in bytes and handles."""

    packet: int
    io: int
    handles: int


def choose_algorithm(offered: bytes) -> str:
    """The first algorithm of a comma-separated list that is known; ``sha-256`` is taken as ``sha256``.

    Raises:
        Unsupported: none is.
    """
    for name in offered.decode("ascii", "replace").split(","):
        plain = name.strip().lower().replace("-", "")
        if plain in DIGEST_BYTES:
            return plain
    raise Unsupported("no supported hash algorithm")


def _file(target: OpenFile | Listing) -> OpenFile:
    if isinstance(target, Listing):
        raise InvalidHandle("handle is not a file")
    return target


class Extensions:
    """The extended requests.

    Args:
        session: where they are carried out.
        verbs: for paths.
        names: for users-groups-by-id@openssh.com.
        bounds: for limits@openssh.com.
    """

    def __init__(self, session: Session, verbs: Verbs, names: Names, bounds: Bounds) -> None:
        self._session = session
        self._path = verbs.path
        self._names = names
        self._bounds = bounds

    def table(self) -> dict[type[r.Request], Handler]:
        """Request class to method."""
        return {
            r.Statvfs: self.statvfs,
            r.Fstatvfs: self.fstatvfs,
            r.Hardlink: self.hardlink,
            r.Fsync: self.fsync,
            r.AskLimits: self.limits,
            r.ExpandPath: self.expand_path,
            r.HomeDirectory: self.home_directory,
            r.CopyData: self.copy_data,
            r.CopyFile: self.copy_file,
            r.CheckName: self.check_name,
            r.CheckHandle: self.check_handle,
            r.SpaceAvailable: self.space_available,
            r.NamesById: self.names_by_id,
        }

    async def statvfs(self, rid: int, q: r.Statvfs, _: object) -> bytes:
        """statvfs@openssh.com."""
        return replies.statvfs(rid, await self._session.space(self._path(q.path)))

    async def fstatvfs(self, rid: int, _: r.Fstatvfs, targets: tuple[OpenFile | Listing, ...]) -> bytes:
        """fstatvfs@openssh.com."""
        (target,) = targets
        path = target.path if isinstance(target, Listing) else target.file.path
        return replies.statvfs(rid, await self._session.space(path))

    async def hardlink(self, rid: int, q: r.Hardlink, _: object) -> bytes:
        """hardlink@openssh.com."""
        await self._session.hardlink(self._path(q.source), self._path(q.target))
        return replies.status_ok(rid)

    async def fsync(self, rid: int, _: r.Fsync, targets: tuple[OpenFile | Listing, ...]) -> bytes:
        """fsync@openssh.com."""
        await _file(targets[0]).file.sync()
        return replies.status_ok(rid)

    async def limits(self, rid: int, _: r.AskLimits, __: object) -> bytes:
        """limits@openssh.com."""
        bounds = self._bounds
        return replies.limits(rid, bounds.packet, bounds.io, bounds.io, bounds.handles)

    def _home(self, username: str) -> VPath:
        """The home of oneself. Of others nothing is said, not even whether they exist.

        Raises:
            NotFound: another user.
        """
        if username not in ("", self._session.principal.username):
            raise NotFound("no such user")
        return self._session.start_directory

    async def expand_path(self, rid: int, q: r.ExpandPath, _: object) -> bytes:
        """expand-path@openssh.com."""
        raw = q.path
        if raw.startswith(b"~"):
            user, _slash, rest = raw[1:].partition(b"/")
            path = VPath.parse(rest, self._home(user.decode("utf-8", "surrogateescape")))
        else:
            path = self._path(raw)
        return replies.name(rid, path.to_bytes())

    async def home_directory(self, rid: int, q: r.HomeDirectory, _: object) -> bytes:
        """home-directory."""
        return replies.name(rid, self._home(q.username.decode("utf-8", "surrogateescape")).to_bytes())

    async def copy_data(self, rid: int, q: r.CopyData, targets: tuple[OpenFile | Listing, ...]) -> bytes:
        """copy-data between two open files."""
        source, target = _file(targets[0]), _file(targets[1])
        check_range(q.offset, q.length, q.target_offset)
        if source is target:
            raise InvalidArgument("source and target are the same handle")
        if not source.readable:
            raise Denied("handle is not open for reading")
        if not target.writable:
            raise Denied("handle is not open for writing")
        await self._session.copy_range(source.file, q.offset, q.length, target.file, q.target_offset)
        return replies.status_ok(rid)

    async def copy_file(self, rid: int, q: r.CopyFile, _: object) -> bytes:
        """copy-file."""
        await self._session.copy(self._path(q.source), self._path(q.target), replace=q.replace)
        return replies.status_ok(rid)

    async def check_name(self, rid: int, q: r.CheckName, _: object) -> bytes:
        """check-file-name."""
        algorithm = choose_algorithm(q.algorithms)
        path = self._path(q.path)
        if q.block:
            self._check_blocks(q, algorithm, (await self._session.stat(path)).size)
        return await self._digests(rid, path, algorithm, q, echo=False)

    async def check_handle(
        self, rid: int, q: r.CheckHandle, targets: tuple[OpenFile | Listing, ...]
    ) -> bytes:
        """check-file-handle."""
        algorithm = choose_algorithm(q.algorithms)
        target = _file(targets[0])
        if not target.readable:
            raise Denied("handle is not open for reading")
        if q.block:
            self._check_blocks(q, algorithm, (await target.file.stat()).size)
        return await self._digests(rid, target.file, algorithm, q, echo=q.echo)

    @staticmethod
    def _check_blocks(q: r.CheckName | r.CheckHandle, algorithm: str, size: int) -> None:
        """Refuse blocks that are too small, or so many that the answer would not fit.

        Raises:
            InvalidArgument: so it is.
        """
        if q.block < MIN_CHECK_BLOCK_BYTES:
            raise InvalidArgument(f"block size below {MIN_CHECK_BLOCK_BYTES} bytes")
        left = max(0, size - q.offset)
        covered = min(q.length, left) if q.length else left
        if -(-covered // q.block) * DIGEST_BYTES[algorithm] > MAX_CHECK_REPLY_BYTES:
            raise InvalidArgument("too many blocks in one request")

    async def _digests(
        self, rid: int, target: VPath | File, algorithm: str, q: r.CheckName | r.CheckHandle, *, echo: bool
    ) -> bytes:
        check_range(q.offset, q.length)
        found = await self._session.checksum(target, algorithm, q.offset, q.length, q.block)
        mina = self._session.peer.client_version.startswith(_STRING_DIGESTS)
        body = replies.string(algorithm.encode()) + b"".join(map(replies.string, found) if mina else found)
        if len(body) > 2 * MAX_CHECK_REPLY_BYTES:
            raise InvalidArgument("too many blocks in one request")
        return replies.extended(rid, replies.string(b"check-file") + body if echo or mina else body)

    async def space_available(self, rid: int, q: r.SpaceAvailable, _: object) -> bytes:
        """space-available."""
        return replies.space_available(rid, await self._session.space(self._path(q.path)))

    async def names_by_id(self, rid: int, q: r.NamesById, _: object) -> bytes:
        """users-groups-by-id@openssh.com."""
        if len(q.uids) > MAX_IDS or len(q.gids) > MAX_IDS:
            raise InvalidArgument("too many ids in one request")
        users = [(self._names.user(uid) or "").encode() for uid in q.uids]
        groups = [(self._names.group(gid) or "").encode() for gid in q.gids]
        return replies.id_names(rid, users, groups)
