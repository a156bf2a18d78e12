# SPDX-License-Identifier: Apache-2.0
"""Verbs on API keys."""

from __future__ import annotations

import time
from dataclasses import replace

from tidegate.accounts.actor import Actor
from tidegate.accounts.administrators import EVERYTHING
from tidegate.accounts.names import fold_name
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.errors import BadRecord, Denied, NotFound
from tidegate.identity.apikeys import new_api_key
from tidegate.model import ApiKey
from tidegate.store.contract import Provider
from tidegate.store.documents import decode_api_key


class ApiKeys(Verbs[ApiKey]):
    """Makes, changes and removes API keys: only who has all permissions may, and not by an API key."""

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        # Ids are random and compared as they are: no naming rule is about them.
        super().__init__(
            Stored(
                "api_key",
                "API key",
                provider.api_key,
                provider.add_api_key,
                lambda key, guard: provider.update_api_key(key, guard=guard),
                lambda name, guard: provider.delete_api_key(name, guard=guard),
                lambda key: key.id,
            ),
            provider,
            options,
            needs,
            rules=replace(options.rules, naming_rules=1),
        )

    async def get(self, key_id: str) -> ApiKey:
        """One key.

        Raises:
            NotFound: there is none of this id.
        """
        try:
            return await self._records.get(key_id)
        except NotFound:
            raise NotFound("no such API key") from None

    async def add(self, document: Document, *, by: Actor) -> tuple[ApiKey, str]:
        """Make a key.

        Returns:
            the key, and the text that a program sends: it is never to be had again.

        Raises:
            BadRecord: the document has a mistake, names nobody, or a time in the past.
            Denied: they may not manage keys.
        """
        _require(by)
        made = new_api_key()
        key = decode_api_key({**document, "id": made.key_id, "key": made.stored}, rules=self._options.rules)
        key = await self._bound(_with_future(key))
        stored = await self._records.add(replace(key, created_at=0, updated_at=0, last_use_at=0), by=by)
        return stored, made.text

    async def change(self, key_id: str, edit: Edit, *, by: Actor, version: str = "") -> ApiKey:
        """Replace a key's name, description, scope, account and expiry; its secret stays.

        Raises:
            BadRecord, Denied: as `add`.
            NotFound: there is none of this id.
            Outdated: it is of another version by now.
        """
        _require(by)

        async def make(stored: ApiKey) -> ApiKey:
            document = edit(stored) if callable(edit) else edit
            if document.get("id") not in (None, "", stored.id):
                raise BadRecord("id", "cannot be changed")
            key = decode_api_key(
                {**document, "id": stored.id, "key": stored.key}, base=stored, rules=self._options.rules
            )
            if key.expires_at != stored.expires_at:
                key = _with_future(key)
            key = await self._bound(key)
            return replace(key, created_at=stored.created_at, last_use_at=stored.last_use_at)

        stored = await self.get(key_id)
        return await self._records.change(stored.id, make, by=by, version=version)

    async def remove(self, key_id: str, *, by: Actor, version: str = "") -> ApiKey:
        """Remove a key; it is void at once.

        Raises:
            Denied: they may not manage keys.
            NotFound: there is none of this id.
            Outdated: it is of another version by now.
        """
        _require(by)
        stored = await self.get(key_id)
        return await self._records.remove(stored.id, by=by, version=version)

    async def _bound(self, key: ApiKey) -> ApiKey:
        """The key with the name of its account as it is stored.

        Raises:
            BadRecord: there is no such administrator or user.
        """
        admin, user = (fold_name(name, self._options.rules) for name in (key.admin, key.user))
        if admin and await self._provider.admin(admin) is None:
            raise BadRecord("admin", f"there is no administrator {admin!r}")
        if user and await self._provider.user(user) is None:
            raise BadRecord("user", f"there is no user {user!r}")
        return replace(key, admin=admin, user=user)


def _require(by: Actor) -> None:
    by.require(EVERYTHING)
    if by.by_key:
        raise Denied("an API key cannot manage API keys")


def _with_future(key: ApiKey) -> ApiKey:
    """The key, if it is good for anything.

    Raises:
        BadRecord: it expired before it began.
    """
    if key.expires_at and key.expires_at <= time.time_ns() // 1_000_000:
        raise BadRecord("expires_at", "is in the past (Unix milliseconds)")
    return key
