# SPDX-License-Identifier: Apache-2.0
"""Actions on records and on the server: usage, passwords, expiry, inactivity, backups, the log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol

from tidegate.accounts.actor import Channel, operator
from tidegate.accounts.administration import Administration
from tidegate.actions.outcome import DONE, Outcome, may_pass
from tidegate.actions.people import People
from tidegate.errors import Conflict, TidegateError
from tidegate.model.rule import EventAction, Trigger
from tidegate.rules.book import Rule
from tidegate.rules.conditions import patterns_of
from tidegate.rules.facts import Facts
from tidegate.rules.patterns import any_matches
from tidegate.rules.placeholders import render
from tidegate.store.contract import Provider

DAY_MS: Final = 86_400_000
PAGE: Final = 500
MAX_TOLD: Final = 50
"""Names that an error lists."""
EXPIRY_SUBJECT: Final = "Password expiration"
EXPIRY_BODY: Final = "The password of {{.Name}} {{.ErrorString}}. Please change it.\n"
"""Texts of the notice that a password expires, where the action has none of its own."""

SendsMail = Callable[[EventAction, Facts, Rule], Awaitable[Outcome]]


class CountsFiles(Protocol):
    """Counts files of accounts and folders, and waits for the end."""

    async def scan(self, kind: str, name: str) -> None:
        """Count."""
        ...


class Upkeep:
    """Does what is to be done now and then.

    Args:
        provider: the data provider.
        administration: changes records.
        people: finds accounts.
        scans: counts files.
        notify: sends one text to one address by e-mail.
        back_up: writes a dump; returns its name and size in bytes.
        rotate: begins a new log file.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        provider: Provider,
        administration: Callable[[], Administration],
        people: People,
        *,
        scans: CountsFiles,
        notify: Callable[[str, str, str], Awaitable[Outcome]],
        back_up: Callable[[], Awaitable[tuple[str, int]]],
        rotate: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._administration = administration
        self._people = people
        self._scans = scans
        self._notify = notify
        self._back_up = back_up
        self._rotate = rotate
        self._clock = clock

    def _now(self) -> int:
        """Unix milliseconds."""
        return int(self._clock() * 1000)

    async def user_quota(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Count the files of accounts."""
        del action
        errors: list[TidegateError] = []
        async for account in self._people.all(facts, rule):
            try:
                await self._scans.scan("user", account.username)
            except TidegateError as error:
                errors.append(error)
        return _of(errors)

    async def folder_quota(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Count the files of folders whose name the rule's patterns match."""
        del action, facts
        options = {} if rule.record is None else rule.record.conditions.get("options") or {}
        patterns = patterns_of(options, "names")
        errors: list[TidegateError] = []
        offset = 0
        while page := await self._provider.folders(offset=offset, limit=PAGE):
            offset += len(page)
            for folder in page:
                if any_matches(patterns, folder.name):
                    try:
                        await self._scans.scan("folder", folder.name)
                    except TidegateError as error:
                        errors.append(error)
        return _of(errors)

    async def transfer_quota(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Set the transferred bytes of accounts to zero."""
        del action
        errors: list[TidegateError] = []
        async for account in self._people.all(facts, rule):
            try:
                await self._provider.set_transfer_usage(account.username, upload=0, download=0)
            except TidegateError as error:
                errors.append(error)
        return _of(errors)

    async def expired(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Fail, naming them, if there are accounts that have expired: failure actions tell somebody."""
        del action
        now = self._now()
        names = [
            account.username
            async for account in self._people.all(facts, rule)
            if 0 < account.expiration_date <= now
        ]
        return Outcome(f"expired users: {', '.join(names[:MAX_TOLD])}") if names else DONE

    async def passwords(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Tell accounts by e-mail whose password is to be changed within the threshold."""
        config = action.options["pwd_expiration_config"]
        threshold = config["threshold"]
        now = self._now()
        failed: list[str] = []
        again = False
        async for account in self._people.all(facts, rule):
            days = account.filters.password_expiration
            if not days or not account.email:
                continue
            since = account.last_password_change or account.created_at
            left = -((now - since - days * DAY_MS) // DAY_MS)
            if left > threshold:
                continue
            when = f"expires in {left} days" if left > 0 else "has expired"
            about = replace(
                facts, trigger=Trigger.ON_DEMAND, name=account.username, email=account.email,
                role=account.role, error=when,
            )  # fmt: skip
            outcome = await self._notify(
                account.email,
                render(config.get("subject") or EXPIRY_SUBJECT, about),
                render(config.get("body") or EXPIRY_BODY, about),
            )
            if not outcome.ok:
                failed.append(f"{account.username}: {outcome.error}")
                again = again or outcome.again
        return Outcome("; ".join(failed[:5]), again=again) if failed else DONE

    async def inactive(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Disable and remove accounts that have not logged in for long."""
        config = action.options["user_inactivity_config"]
        disable, delete = config.get("disable_threshold", 0), config.get("delete_threshold", 0)
        by = operator(f"event rule {rule.name}", Channel.HOOK)
        users = self._administration().users
        now = self._now()
        errors: list[TidegateError] = []
        chosen = [
            (account.username, (now - (account.last_login or account.created_at)) / DAY_MS, account.status)
            async for account in self._people.all(facts, rule)
        ]
        for name, days, status in chosen:
            try:
                if delete and days > delete:
                    await users.remove(name, by=by)
                elif disable and days > disable and status:
                    await users.change(name, lambda stored: {**_document(stored), "status": 0}, by=by)
            except TidegateError as error:
                errors.append(error)
        return _of(errors)

    async def backup(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Write a dump of the data provider."""
        del action, facts, rule
        try:
            name, size = await self._back_up()
        except TidegateError as error:
            return Outcome(error.text, again=may_pass(error))
        return Outcome(made=(f"/{name}", size))

    async def rotate_log(self, action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        """Begin a new log file."""
        del action, facts, rule
        self._rotate()
        return DONE


def _document(stored: object) -> dict[str, object]:
    from tidegate.accounts.versions import encoded

    return encoded(stored)  # type: ignore[arg-type]


def _of(errors: list[TidegateError]) -> Outcome:
    """The outcome of several tries: a count that runs already is as good as one of ours."""
    left = [error for error in errors if not isinstance(error, Conflict)]
    if not left:
        return DONE
    return Outcome("; ".join(error.text for error in left[:5]), again=any(map(may_pass, left)))
