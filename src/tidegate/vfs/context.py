# SPDX-License-Identifier: Apache-2.0
"""Shared by the parts of one session: principal, gate, mounts, usage, and the way to the event bus.

Long, because each act is judged, inspected, put on record and charged in one order, whatever part does it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict, cast

from tidegate.abc import Backend, KnowsPlaces, LockTable, OpenOptions, Publish, Surveys
from tidegate.cluster.registry import LiveTransfer
from tidegate.contracts.inspection import Inspected, InspectedAct
from tidegate.errors import (
    Denied,
    Locked,
    NotFound,
    ProviderUnavailable,
    QuotaExceeded,
    TidegateError,
    TooLarge,
)
from tidegate.events.kinds import NOTHING_SET, Event, Operated, Quarantined, Refused
from tidegate.inspection.inspections import RULE_PROTOCOL, Inspections
from tidegate.inspection.inspections import Refused as Rejected
from tidegate.model import (
    Action,
    Attrs,
    Entry,
    FilePatterns,
    Intent,
    Origin,
    Peer,
    Principal,
    ProgramUse,
    VPath,
)
from tidegate.policy.decision import Decision
from tidegate.policy.gate import Gate
from tidegate.policy.renames import replaces
from tidegate.policy.throttle import TokenBucket
from tidegate.resources.room import Room
from tidegate.vfs.acts import Acts
from tidegate.vfs.api import Exchange
from tidegate.vfs.contracts import fulfils
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import Mount, MountTable, ResolvedPath
from tidegate.vfs.staged import STAGED
from tidegate.vfs.usage.reservations import PathState, PathTable
from tidegate.vfs.usage.tracker import AccountUsage, UsageTracker

if TYPE_CHECKING:
    from tidegate.inspection.early import Begun
    from tidegate.vfs.property_index import PropertyIndex

_LOOKS: Final = frozenset((Intent.LIST, Intent.STAT, Intent.READLINK, Intent.CHECKSUM, Intent.SPACE))
"""Intents that change nothing and make no event."""

MAX_OPEN_FILES: Final = 1024
"""Files one session may have open at a time; what OpenSSH's server takes from its descriptor limit."""


EARLY_BYTES: Final = 256 * 1024 * 1024
"""Default of `VfsOptions.early`."""


class Answer(TypedDict, total=False):
    """Fields of events about a command and its reply."""

    command: str
    reply: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VfsOptions:
    """Settings of the server that concern files.

    Attributes:
        upload_mode: when an upload becomes visible.
        setstat_mode: 0 sets what is asked; 1 ignores mode, owner and times silently; 2 ignores those the
            storage does not have.
        map_owners: give new files and directories the account's uid and gid; possible as root only.
        max_open_files: files one session may have open.
        fsync: make uploads durable before they are acknowledged.
        rename_onto: what a rename that need not replace does with a new name that exists, where neither
            account nor binding says.
        early: bytes of uploads that wait for those before them, of all files of the process.
        names: patterns for names in every directory of every account.
    """

    upload_mode: Publish = Publish.INPLACE
    setstat_mode: int = 0
    map_owners: bool = False
    max_open_files: int = MAX_OPEN_FILES
    fsync: bool = False
    rename_onto: str = ""
    early: Room = field(default_factory=lambda: Room(EARLY_BYTES))
    names: FilePatterns | None = None


class Kept(Protocol):
    """Takes events that must not be lost; the bus does.

    Attributes:
        uploads: True while ends of uploads are among those; downloads likewise.
    """

    uploads: bool
    downloads: bool

    @property
    def full(self) -> bool:
        """True while nothing may be done that would have to be told."""
        ...

    def wants(self, event: Event) -> bool:
        """True if an event is one of those."""
        ...

    async def record(self, event: Event) -> None:
        """Take an event, and return when it is stored if it is one of those.

        Raises:
            ProviderUnavailable: it is not stored.
        """
        ...

    def record_nowait(self, event: Event) -> asyncio.Future[None] | None:
        """As `record`; the future ends when the event is stored, None if it is not one of those."""
        ...


class OpenFile(Protocol):
    """An open file, as the session uses it."""

    async def abort(self) -> None:
        """End it as failed; never raises."""
        ...


