# SPDX-License-Identifier: Apache-2.0
"""Tables of users that are added after their request was answered: hashing their passwords takes long."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.bulk import Outcome, Plan
from tidegate.accounts.users import ADD
from tidegate.errors import Conflict, Denied, LoginRefused, NotFound, TidegateError

if TYPE_CHECKING:
    from tidegate.web.api.services import Jobs, Services

KEPT: Final = 8
"""Outcomes that are kept."""
KEPT_SECONDS: Final = 1800.0
"""Seconds that an outcome is kept, with the passwords that were made."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class TableJob:
    """A table that is or was added.

    Attributes:
        id: names it in URLs; nobody guesses it.
        by: name of the administrator, who alone may see it.
        total: passwords to hash.
        done: those that are hashed.
        error: the reason why nothing was added; empty if there is none.
        made: what became of each user, once it is over without an error.
        ended: `time.monotonic` of the end; 0 while it goes on.
    """

    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    by: str
    total: int
    done: int = 0
    error: str = ""
    made: list[Outcome] = field(default_factory=list)
    ended: float = 0.0

    @property
    def running(self) -> bool:
        """True until it is over."""
        return not self.ended


class TableJobs:
    """The tables of one server, one at a time.

    Args:
        jobs: of the server, which end it when the server stops.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._known: dict[str, TableJob] = {}

    def find(self, key: str, by: str) -> TableJob:
        """A table by its id.

        Raises:
            NotFound: there is none that this administrator has begun.
        """
        self._forget()
        found = self._known.get(key)
        if found is None or found.by != by:
            raise NotFound("no such table of yours: it is long over, or was begun on another server")
        return found

    def begin(self, services: Services, plan: Plan, by: Actor) -> TableJob:
        """Begin to add the users of a plan without mistakes.

        Raises:
            Conflict: another table is under way.
        """
        self._forget()
        running = next((one for one in self._known.values() if one.running), None)
        if running is not None:
            raise Conflict(f"a table of {running.by} is being added; wait until that is over")
        job = TableJob(by=by.name, total=plan.hashes)
        self._jobs.start(self._add(services, job, plan, by), "users of a table")
        self._known[job.id] = job
        return job

    def _forget(self) -> None:
        now = time.monotonic()
        over = sorted((one for one in self._known.values() if one.ended), key=lambda one: -one.ended)
        for index, one in enumerate(over):
            if index >= KEPT or now - one.ended > KEPT_SECONDS:
                del self._known[one.id]

    async def _add(self, services: Services, job: TableJob, plan: Plan, by: Actor) -> None:
        job.error = "it was broken off, and nothing was added"

        def hashed() -> None:
            job.done += 1

        async def still() -> None:
            await _require_still(services, by)

        try:
            job.made = await services.administration.bulk.create(plan, by=by, hashed=hashed, check=still)
            job.error = ""
        except LoginRefused:
            job.error = "the server is busy, and nothing was added"
        except TidegateError as error:
            job.error = f"{error.text}; nothing was added"
        except Exception:
            job.error = "the server met a fault, and its log has more"
            _log.exception("a table of %r failed", by.name)
        finally:
            job.ended = time.monotonic()


async def _require_still(services: Services, by: Actor) -> None:
    """Return if an administrator may still do what they have begun.

    Raises:
        Denied: they were disabled, or may add no users, or others, by now.
    """
    if not by.admin:
        return
    admin = await services.provider.admin(by.admin)
    rights = frozenset(admin.permissions) if admin is not None and admin.status == 1 else frozenset[str]()
    if not rights & {ADD, "*"} or (admin is not None and admin.role != by.role):
        raise Denied(f"{by.admin} may not add these users any more", rule="permissions")
