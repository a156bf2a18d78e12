# SPDX-License-Identifier: Apache-2.0
"""Names of a repository (everything in it that is no object) written back from a copy of it.

Nothing is replaced or removed but what the copy was made of, whoever writes at the same time:

* Storage that has versions (buckets, encrypted ones too) stores a name on the condition that it still has
  the version that was compared.
* Elsewhere names are locked as git locks them: ``NAME.lock`` is made, which must not be there before, the
  name is compared, and the lock is renamed over it. A git that works on the same files (on the far host of
  an SFTP storage) and other servers do the same, so that one of two has the lock. A lock that this server
  left when it was killed is removed by its next push, which has a note of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from tidegate.doors.ssh.programs.lock_notes import LockNote
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    IsADirectory,
    NotADirectory,
    NotFound,
    TidegateError,
)
from tidegate.model import VPath
from tidegate.vfs.api import OpenFlags, Session

PIECE_BYTES: Final = 256 * 1024
"""Bytes of one read and write."""
NOTHING: Final = b"0" * 40 + b"\n"
"""A name that stands for no object; git ignores it."""
LOCK: Final = ".lock"
"""End of the name of git's locks."""


_log = logging.getLogger(__name__)

digest = hashlib.sha256
"""Of the content of a name: some are large, and none is kept in memory."""


class Names:
    """Writes names back.

    Args:
        session: through which it is done.
        path: the path of a name in the tree of the account.
        before: `digest` of each name when the copy was made.
        versioned: the storage tells versions and obeys them.
        note: of the locks; None notes nothing.
    """

    def __init__(
        self,
        session: Session,
        path: Callable[[str], VPath],
        before: Mapping[str, str],
        *,
        versioned: bool,
        note: LockNote | None = None,
    ) -> None:
        self._note = note
        self._session = session
        self._path = path
        self._before = before
        self._versioned = versioned

    async def store(
        self, changed: Mapping[str, bytes], gone: Sequence[str], directories: Iterable[str] = ()
    ) -> None:
        """Store changed names and remove others.

        Args:
            changed: content by name, in the order in which they are stored.
            gone: names to remove.
            directories: those that go with them, if nothing else is in them; a changed name may take the
                place of one.

        Raises:
            Conflict: somebody else changed one; nothing of theirs was replaced.
            TidegateError: something cannot be written; names may be stored in part.
        """
        names = [*changed, *gone]
        emptied = sorted(directories, key=len, reverse=True)
        early = [name for name in changed if name not in emptied]
        late = [name for name in changed if name in emptied]
        held: list[str] = []
        versions: dict[str, str] = {}

        async def put(name: str) -> None:
            if self._versioned:
                await self._write(name, changed[name], versions[name])
                return
            await self._session.rename(self._path(name + LOCK), self._path(name), replace=True)
            held.remove(name)

        try:
            if not self._versioned:
                await self._lock_all({name: changed.get(name, b"") for name in names}, held)
            versions = await self._compared(names)
            for name in early:
                await put(name)
            for name in gone:
                await self._remove(name, versions[name])
                if name in held:
                    await self._session.remove(self._path(name + LOCK))
                    held.remove(name)
            for directory in emptied:
                with suppress(TidegateError):  # somebody may use it meanwhile
                    await self._session.rmdir(self._path(directory))
            for name in late:
                await put(name)
        finally:
            for name in held:
                with suppress(TidegateError):
                    await self._session.remove(self._path(name + LOCK))
            if self._note is not None:
                await asyncio.to_thread(self._note.end)

    async def _lock_all(self, wanted: Mapping[str, bytes], held: list[str]) -> None:
        """Make the lock of each name, with what the name is to be; those that are made are in `held`.

        Raises:
            Conflict: somebody else has one.
        """
        if self._note is not None:
            digests = {name: digest(content).hexdigest() for name, content in wanted.items()}
            try:
                await asyncio.to_thread(self._note.begin, digests)
            except OSError as error:
                _log.warning("locks of git cannot be noted: %s", error)
        for name in sorted(wanted):
            await self._lock(name, wanted[name])
            held.append(name)

    async def _compared(self, names: Sequence[str]) -> dict[str, str]:
        """The version of each name, all of them as they were when the copy was made.

        Raises:
            Conflict: one is not.
        """
        versions: dict[str, str] = {}
        for name in names:
            found, versions[name] = await self._look(name)
            if found != self._before.get(name):
                raise _changed(name)
        return versions

    async def _look(self, name: str) -> tuple[str | None, str]:
        """The digest of a name now, None if it is not there; and its version."""
        try:
            file = await self._session.open(self._path(name), OpenFlags(read=True))
        except (NotFound, NotADirectory, IsADirectory):
            return None, ""
        found, offset = digest(), 0
        try:
            version = file.version
            while piece := await file.read(offset, PIECE_BYTES):
                found.update(piece)
                offset += len(piece)
        finally:
            await file.close()
        return found.hexdigest(), version

    # -- one name ----------------------------------------------------------------------------------------

    async def _write(self, name: str, content: bytes, version: str) -> None:
        """Store a name in place of what was read of it and of nothing else.

        Raises:
            Conflict: there is something else.
        """
        try:
            await self._put(name, content, replaces=version, new=name not in self._before)
        except (AlreadyExists, Conflict):
            raise _changed(name) from None

    async def _put(self, name: str, content: bytes, *, replaces: str = "", new: bool) -> None:
        flags = OpenFlags(write=True, create=True, truncate=True, exclusive=new, replaces=replaces)
        file = await self._session.open(self._path(name), flags)
        try:
            for offset in range(0, len(content), PIECE_BYTES):
                await file.write(offset, content[offset : offset + PIECE_BYTES])
        except BaseException:
            await file.abort()
            if new:
                await self._remove_cut(name, content)
            raise
        await file.close()

    async def _remove_cut(self, name: str, content: bytes) -> None:
        """Remove a name of which only the beginning arrived (upload_mode 0): git would take it for broken."""
        with suppress(TidegateError):
            found, _ = await self._look(name)
            size = (await self._session.stat(self._path(name))).size
            if size < len(content) and found == digest(content[:size]).hexdigest():
                await self._session.remove(self._path(name))

    async def _remove(self, name: str, version: str) -> None:
        """Remove what was read, and nothing that came after it.

        Storage removes whatever is there. Where it has versions the name first becomes `NOTHING`, on the
        condition that it is the one that was read: who changes it at the same time then finds it changed.

        Raises:
            Conflict: there is something else.
        """
        if version and name.startswith("refs/"):
            await self._write(name, NOTHING, version)
        await self._session.remove(self._path(name))

    async def _lock(self, name: str, content: bytes) -> None:
        """Make the lock of a name, which holds what the name is to be.

        Raises:
            Conflict: somebody else has it.
        """
        lock = self._path(name + LOCK)
        for again in (False, True):
            try:
                await self._put(name + LOCK, content, new=True)
            except AlreadyExists:
                if again or not await self._was_left(name):
                    raise Conflict(
                        f"{name} is locked by another push; push again, and if none is at work remove "
                        f"{name}{LOCK}"
                    ) from None
                _log.warning("%s was left by a push of this server that was cut off; it is removed", lock)
                await self._session.remove(lock)
            else:
                return

    async def _was_left(self, name: str) -> bool:
        """True if the lock of a name is the very one that this server left when it was killed."""
        noted = None if self._note is None else self._note.left.pop(name, None)
        return noted is not None and (await self._look(name + LOCK))[0] == noted


def _changed(name: str) -> Conflict:
    return Conflict(f"the repository was changed meanwhile ({name}); fetch, and push again")