@dataclass(slots=True, eq=False)
class Context:
    """One session's surroundings.

    Attributes:
        inspections: asked before transfers and removals count.
        kept: takes events of what is done, if some must not be lost.
        up: the bucket that uploads pay, None if bandwidth is free; down likewise.
        acts: operations under way, of all sessions.
        acting: those of this session.
        locks: write locks of the server.
        properties: which storage has dead properties.
        programs: places that a system program may change now, of all sessions.
        transfers: what is being moved now; the registry shows it.
        files: open files, in the order in which they were opened.
        own: the session's uploads that are not published yet, see `tidegate.vfs.files.own_uploads`.
        opening: files about to be open.
        created: options of the last new file; a client mostly asks for the same again.
        origin: of the session's events.
        exchange: the command that is carried out, in protocols with reply codes.
        renames_replace: True if every rename replaces what has the new name.
    """

    principal: Principal
    peer: Peer
    gate: Gate
    table: MountTable
    tracker: UsageTracker
    usage: AccountUsage
    paths: PathTable
    options: VfsOptions
    emit: Callable[[Event], None]
    acts: Acts
    locks: LockTable
    programs: dict[object, str]
    properties: PropertyIndex
    kept: Kept | None = None
    inspections: Inspections | None = None
    up: TokenBucket | None = None
    down: TokenBucket | None = None
    acting: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    transfers: set[LiveTransfer] = field(default_factory=set)
    files: dict[OpenFile, None] = field(default_factory=dict)
    own: dict[PathState, Upload] = field(default_factory=dict)
    opening: int = 0
    created: OpenOptions | None = None
    exchange: Exchange | None = None
    origin: Origin = field(init=False)
    renames_replace: bool = field(init=False)

    def __post_init__(self) -> None:
        peer = self.peer
        self.renames_replace = replaces(self.principal.account, peer.rename_onto, self.options.rename_onto)
        self.origin = Origin.of(peer, self.principal.username)

    def require(
        self,
        intent: Intent,
        path: VPath,
        *,
        target: VPath | None = None,
        is_dir: bool = False,
        exists: bool | None = None,
        target_exists: bool = False,
    ) -> None:
        """Ask the gate; a refusal goes on record and is raised.

        Raises:
            Denied, NotFound: refused.
            ProviderUnavailable: what is done now could not be told.
        """
        if self.kept is not None and self.kept.full and intent not in _LOOKS:
            raise ProviderUnavailable
        decision = self.gate.decide(
            intent, path, target=target, is_dir=is_dir, exists=exists, target_exists=target_exists
        )
        if not decision.allowed:
            self.refuse(intent, path, decision)

    def refuse(self, intent: Intent, path: VPath, decision: Decision) -> None:
        """Record a refusal and raise it."""
        self._record(intent, path, decision.rule, Denied(decision.text))
        try:
            decision.require()
        except TidegateError as error:
            error.told = True
            raise

    def deny(self, intent: Intent, path: VPath, text: str, rule: str) -> Denied:
        """Record a refusal that is decided here; returns the error to raise."""
        return cast("Denied", self.refused(intent, path, Denied(text, rule=rule), rule))

    def refused(self, intent: Intent, path: VPath, error: TidegateError, rule: str) -> TidegateError:
        """Record that `error` refuses something by a rule; returns it."""
        self._record(intent, path, rule, error)
        error.told = True
        return error

    def over(self, intent: Intent | ProgramUse, path: VPath, error: QuotaExceeded | TooLarge) -> None:
        """Record that a limit said no."""
        rule = error.rule if isinstance(error, QuotaExceeded) else "max_upload_file_size"
        self._record(intent, path, rule, error)
        error.told = True

    @property
    def publish(self) -> Publish:
        """The time at which uploads become visible: not before their end where the old file has to stay."""
        mode, inspections = self.options.upload_mode, self.inspections
        if mode is Publish.INPLACE and inspections is not None and inspections.keeps_old:
            return Publish.ATOMIC
        return mode

    @property
    def publish_new(self) -> Publish:
        """As `publish`, of a file that replaces none."""
        mode, inspections = self.options.upload_mode, self.inspections
        if mode is Publish.INPLACE and inspections is not None and inspections.hides_new:
            return Publish.ATOMIC
        return mode

    @property
    def inspects_uploads(self) -> bool:
        """True if somebody is asked before an upload is published."""
        return self.inspections is not None and self.inspections.upload

    @property
    def copies_settled(self) -> bool:
        """True if nothing is copied that somebody writes in place: its copy would be there without a verdict.

        An action of a rule copies the very upload whose client waits for it, where nothing else is asked.
        """
        inspections = self.inspections
        if inspections is None or not inspections.upload:
            return False
        return inspections.hides_new or self.origin.protocol != RULE_PROTOCOL

    async def inspect(
        self,
        kind: Inspected,
        intent: Intent,
        path: VPath,
        *,
        size: int | None = None,
        location: str = "",
        read: Callable[[int, int], Awaitable[bytes]] | None = None,
        complete: bool = True,
        open_flags: int = 0,
        resized: bool = False,
        begun: Begun | None = None,
        named: bool | None = None,
    ) -> None:
        """Ask the inspectors; a refusal goes on record and is raised.

        Args:
            kind: what is about to count; what follows is of it, as in `InspectedAct`.
            intent: what it is to the gate.
            path: what the client calls it.
            size: see `InspectedAct`; location, read, complete, open_flags and resized likewise.
            location: see there.
            read: see there.
            complete: see there.
            open_flags: see there.
            resized: see there.
            begun: see `Inspections.require`; named likewise.
            named: see there.

        Raises:
            Denied: refused.
        """
        if self.inspections is None:
            return
        staged = STAGED.get()
        if staged is not None and staged.swapped and staged.context is self:
            return  # asked before it was replaced
        act = InspectedAct(
            kind,
            self.origin,
            path,
            size=size,
            location=location,
            read=read,
            complete=complete,
            open_flags=open_flags,
            resized=resized,
        )
        try:
            await self.inspections.require(act, begun, named=named)
        except Rejected as error:
            raise await self._rejected(intent, path, error) from None

    async def _rejected(self, intent: Intent, path: VPath, error: Rejected) -> TidegateError:
        """Record the refusal of an inspector; returns it."""
        self._record(intent, path, error.rule, error, infected=error.infected)
        error.told = True
        kept = error.kept
        if kept is not None:
            await self.tell(
                Quarantined(
                    origin=self.origin,
                    name=kept.id,
                    virtual_path=path,
                    rule=kept.rule,
                    text=kept.reason,
                    size=kept.size,
                )
            )
        return error

    def limits(self, intent: Intent, path: VPath) -> _Limits:
        """Record a limit that says no within."""
        return _Limits(self, intent, path)

    def limits_of(self, use: ProgramUse, path: VPath) -> _Limits:
        """As `limits`, for a program."""
        return _Limits(self, use, path)

    def refused_program(self, use: ProgramUse, path: VPath, error: TidegateError) -> TidegateError:
        """Record that a program is refused; returns the error."""
        rule = error.rule if isinstance(error, Denied | Locked) else "storage"
        self._record(use, path, rule, error)
        error.told = True
        return error

    def answer(self, error: TidegateError | None) -> Answer:
        """The fields of an event about the command and its reply; none in protocols without codes."""
        exchange = self.exchange
        return {} if exchange is None else {"command": exchange.command, "reply": exchange.code(error)}

    def _record(
        self,
        intent: Intent | ProgramUse,
        path: VPath,
        rule: str,
        error: TidegateError,
        *,
        infected: bool = False,
    ) -> None:
        self.emit(
            Refused(
                origin=self.origin,
                intent=intent.value,
                virtual_path=path,
                rule=rule,
                text=error.text,
                infected=infected,
                **self.answer(error),
            )
        )

    async def tell(self, event: Event) -> None:
        """Emit the event of something done, and return when it is stored if it is a kept one.

        Raises:
            ProviderUnavailable: it is not.
        """
        staged = STAGED.get()
        if staged is not None and staged.keeps(self, event):
            return
        if self.kept is None:
            self.emit(event)
        else:
            await self.kept.record(event)

    async def operated(
        self,
        action: Action,
        path: VPath,
        file_path: str,
        started: float,
        *,
        target: VPath | str = "",
        target_path: str = "",
        attrs: Attrs = NOTHING_SET,
        size: int = -1,
    ) -> None:
        """Record something done; `started` is of `time.monotonic`."""
        await self.tell(
            Operated(
                origin=self.origin,
                action=action,
                virtual_path=path,
                virtual_target_path=str(target),
                file_path=file_path,
                target_path=target_path,
                elapsed=time.monotonic() - started,
                attrs=attrs,
                size=size,
                storage=self.table.kind_of(path),
                **self.answer(None),
            )
        )

    @property
    def resumable(self) -> bool:
        """True if an upload that breaks off is kept for resuming."""
        return self.options.upload_mode is Publish.RESUMABLE

    @property
    def owner(self) -> tuple[int | None, int | None]:
        """Owner and group for new files; None leaves the server's own."""
        account = self.principal.account
        if not self.options.map_owners:
            return None, None
        return account.uid or None, account.gid or None

    async def charged(self, path: VPath, *, follow: bool = False) -> ResolvedPath:
        """The place of a path whose usage may change: one file has one place, whatever links lead there.

        Only where something is counted, rules differ from place to place, or uploads are published later.
        """
        resolved = await self.table.at(path)
        if not self._placed(resolved.mount):
            return resolved
        backend = _knowing(resolved.backend)
        if backend is None:
            return resolved
        return resolved._replace(key=await backend.place_of(resolved.key, follow=follow))

    async def survey(self, path: VPath) -> tuple[ResolvedPath, Entry | None]:
        """`charged`, and what is there, not following; None if nothing is."""
        resolved = await self.table.at(path)
        backend = resolved.backend
        if self._placed(resolved.mount):
            knowing = _knowing(backend)
            backend = self.through(resolved)
            if knowing is not None and fulfils(backend, Surveys):
                key, entry = await backend.survey(resolved.key)
                return (resolved if key == resolved.key else resolved._replace(key=key)), entry
            if knowing is not None:
                resolved = resolved._replace(key=await knowing.place_of(resolved.key, follow=False))
        try:
            return resolved, await backend.stat(resolved.key, follow=False)
        except NotFound:
            return resolved, None

    def _placed(self, mount: Mount) -> bool:
        published = self.publish is Publish.INPLACE
        return bool(mount.charges.grow) or not self.gate.uniform or not published

    def place(self, path: VPath, resolved: ResolvedPath) -> VPath:
        """The virtual path of where `charged` or `survey` found that `path` leads."""
        mount = resolved.mount
        return path if path.relative_to(mount.path) == resolved.key else mount.virtual(resolved.key)

    def through(self, resolved: ResolvedPath) -> Backend:
        """The storage to act with on a place that was judged: a link put there meanwhile is not followed.

        The act then raises `LinkMet` and nothing is done; see `tidegate.vfs.files.reach`.
        """
        knowing = None if self.gate.uniform else _knowing(resolved.backend)
        return resolved.backend if knowing is None else knowing.unlinked

    def opening_through(self, resolved: ResolvedPath) -> Backend:
        """`through`, for opening what `charged` or `survey` found: what is charged is what is written.

        It follows no link either where links matter to no permission but something is counted.
        """
        knowing = _knowing(resolved.backend) if self._placed(resolved.mount) else None
        return resolved.backend if knowing is None else knowing.unlinked

    async def begin(self, mount: Mount) -> None:
        """Usage of a mount is about to change; operations call `Act.begin`, which knows when it is over."""
        await self.tracker.begin(self.usage, mount.usage)

    def shifted(self, *mounts: Mount) -> None:
        """Something gets another name there; said before it does and after."""
        for mount in mounts:
            self.tracker.shifted(self.usage, mount.usage)

    def changed(self) -> None:
        """Usage changed."""
        self.tracker.changed(self.usage)


def _knowing(backend: Backend) -> KnowsPlaces | None:
    """The backend, if it knows places."""
    return backend if fulfils(backend, KnowsPlaces) else None


class _Limits:
    """`Context.limits`; a generator would cost more than what stands within."""

    __slots__ = ("_context", "_intent", "_path")

    def __init__(self, context: Context, intent: Intent | ProgramUse, path: VPath) -> None:
        self._context = context
        self._intent = intent
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and isinstance(error, QuotaExceeded | TooLarge):
            self._context.over(self._intent, self._path, error)


def rejected(error: BaseException) -> bool:
    """True if an upload ended because a limit said no."""
    return isinstance(error, (QuotaExceeded, TooLarge))


def text_of(error: BaseException | None) -> str:
    """The text of an error in a log line."""
    if error is None:
        return ""
    return error.text if isinstance(error, TidegateError) else type(error).__name__
