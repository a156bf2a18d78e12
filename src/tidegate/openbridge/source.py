# SPDX-License-Identifier: Apache-2.0
"""The authenticator: accounts as the gateway's tables have them now.

Each login asks the database. Rows become accounts by the importer's own rules, so that a server that reads
the tables and one that imported them agree. A row that cannot be used refuses its user alone, told once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final, Protocol, TypeVar

from tidegate.abc import Authenticator, KeepsTallies, LoginAttempt
from tidegate.accounts.keys import parse_public_key
from tidegate.errors import (
    BadRecord,
    LoginRefused,
    OperatorError,
    ProviderError,
    ProviderUnavailable,
)
from tidegate.identity.accounts import holds_key
from tidegate.model import TALLY_NAMES, Account, StorageConfig, Tally
from tidegate.openbridge.options import (
    MAX_KNOWN,
    MAX_LOOKUPS,
    MAX_NAME_CHARS,
    MAX_ROWS,
    MAX_TOLD,
    REST_SECONDS,
    RULE,
    OpenbridgeOptions,
)
from tidegate.openbridge.statements import Shape
from tidegate.openbridge.tables import Tables
from tidegate.policy.methods import CERTIFICATE, KEYBOARD, uses_certificate
from tidegate.store.imports.common import Harvest
from tidegate.store.imports.openbridge import Row, limit_of, parse_openbridge, with_access
from tidegate.store.imports.openbridge_access import AccessRules, check_access

_FEW: Final = 200
"""Rows of addresses that are worked out on the loop; more go to a thread."""
_WORDS: Final = {"count": "count and accessed", "tally": "tallies", "log": "transfers"}

K = TypeVar("K")
V = TypeVar("V")

_log = logging.getLogger(__name__)


class Passwords(Protocol):
    """The part of `tidegate.identity.hashing.PasswordChecker` that the source needs."""

    async def fits(self, source: str, username: str, stored: str, password: str) -> bool:
        """True if the password is the one of `stored`."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A user of the tables.

    Attributes:
        account: as the tables have it, with the networks that may come.
        tally: kind and name of the tally that is counted on; None if nothing is tallied.
        problems: what is wrong with single rows of it, which did without them.
    """

    account: Account
    tally: tuple[str, str] | None = None
    problems: tuple[str, ...] = ()


class OpenbridgeAccounts:
    """Implements `tidegate.abc.Authenticator` and `KeepsTallies`.

    Life: constructed (pure), `bind`, `open`, used, `close`. A database that does not answer keeps no server
    from starting; logins are refused until it does.

    Args:
        options: see `OpenbridgeOptions`.
        monotonic: seconds.
    """

    def __init__(
        self,
        options: OpenbridgeOptions,
        *,
        tables: Tables | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options: Final = options
        self.tables: Final = tables or Tables(options.database, monotonic=monotonic)
        self._monotonic = monotonic
        self._passwords: Passwords
        self._lookups = 0
        self._rests_until = 0.0
        self._cache: OrderedDict[str, tuple[float, Found | None]] = OrderedDict()
        self._served: OrderedDict[str, Found] = OrderedDict()
        self._addresses: tuple[float, AccessRules, str] | None = None
        self._address_rows: tuple[Sequence[Row], Sequence[Row]] | None = None
        self._address_turn = asyncio.Lock()
        self._told: OrderedDict[str, None] = OrderedDict()
        self._denied: dict[str, str] = {}
        self._away = False

    def bind(self, passwords: Passwords) -> None:
        """Take what checks passwords."""
        self._passwords = passwords

    # -- Authenticator -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and look which tables and rights there are.

        Raises:
            OperatorError: there is no table of users, or one that restricts may not be read.
        """
        self.tables.start()
        try:
            self._tell_rights(await self.tables.shape())
        except ProviderUnavailable as error:
            _log.warning("users of %s cannot log in yet: %s", RULE, error)
            return
        _log.info("users are read from the tables of %s", self.tables.label)

    async def close(self) -> None:
        """Close the connections."""
        await self.tables.stop()

    async def find(self, username: str) -> Account | None:
        """The account as the tables have it, at most `cache_seconds` ago.

        Raises:
            ProviderUnavailable: the database does not answer, or the row cannot be used.
        """
        try:
            found = await self._known(username)
        except (BadRecord, LoginRefused, ProviderError) as error:
            raise ProviderUnavailable(f"{self.tables.label}: {error}") from None
        return None if found is None else found.account

    async def verify(self, attempt: LoginAttempt) -> Account | None:
        """See `tidegate.abc.Authenticator`; the tables are asked now.

        The stored accounts, who are asked last, take the time of a refusal for users whom nobody knows.

        Raises:
            LoginRefused: the credential is wrong (``bad_credential``); the database does not answer
                (``provider_unavailable``) or the row cannot be used (``provider_error``), by the rule `RULE`.
        """
        username, credential = attempt.username, attempt.credential
        try:
            found = await self._now(username)
        except ProviderUnavailable as error:
            _log.error("login of user %r refused by %s: %s", username, RULE, error)
            raise LoginRefused("provider_unavailable", rule=RULE, username=username) from None
        except OperatorError as error:
            self._tell(f"login of user {username!r} refused by {RULE}: {error}")
            rule = f"{RULE}: {error.field}" if isinstance(error, BadRecord) and error.field else RULE
            raise LoginRefused("provider_error", rule=rule, username=username) from None
        if found is None:
            return None
        account = found.account
        if credential.kind == "publickey":
            right = holds_key(account, credential.public_key)
        elif credential.kind in ("password", KEYBOARD):
            right = await self._passwords.fits(
                attempt.peer.remote_ip, username, account.password, credential.secret
            )
        elif credential.kind == CERTIFICATE:
            if not uses_certificate(account):
                raise LoginRefused("certificate_unused", username=username)
            from tidegate.identity.client_certificates import names_user  # few log in so

            right = names_user(credential.certificate, username)
        else:
            raise LoginRefused("method", username=username)
        if not right:
            raise LoginRefused("bad_credential", username=username)
        return account

    # -- KeepsTallies --------------------------------------------------------------------------------------

    async def add_tally(self, username: str, change: Tally) -> bool:
        """Add to the tally of a user of the tables; False if it is to be kept elsewhere.

        Counters without a limit are not tallied, as there.
        """
        found = self._served.get(username)
        if found is None or not self.options.write:
            return False
        limits = found.account.filters.tally_limits
        if found.tally is None or limits is None:
            return True
        counted = Tally(**{one: getattr(change, one) for one in TALLY_NAMES if getattr(limits, one) > 0})
        if counted == Tally():
            return True
        try:
            return await self.tables.add_tally(*found.tally, counted)
        except OperatorError as error:
            self._tell(f"the tally of user {username!r} is kept by this server: {error}")
            return False

    # -- for the record ------------------------------------------------------------------------------------

    def served(self, username: str) -> Account | None:
        """The account of a user who was found in the tables; None for others."""
        found = self._served.get(username)
        return None if found is None else found.account

    async def look(self, username: str) -> Found | None:
        """A user of the tables, with the problems of its rows.

        Raises:
            ProviderUnavailable: the database does not answer.
            OperatorError: the row cannot be used.
        """
        return await self._now(username)

    async def check_addresses(self) -> None:
        """Return if ftpd_allow and ftpd_deny can be understood.

        Raises:
            BadRecord: a row of ftpd_deny cannot.
            ProviderError: they cannot be read.
        """
        await self._access()

    # -- looking up ----------------------------------------------------------------------------------------

    async def _known(self, username: str) -> Found | None:
        known = self._cache.get(username)
        if known is not None and self._monotonic() - known[0] < self.options.cache_seconds:
            return known[1]
        return await self._now(username)

    async def _now(self, username: str) -> Found | None:
        """The user as the database has it now."""
        if not username or len(username) > MAX_NAME_CHARS or not username.isprintable():
            return None
        if self._monotonic() < self._rests_until:
            raise ProviderUnavailable(f"{self.tables.label} did not answer a moment ago")
        if self._lookups >= MAX_LOOKUPS:
            raise LoginRefused("busy", rule=RULE, username=username)
        self._lookups += 1
        asked = self._monotonic()
        try:
            found = await self._read(username)
            self._tell_rights(await self.tables.shape())
        except ProviderUnavailable:
            self._rests_until, self._away = self._monotonic() + REST_SECONDS, True
            raise
        finally:
            self._lookups -= 1
        if self._away:
            self._away = False
            _log.info("%s answers again", self.tables.label)
        _remember(self._cache, username, (asked, found))
        if found is not None:
            # Not at accepted credentials: certificates are proved elsewhere, and ask for the account alone.
            _remember(self._served, username, found)
        return found

    async def _read(self, username: str) -> Found | None:
        rows = await self.tables.user(username)
        if not rows.user:
            return None
        access = await self._access()
        parsed = parse_openbridge(
            rows, parse_key=parse_public_key, shared_tallies=True, rules=self.options.rules
        )
        problems = tuple(f"user {username!r}: {problem}" for problem in parsed.problems)
        if not parsed.accounts:
            raise parsed.problems[0] if parsed.problems else BadRecord("ftpd_user", "the row cannot be used")
        one = parsed.accounts[0]
        for text in (*problems, *(f"user {username!r}: {note}" for note in one.notes if "unknown" in note)):
            self._tell(f"tables of {self.tables.label}: {text}")
        account = with_access(one.account, access, set())
        if account.username != username:
            raise BadRecord("ftpd_user", f"{account.username!r} is not the name as naming rules have it")
        limits = account.filters.tally_limits
        tally = None if limits is None or limits.per_session else limit_of(rows, account)
        return Found(replace(account, filesystem=self._home(account)), tally, problems)

    def _home(self, account: Account) -> StorageConfig:
        """The bucket, for a home below the mount point."""
        homes, mount = self.options.homes, self.options.mount_point.rstrip("/")
        home = PurePosixPath(account.home_dir)
        if homes is None or not mount or ".." in home.parts or not home.is_relative_to(mount):
            return account.filesystem
        place = str(home.relative_to(mount))
        if place == ".":
            raise BadRecord("ftpd_user.homedir", f"{account.home_dir!r} is the whole bucket")
        shared: Any = homes.options[self.options.section]
        options = {**shared, "key_prefix": f"{place}/"}
        return StorageConfig(homes.kind, {self.options.section: options})

    async def _access(self) -> AccessRules:
        """The networks of ftpd_allow and ftpd_deny.

        Raises:
            BadRecord: a row of ftpd_deny cannot be understood: whom it keeps out is not known.
        """
        async with self._address_turn:
            now = self._monotonic()
            known = self._addresses
            if known is None or now - known[0] >= self.options.cache_seconds:
                rows = await self.tables.addresses()
                if known is None or rows != self._address_rows:
                    if len(rows[0]) + len(rows[1]) <= _FEW:
                        harvest, rules = self._work_out(*rows)
                    else:
                        harvest, rules = await asyncio.to_thread(self._work_out, *rows)
                    problem = "; ".join(str(one) for one in harvest.problems[:3])
                    for note in harvest.notes[:MAX_ROWS]:
                        self._tell(f"tables of {self.tables.label}: {note}")
                else:
                    rules, problem = known[1], known[2]
                self._address_rows = rows
                known = self._addresses = (now, rules, problem)
        if known[2]:
            raise BadRecord("ftpd_deny", known[2])
        return known[1]

    def _work_out(self, allow: Sequence[Row], deny: Sequence[Row]) -> tuple[Harvest, AccessRules]:
        harvest = Harvest()
        closed = self.options.closed_by_default
        return harvest, check_access(allow, deny, closed_by_default=closed, harvest=harvest)

    # -- telling -------------------------------------------------------------------------------------------

    def _tell_rights(self, shape: Shape) -> None:
        """Say what is not written back, when that changes."""
        wanted = {
            what: why
            for what, why in shape.denied.items()
            if (self.options.log if what == "log" else self.options.write)
        }
        if wanted != self._denied:
            for what, why in wanted.items():
                if self._denied.get(what) != why:
                    _log.warning("%s are not written to %s: %s", _WORDS[what], self.tables.label, why)
            self._denied = wanted

    def _tell(self, text: str) -> None:
        if text not in self._told:
            _log.error("%s", text)
            _remember(self._told, text, None, MAX_TOLD)


def _remember(where: OrderedDict[K, V], key: K, value: V, most: int = MAX_KNOWN) -> None:
    where[key] = value
    where.move_to_end(key)
    if len(where) > most:
        where.popitem(last=False)


def _keeps_contract(source: OpenbridgeAccounts) -> tuple[Authenticator, KeepsTallies]:
    return source, source
