# SPDX-License-Identifier: Apache-2.0
"""Adds to facts what the data provider knows: the account's address and storage, the changed record."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from tidegate.accounts.versions import Record, encoded
from tidegate.errors import InvalidPath, Unsupported
from tidegate.model import Account, VPath
from tidegate.model.rule import EventAction, EventRule, Trigger
from tidegate.policy.folders import storage_at
from tidegate.rules.book import Rule
from tidegate.rules.documents import encode_rule
from tidegate.rules.facts import Facts
from tidegate.rules.hooks import HookCall
from tidegate.rules.shapes import completed
from tidegate.store.storages import encode_storage

ACCOUNT_SECONDS: Final = 1.0
"""Time for which an account is not looked up again: many events of one account come close together."""
MAX_ACCOUNTS: Final = 1_000
"""Accounts that are remembered for that time."""

FindRecord = Callable[[str, str], Awaitable[Record | None]]
"""A record of the data provider by its kind and name."""
_PLACE_KEYS: Final = (("s3config", "bucket"), ("gcsconfig", "bucket"), ("azblobconfig", "container"))
_ENDPOINT_KEYS: Final = (
    ("s3config", "endpoint"),
    ("azblobconfig", "endpoint"),
    ("sftpconfig", "endpoint"),
    ("httpconfig", "endpoint"),
)


_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class _Known:
    """One account at a time, with what all of its facts get.

    Attributes:
        storage: fields of its storage, if that is the same for every path.
    """

    at: float
    account: Account | None
    fields: dict[str, Any]
    storage: dict[str, Any] | None


def _known_of(at: float, account: Account | None) -> _Known:
    if account is None:
        return _Known(at, None, {}, None)
    fields = {"role": account.role, "groups": tuple(use.name for use in account.groups)}
    return _Known(at, account, fields, None if account.virtual_folders else _storage(account, "/"))


class Completer:
    """Completes facts; see `tidegate.actions.runner.Completes`.

    Args:
        account: an account by name, stored or not.
        record: a record by kind and name.
        clock: seconds, of any beginning.
    """

    def __init__(
        self,
        account: Callable[[str], Awaitable[Account | None]],
        record: FindRecord,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._record = record
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def __call__(self, facts: Facts, rule: Rule) -> Facts:
        """The facts with what is known now."""
        if facts.trigger is Trigger.PROVIDER:
            return await self._with_record(facts, rule)
        if not facts.name:
            return facts
        known = await self._account_of(facts.name)
        if known.account is None:
            return facts
        more = known.storage
        if more is None:
            more = _storage(known.account, facts.virtual_path)
        return replace(facts, **known.fields, **more, email=facts.email or known.account.email)

    async def _account_of(self, name: str) -> _Known:
        """An account as it was a moment ago at most, None if nobody can tell who it is without a login."""
        now = self._clock()
        known = self._known.get(name)
        if known is not None and now - known.at < ACCOUNT_SECONDS:
            return known
        try:
            account = await self._account(name)
        except (
            Unsupported
        ):  # an account that only a login hook knows, and it has not been here since the start
            account = None
        known = self._known[name] = _known_of(now, account)
        self._known.move_to_end(name)
        if len(self._known) > MAX_ACCOUNTS:
            self._known.popitem(last=False)
        return known

    async def _with_record(self, facts: Facts, rule: Rule) -> Facts:
        kind = facts.object_type
        if facts.object_data:  # of a removed record
            return replace(facts, object_data=_compact(completed(kind, json.loads(facts.object_data))))
        record = await self._record(kind, facts.object_name)
        if record is None:
            return facts
        document = completed(kind, await self._document(record))
        old = any(isinstance(step.work, HookCall) and step.work.era == "0.9" for step in rule.steps)
        if old and isinstance(record, Account):
            document["password"] = record.password  # programs of the old line get the hash, as they did
        email = document.get("email", "")
        return replace(
            facts,
            object_data=_compact(document),
            email=email if isinstance(email, str) else "",
        )

    async def _document(self, record: Record) -> dict[str, Any]:
        """The document of a record; that of a rule has those of its actions."""
        if not isinstance(record, EventRule):
            return encoded(record)
        found = [await self._record("event_action", use.name) for use in record.actions]
        return encode_rule(record, {one.name: one for one in found if isinstance(one, EventAction)})


def _storage(account: Account, path: str) -> dict[str, Any]:
    """Number of the storage that serves a path, with its bucket and endpoint."""
    try:
        spec = storage_at(account, VPath.parse(path or "/"))
    except InvalidPath:
        return {}
    document: dict[str, Any] = dict(encode_storage(spec.config))

    def first(keys: tuple[tuple[str, str], ...]) -> str:
        for section, key in keys:
            value = (document.get(section) or {}).get(key)
            if isinstance(value, str) and value:
                return value
        return ""

    number = document.get("provider", 0)
    return {
        "fs_provider": number if isinstance(number, int) else 0,
        "bucket": first(_PLACE_KEYS),
        "endpoint": first(_ENDPOINT_KEYS),
    }
