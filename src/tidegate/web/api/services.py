# SPDX-License-Identifier: Apache-2.0
"""The services that handlers work with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from tidegate.accounts.administration import Administration
from tidegate.accounts.rules import Rules
from tidegate.cluster.registry import Registry
from tidegate.config.load import Loaded
from tidegate.defence.defender import Host
from tidegate.errors import Conflict
from tidegate.events.kinds import Event
from tidegate.identity.admins import AdminLogin
from tidegate.identity.api import LoginService
from tidegate.identity.hashing import PasswordChecker
from tidegate.identity.htpasswd import HtpasswdFile
from tidegate.identity.passwords import HashOptions
from tidegate.identity.throttle import LoginThrottle
from tidegate.model.door import DoorStatus
from tidegate.model.geography import Locate, nowhere
from tidegate.store.contract import Provider
from tidegate.vfs.factory import VfsSessions
from tidegate.web.api.backups import Backups
from tidegate.web.api.health import Health
from tidegate.web.api.security import Tokens
from tidegate.web.telemetry.application import Ready

if TYPE_CHECKING:
    from tidegate.defence.explaining import ConnectAnswer
    from tidegate.health.certificates import Dated
    from tidegate.hooks.rehearsing import HookAnswers
    from tidegate.identity.second_factor import SecondFactors
    from tidegate.inspection.quarantine import Item
    from tidegate.model import Account, Peer
    from tidegate.relocation.moves import Moves
    from tidegate.web.api.log_lines import LogSearches
    from tidegate.web.api.table_jobs import TableJobs

MAX_JOBS: Final = 8
"""Background jobs (scans after a load) at a time."""

_log = logging.getLogger(__name__)


class Connections(Protocol):
    """The users that are connected to this server, whatever the protocol, and the doors they came by."""

    def usernames(self) -> set[str]:
        """Accounts that have a connection."""
        ...

    def close_user(self, username: str, *, by: str) -> int:
        """End every connection of an account; returns how many there were."""
        ...

    def status(self) -> list[DoorStatus]:
        """Every door as it is now."""
        ...


class ExplainsHooks(Protocol):
    """Names or asks the hooks of a login."""

    async def __call__(
        self,
        loaded: Loaded,
        username: str,
        account: Account | None,
        *,
        peer: Peer,
        method: str,
        secret: str | None,
    ) -> HookAnswers:
        """The hooks; with a `secret` they are asked. Nothing that they answer is stored."""
        ...


class EventRuleHost(Protocol):
    """The event rules of this server."""

    async def refresh(self) -> None:
        """Take over rules as they are stored now."""
        ...

    async def run_rule(self, name: str) -> None:
        """Have a rule run that is there to be run on demand.

        Raises:
            NotFound: there is none of this name.
            BadRecord: it has another trigger, or is not active.
        """
        ...

    def wake(self) -> None:
        """Deliveries were changed by hand."""
        ...

    def shown(self) -> list[dict[str, object]]:
        """The active rules, those of the configuration included."""
        ...


class DefenceHost(Protocol):
    """Scores and bans of this server."""

    def hosts(self) -> list[Host]:
        """Sources that are banned or have a score."""
        ...

    def host(self, address: str) -> Host | None:
        """One of them, None if nothing is known of it."""
        ...

    async def explain(self, address: str, protocol: str) -> ConnectAnswer:
        """Every step of the decision about an address; changes nothing."""
        ...

    async def forgive(self, address: str) -> bool:
        """End the ban of an address and forget its score; False if there was neither."""
        ...

    async def refresh(self) -> None:
        """Take over lists and bans as they are stored now."""
        ...


@dataclass(frozen=True, slots=True)
class ShownLimit:
    """A limit of this server.

    Attributes:
        resource: it is about.
        bounds: scope and number, with its unit.
        used: of it now, of the whole server; empty if that is not counted.
        keys: of the configuration.
        consequence: the outcome when it is reached.
    """

    resource: str
    bounds: tuple[tuple[str, str], ...]
    used: str = ""
    keys: tuple[str, ...] = ()
    consequence: str = ""


class TellsFacts(Protocol):
    """Facts about the process and the files that it uses, for administrators. Each asks anew."""

    async def certificates(self, loaded: Loaded) -> list[Dated]:
        """Certificates, authorities and revocation lists that a configuration uses."""
        ...

    async def sealing(self, loaded: Loaded) -> tuple[str, str]:
        """The id of the master key, empty without one, and a sentence about it.

        Raises:
            ConfigError: it cannot be read.
        """
        ...

    def limits(self, loaded: Loaded) -> list[ShownLimit]:
        """Every limit with the number in force, and what of it is used."""
        ...

    def refusals(self) -> dict[str, int]:
        """Connections and requests that were refused since the start, by rule."""
        ...

    def sandbox(self) -> tuple[bool, str]:
        """True if the sandbox that was to be is not there, and a sentence about it."""
        ...


class QuarantineHost(Protocol):
    """Uploads that were refused and are kept apart; errors are those of `server.quarantine`."""

    async def all(self) -> list[Item]:
        """Every file, oldest first."""
        ...

    async def get(self, name: str) -> Item:
        """One of them."""
        ...

    async def drop(self, name: str, *, by: str) -> None:
        """Remove one for good."""
        ...

    async def release(self, name: str, *, to: str, by: str) -> str:
        """Publish one; returns the path."""
        ...


class Jobs:
    """Work that goes on after its request was answered."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._tables: TableJobs | None = None

    @property
    def tables(self) -> TableJobs:
        """Tables of users that are being added."""
        if self._tables is None:
            from tidegate.web.api.table_jobs import TableJobs

            self._tables = TableJobs(self)
        return self._tables

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run it.

        Raises:
            Conflict: too many jobs run; nothing was started.
        """
        if len(self._tasks) >= MAX_JOBS:
            work.close()
            raise Conflict("too many background jobs are running")
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """End what runs."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that handlers may touch; a reload replaces it whole.

    Attributes:
        loaded: the configuration.
        rules: what valid records are.
        hashing: method by which new passwords are hashed.
        passwords: hashes and checks off the loop.
        admins: logins of administrators and by API key.
        throttle: shared by every way of logging in, at all doors.
        htpasswd: users of `httpd.auth_user_file`, None without one.
        connections: who is connected, at every door.
        identity: logins of users.
        emit: takes events.
        ready: tells if the server works, with a JSON report.
        metrics: renders the metrics for an ``Accept`` header; returns their content type too.
        factors: checks codes; asked for when the first is needed.
        user_tokens: of users, as `tokens` of administrators.
        administration: changes records, and does what follows from it.
        facts: about the process and its files; asked for when they are first needed.
        event_rules: those that run in this server; None where there is none.
        locate: looks up the location of an address.
        defence: scores and bans of this server; None where there is none.
        moves: of files to other storage; made when they are first asked for.
        hooks: names or asks those of a login that is explained.
        quarantine: uploads that are kept apart; None where there is none.
        log: gives searches in the log; None where there is none that could be read.
    """

    loaded: Loaded
    rules: Rules
    hashing: HashOptions
    provider: Provider
    health: Health
    passwords: PasswordChecker
    admins: AdminLogin
    throttle: LoginThrottle
    htpasswd: HtpasswdFile | None
    tokens: Tokens
    user_tokens: Tokens
    identity: LoginService
    emit: Callable[[Event], None]
    ready: Ready
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]]
    factors: Callable[[], SecondFactors]
    sessions: VfsSessions
    registry: Registry
    connections: Connections
    administration: Administration
    backups: Backups
    jobs: Jobs
    moves: Callable[[], Moves]
    monotonic: Callable[[], float]
    facts: Callable[[], Awaitable[TellsFacts]]
    locate: Locate = nowhere
    event_rules: EventRuleHost | None = None
    defence: DefenceHost | None = None
    hooks: ExplainsHooks | None = None
    quarantine: QuarantineHost | None = None
    log: Callable[[], Awaitable[LogSearches]] | None = None
