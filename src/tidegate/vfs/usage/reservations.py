# SPDX-License-Identifier: Apache-2.0
"""Charges of open uploads, path by path, so that overlapping acts on one path add up exactly.

Two uploads may write one path, a third session may remove or rename it meanwhile. A `PathState` exists for a
path while somebody writes it or changes it; it serialises publishing, removing and renaming there, and
knows how many bytes are charged for the visible file.

* In-place writers of one path share a `Reservation`: bytes are charged once, however many handles write
  them.
* An unpublished upload has a `Reservation` of its own that starts at the size of the visible file: bytes
  up to there are paid for by the file that will go, only growth beyond is charged. When it is published
  the difference to what is visible *then* is settled. One upload of a path at a time has that loan; it
  ends when the file goes before the upload does.
* A directory that moves to where it is charged elsewhere is `still` meanwhile: nothing in it changes between
  being counted and being renamed.
* A file that is removed or replaced while it is written in place lies on the disk until the last of its
  writers closes it, and so long it stays charged.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from tidegate.abc import Backend, Key
from tidegate.errors import Conflict


class Borrower(Protocol):
    """An unpublished upload whose bytes the visible file pays for, up to the size of that."""

    def stand_alone(self) -> None:
        """The visible file goes, and its charge with it: charge what was written."""
        ...


class Reservation:
    """Bytes charged for content that is being written.

    Attributes:
        charged: content up to this size is paid for.
        floor: what the visible file pays of it (0 for a shared one: it owns what it charged).
        writers: handles that share it.
        born: the file came into being by them, so nobody has agreed to it yet.
        loose: bytes of it that were appended beside other writers, so that nobody knows where they are.
        state: of the path where a shared one is visible; a rename moves it.
        gone: the path was removed or replaced under the writers; nothing of it is visible any more, and what
            is charged is given back when the last of them closes.
        judging: those of them whose end waits for inspectors, or for what follows from their answer.
        lost: it was replaced before its end by an upload that was refused: nothing of it came back.
        pending: it was published, and waits for a verdict; a refusal puts back what was there before.
        resizing: changes of the size that are under way; writing likewise.
        suspect: something went wrong; what is charged has to be compared with the file.
    """

    __slots__ = (
        *("born", "charged", "floor", "gone", "judging", "loose", "lost", "pending"),
        *("resizing", "state", "suspect", "writers", "writing"),
    )

    def __init__(self, state: PathState, charged: int, floor: int = 0) -> None:
        self.state = state
        self.charged = charged
        self.floor = floor
        self.writers = self.judging = self.loose = 0
        self.born = self.gone = self.lost = self.pending = False
        self.resizing = self.writing = 0
        self.suspect = False


class PathState:
    """One path of one backend while it is being changed.

    Attributes:
        at: backend and key; renaming a directory above changes the key.
        number: in which order the states came to be; locks are taken in it.
        reservation: shared by in-place writers, None if there are none.
        known: True if `visible` has been found out.
        visible: bytes that are charged for the file of that name, None if none are; while there is a
            shared reservation, that counts instead.
        borrower: the unpublished upload that the visible file pays for.
        turn: held by the upload of it that others see and that is being decided; None if there was none.
    """

    __slots__ = ("at", "borrower", "known", "lock", "number", "reservation", "turn", "users", "visible")

    def __init__(self, at: tuple[Backend, Key], number: int) -> None:
        self.at = at
        self.number = number
        self.reservation: Reservation | None = None
        self.lock = asyncio.Lock()
        self.users = 0
        self.known = False
        self.visible: int | None = None
        self.borrower: Borrower | None = None
        self.turn: asyncio.Lock | None = None

    def learn(self, found: int | None) -> int | None:
        """The charge for the visible file; `found` is what storage says, believed at first sight."""
        if self.reservation is not None:
            return self.reservation.charged
        if not self.known:
            self.known, self.visible = True, found
        return self.visible

    def freed(self, found: int | None) -> int:
        """Bytes that are given back at once when the visible file goes; those of in-place writers are not."""
        visible = self.learn(found)
        return 0 if self.reservation is not None else visible or 0

    def resized(self, old: int, size: int) -> None:
        """The visible file went from `old` to `size`, and that is settled."""
        if self.reservation is not None:
            self.reservation.charged += size - old
            self.reservation.suspect = True  # who wrote meanwhile did so before or after
        self.known, self.visible = True, size
        if size < old:
            self.end_loan()

    def end_loan(self) -> None:
        """End the loan of the visible file: it pays for no upload any more."""
        if self.borrower is not None:
            borrower, self.borrower = self.borrower, None
            borrower.stand_alone()

    def becomes(self, size: int | None) -> None:
        """Another file, or none, is visible now, and whoever did it has given back what is `freed`.

        In-place writers go on writing what nobody sees, and settle it when the last of them closes.
        """
        self.known, self.visible = True, size
        if self.reservation is not None:
            self.reservation.gone = True
            self.reservation = None
        self.end_loan()


class PathTable:
    """The state of every path in use, over all sessions of the process."""

    def __init__(self) -> None:
        self._states: dict[tuple[int, Key], PathState] = {}
        self._numbers = itertools.count()
        self._still: dict[tuple[int, Key], asyncio.Event] = {}  # directories, and what says that they go on

    def __len__(self) -> int:
        return len(self._states)

    def in_use(self, backend: Backend, key: Key) -> bool:
        """True if somebody writes the path or changes it, or may not do so now."""
        return (id(backend), key) in self._states or bool(self._still and self._holding_up(backend, key))

    def used_below(self, backend: Backend, key: Key) -> bool:
        """True if somebody writes or changes a path below a directory."""
        prefix = f"{key}/" if key else ""
        return any(
            of == id(backend) and at.startswith(prefix) and at != key and at[:1] != "/"
            for of, at in self._states
        )

    def written_below(self, backend: Backend, key: Key) -> bool:
        """True if somebody writes a file in place below a directory."""
        return any(
            of == id(backend) and at.startswith(f"{key}/") and state.reservation is not None
            for (of, at), state in self._states.items()
        )

    @contextmanager
    def still(self, backend: Backend, key: Key) -> Iterator[None]:
        """Let nobody begin to change what is in a directory, whose path the caller has locked.

        Raises:
            Conflict: somebody does so now.
        """
        if any(of == id(backend) and at.startswith(f"{key}/") for of, at in self._states):
            raise Conflict("file is being written")
        event = self._still[id(backend), key] = asyncio.Event()
        try:
            yield
        finally:
            del self._still[id(backend), key]
            event.set()

    def _holding_up(self, backend: Backend, key: Key) -> asyncio.Event | None:
        for (of, directory), event in self._still.items():
            if of == id(backend) and key.startswith(f"{directory}/"):
                return event
        return None

    async def may_change(self, *paths: tuple[Backend, Key]) -> None:
        """Wait until none of these paths is in a directory that has to be still."""
        while self._still:
            events = [event for at in paths if (event := self._holding_up(*at)) is not None]
            if not events:
                return
            await events[0].wait()

    def find(self, backend: Backend, key: Key) -> PathState | None:
        """The state of a path, if anybody holds it."""
        return self._states.get((id(backend), key))

    def hold(self, backend: Backend, key: Key) -> PathState:
        """The state of a path, until `let_go`."""
        at = (id(backend), key)
        state = self._states.get(at)
        if state is None:
            state = self._states[at] = PathState((backend, key), next(self._numbers))
        state.users += 1
        return state

    def let_go(self, state: PathState) -> None:
        """End one `hold`."""
        state.users -= 1
        if not state.users:
            backend, key = state.at
            del self._states[id(backend), key]

    def moved(self, here: PathState, there: PathState) -> None:
        """A file was renamed: those who write it in place go along; who has yet to publish stays."""
        reservation, here.reservation = here.reservation, None
        there.reservation = reservation
        if reservation is not None:
            reservation.state = there
            here.users -= reservation.writers  # the renaming act still holds both
            there.users += reservation.writers

    def moved_tree(self, backend: Backend, source: Key, target: Key) -> None:
        """A directory was renamed, with everything in it."""
        prefix = f"{source}/"
        for (of, key), state in list(self._states.items()):
            if of == id(backend) and key.startswith(prefix):
                goes = f"{target}/{key[len(prefix) :]}"
                if (of, goes) not in self._states:
                    del self._states[of, key]
                    self._states[of, goes] = state
                    state.at = (backend, goes)

    @asynccontextmanager
    async def locked(self, *paths: tuple[Backend, Key]) -> AsyncIterator[list[PathState]]:
        """Hold and lock some paths; always taken in one order, so two renames never wait for each other."""
        await self.may_change(*paths)
        held = [self.hold(backend, key) for backend, key in paths]
        ordered = sorted({state.number: state for state in held}.items())
        taken: list[PathState] = []
        try:
            for _, state in ordered:
                await state.lock.acquire()
                taken.append(state)
            yield held
        finally:
            for state in taken:
                state.lock.release()
            for state in held:
                self.let_go(state)
