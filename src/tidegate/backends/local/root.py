# SPDX-License-Identifier: Apache-2.0
"""Containment: everything below one directory is reached through its descriptor, never by comparing paths.

Decision (for an ADR). Links inside the root are followed and may not lead out. On Linux a path is resolved
by openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS, elsewhere by `walk`. RESOLVE_IN_ROOT was the
alternative: it would treat the root as ``/`` and turn a link to ``/etc/passwd`` into a file of that name
below the root. That hides a mistake of the administrator as "no such file", may create files at surprising
places, and makes the same link mean two things depending on who reads it. Beneath, a link that leads out is
`Denied`, always. A link with an absolute text is a host path: if that lies within the root (as older
gateways stored links) it is followed, by `walk`, which resolves the rest beneath the root; otherwise it is
`Denied`. We never store absolute texts ourselves (`links.symlink`). RESOLVE_CACHED is not used: a device
either runs inline, and then a look at the disk is allowed, or in a thread, where waiting does no harm.

What acts on the last component (unlink, rename, mkdir, lstat, create...) goes through `parent`: the
directory is resolved once, and the act is relative to that descriptor and follows nothing.

Long, because containment is to be read, and doubted, in one piece.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from types import TracebackType
from typing import Final, NamedTuple, Self

from tidegate.backends.local.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
    openat2_works,
)
from tidegate.backends.local.walk import DIRECTORY, MAX_LINKS, strip_host, walk
from tidegate.errors import (
    Denied,
    InvalidHandle,
    IsADirectory,
    LinkMet,
    StorageFailed,
    TidegateError,
    TooManyLinks,
)

RACE_RETRIES: Final = 8
"""Attempts at a step while the tree changes under it."""


class Parent:
    """The directory that holds a name; as a context manager it closes what it owns."""

    __slots__ = ("fd", "name", "owned")

    def __init__(self, fd: int, name: bytes, *, owned: bool) -> None:
        self.fd = fd
        self.name = name
        self.owned = owned

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor if it is ours."""
        if self.owned:
            self.owned = False
            os.close(self.fd)

    def detach(self) -> int:
        """A descriptor of the directory that the caller owns."""
        if self.owned:
            self.owned = False
            return self.fd
        return os.dup(self.fd)

    def lstat(self) -> os.stat_result | None:
        """Attributes of the name, not following; None if nothing has it."""
        try:
            return os.lstat(self.name, dir_fd=self.fd)
        except FileNotFoundError:
            return None


class Located(NamedTuple):
    """The real end of a path: no link any more, or nothing there (`found` None)."""

    parent: Parent
    found: os.stat_result | None


def _leads_straight(fd: int, path: str) -> bool:
    """True if the system calls an open directory by this path: then no link was on the way to it."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == path
    except OSError:
        return False


class Root:
    """One directory and the ways to reach what is below it. All methods block.

    Args:
        path: absolute path on the host; may itself be a link.
        follow_links: True if links inside the root are followed at all.
        kernel: use openat2; None finds out, False forces the portable way.
    """

    __slots__ = (
        "_closing",
        "_follow",
        "_hosts",
        "_kernel",
        "_lock",
        "_pins",
        "_plainly",
        "_resolve",
        "_unlinked",
        "fd",
        "path",
    )

    def __init__(self, path: str, *, follow_links: bool = True, kernel: bool | None = None) -> None:
        self.path = path
        self.fd = -1
        self._follow = follow_links
        self._kernel = kernel
        self._resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (0 if follow_links else RESOLVE_NO_SYMLINKS)
        self._plainly = self._resolve | RESOLVE_NO_SYMLINKS
        self._hosts: tuple[bytes, ...] = ()
        self._lock = threading.Lock()
        self._pins = 0
        self._closing = False
        self._unlinked: UnlinkedRoot | None = None

    def open(self) -> None:
        """Open the directory.

        Raises:
            OSError: it cannot be opened, ENOTDIR if it is none.
        """
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self._kernel is None:
                self._kernel = openat2_works(fd)
            real = self.path if _leads_straight(fd, self.path) else os.path.realpath(self.path)
        except BaseException:
            os.close(fd)
            raise
        plain = os.path.normpath(self.path)
        self._hosts = tuple(dict.fromkeys(map(os.fsencode, (real, plain))))
        self._closing = False
        self.fd = fd

    @property
    def real(self) -> str:
        """The path without links as it was when the root was opened."""
        return os.fsdecode(self._hosts[0])

    def is_current(self) -> bool:
        """True if `path` still leads to the directory that is open.

        Raises:
            OSError: `path` cannot be looked at for another reason than that nothing is there.
        """
        try:
            there = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        here = os.fstat(self.fd)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    # -- life: a thread may still be using the descriptor when the session ends ----------------------------

    def pin(self) -> None:
        """Keep the descriptor open until `unpin`.

        Raises:
            InvalidHandle: closed already.
        """
        with self._lock:
            if self.fd < 0 or self._closing:
                raise InvalidHandle("storage is closed")
            self._pins += 1

    def unpin(self) -> None:
        """Undo one `pin`."""
        with self._lock:
            self._pins -= 1
            self._settle()

    def close(self) -> None:
        """Close now, or when the last pin goes. Safe to call twice."""
        with self._lock:
            self._closing = True
            self._settle()

    def _settle(self) -> None:
        if self._closing and not self._pins and self.fd >= 0:
            fd, self.fd = self.fd, -1
            if self._unlinked is not None:
                self._unlinked.fd = -1
                self._unlinked = None
            os.close(fd)

    def _adopt(self, of: Root) -> None:
        """Use the descriptor of another root, and what that found out."""
        self._kernel, self._hosts, self.fd = of._kernel, of._hosts, of.fd

    @property
    def unlinked(self) -> UnlinkedRoot:
        """The same directory, below which no link is followed. To be asked for once it is open."""
        with self._lock:
            if self._unlinked is None:
                self._unlinked = UnlinkedRoot(self)
            return self._unlinked

    @property
    def following(self) -> Root:
        """The same directory, below which links are followed as the storage is set to."""
        return self

    # -- the ways down -----------------------------------------------------------------------------------

    def resolve(self, path: bytes, flags: int) -> int:
        """Open what `path` leads to, following links inside.

        Args:
            path: relative; may hold ``..`` where it came from a link. Empty is the root.
            flags: of open(2), without O_CREAT and O_TRUNC.

        Raises:
            Denied: it leads outside.
            OSError: as open(2), but ENOENT if a file is where a directory is needed on the way.
        """
        try:
            return self._open_beneath(path, flags)
        except NotADirectoryError:
            if flags & os.O_DIRECTORY:  # the last component itself may be meant
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None

    def _open_beneath(self, path: bytes, flags: int) -> int:
        if self.fd < 0:
            raise InvalidHandle("storage is closed")
        if self._kernel:
            for _ in range(RACE_RETRIES):
                try:
                    return openat2(self.fd, path or b".", flags, self._resolve)
                except OSError as error:
                    if error.errno == errno.EAGAIN:  # a rename raced with ".."
                        continue
                    if error.errno == errno.ELOOP and not self._follow and not flags & os.O_NOFOLLOW:
                        raise self._met_link() from None
                    if error.errno != errno.EXDEV:
                        raise
                    break
        return walk(self.fd, path, flags, self._hosts, max_links=MAX_LINKS if self._follow else 0)

    def _met_link(self) -> TidegateError:
        """The error for a link where none is followed."""
        return Denied(rule="containment")

    @property
    def follows(self) -> bool:
        """True if links are followed."""
        return self._follow

    def plainly(self, path: bytes, flags: int, mode: int = 0) -> int | None:
        """Open, or create if `flags` say so, where no link leads; None if that fails or cannot be told."""
        if self._kernel and self.fd >= 0:
            try:
                return openat2(self.fd, path or b".", flags, self._plainly, mode)
            except OSError:
                return None
        return None

    def plain_parent(self, path: bytes) -> Parent | None:
        """As `parent`, if no link leads there; None if one does, or nothing."""
        if not path or self.fd < 0:
            return None
        cut = path.rfind(b"/")
        if cut < 0:
            return Parent(self.fd, path, owned=False)
        try:
            if self._kernel:
                fd = openat2(self.fd, path[:cut], DIRECTORY, self._plainly)
            else:
                fd = walk(self.fd, path[:cut], DIRECTORY, self._hosts, max_links=0)
        except (OSError, TidegateError):
            return None
        return Parent(fd, path[cut + 1 :], owned=True)

    def parent(self, path: bytes) -> Parent:
        """The directory of `path`'s last component, which is not looked at.

        Raises:
            FileNotFoundError: also if something on the way is a file.
            Denied: it leads outside, or `path` is the root itself.
        """
        if not path:
            raise Denied(rule="root")
        cut = path.rfind(b"/")
        if cut < 0:
            if self.fd < 0:
                raise InvalidHandle("storage is closed")
            return Parent(self.fd, path, owned=False)
        try:
            fd = self.resolve(path[:cut], DIRECTORY)
        except NotADirectoryError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
        return Parent(fd, path[cut + 1 :], owned=True)

    def locate(self, path: bytes) -> Located:
        """Follow links at the last component too, to a name that is no link; it need not exist.

        Raises:
            Denied: it leads outside. TooManyLinks: a loop. IsADirectory: a link that ends in ``.`` or ``..``.
        """
        for _ in range(MAX_LINKS + 1):
            parent = self.parent(path)
            keep, found = False, None
            try:
                found = parent.lstat()
                if found is None or not stat.S_ISLNK(found.st_mode):
                    keep = True
                    return Located(parent, found)
                if not self._follow:
                    raise self._met_link()
                text = os.readlink(parent.name, dir_fd=parent.fd)
            except OSError as error:
                if error.errno in {errno.EINVAL, errno.ENOENT} and not keep and found is not None:
                    continue  # swapped between the two looks
                raise
            finally:
                if not keep:
                    parent.close()
            path = self.beside(path, text)
            if path.rpartition(b"/")[2] in {b"", b".", b".."}:
                os.close(self.resolve(path, DIRECTORY))
                raise IsADirectory
        raise TooManyLinks

    def beside(self, link: bytes, text: bytes) -> bytes:
        """The path that the link at `link` with `text` stands for, relative to the root, not normalised.

        Raises:
            Denied: an absolute text outside the root.
        """
        if text.startswith(b"/"):
            inside = self.within(text)
            if inside is None:
                raise Denied(rule="containment")
            return inside
        cut = link.rfind(b"/")
        path = text if cut < 0 else link[: cut + 1] + text
        if len(path) > 2 * 4096:  # a chain of long relative links
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return path.rstrip(b"/") or b"."

    def within(self, text: bytes) -> bytes | None:
        """An absolute host path as a path relative to this root, None if it is none."""
        return strip_host(text.rstrip(b"/") or b"/", self._hosts)

    def depth(self, directory: int) -> int:
        """The number of directories that `directory` is below the root, counted by climbing.

        Raises:
            Denied: the climb does not meet the root.
        """
        goal = os.fstat(self.fd)
        here = os.dup(directory)
        try:
            for count in range(4096):
                now = os.fstat(here)
                if (now.st_dev, now.st_ino) == (goal.st_dev, goal.st_ino):
                    return count
                up = os.open(b"..", DIRECTORY, dir_fd=here)
                os.close(here)
                here = up
        finally:
            os.close(here)
        raise Denied(rule="containment")


class UnlinkedRoot(Root):
    """The same directory as another root; a link on the way is `LinkMet`.

    What was resolved and judged is reached through this, so that a link put there meanwhile leads nowhere.
    """

    __slots__ = ("_of",)

    def __init__(self, of: Root) -> None:
        super().__init__(of.path, follow_links=False)
        self._of = of
        self._adopt(of)

    def pin(self) -> None:
        """See `Root.pin`."""
        self._of.pin()

    def unpin(self) -> None:
        """See `Root.unpin`."""
        self._of.unpin()

    def close(self) -> None:
        """See `Root.close`."""
        self._of.close()

    @property
    def unlinked(self) -> UnlinkedRoot:
        """Itself."""
        return self

    @property
    def following(self) -> Root:
        """The root whose descriptor this uses."""
        return self._of

    def _met_link(self) -> TidegateError:
        return LinkMet()

    def _open_beneath(self, path: bytes, flags: int) -> int:
        try:
            return super()._open_beneath(path, flags)
        except Denied:  # `walk` says so of a link; a key has nothing else that leads out
            raise LinkMet from None


def make_root(path: str, *, mode: int, uid: int | None, gid: int | None) -> None:
    """Create the root and missing parents; only the last one gets `mode` and owner.

    Parents belong to the server's user and have mode 0755 whatever the umask is: everybody may pass, and no
    account owns what lies above its home.

    Raises:
        StorageFailed: something that is no directory has the name.
    """
    if os.path.isdir(path):
        return
    _make_parents(os.path.dirname(path))
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise StorageFailed("storage root is not a directory") from None
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0 and (uid is not None or gid is not None):
            os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _make_parents(path: str) -> None:
    missing: list[str] = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for name in reversed(missing):
        try:
            os.mkdir(name, 0o755)
        except FileExistsError:
            continue  # another session was faster, or it is no directory, which the next step says
        os.chmod(name, 0o755)  # noqa: S103  as documented: others may pass, nobody else may write


__all__ = ["RACE_RETRIES", "Located", "Parent", "Root", "UnlinkedRoot", "make_root"]
