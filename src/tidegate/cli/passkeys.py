# SPDX-License-Identifier: Apache-2.0
"""``tidegate admin passkeys``: passkeys of an administrator, listed and removed."""

from __future__ import annotations

from typing import Any

from tidegate.cli.documents import when
from tidegate.cli.terminal import say, say_json, say_table
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument


async def passkeys(name: str, remove: list[str], where: Where, *, everything: bool) -> list[dict[str, Any]]:
    """Remove passkeys, and return those that are left, as REST shows them.

    Raises:
        InvalidArgument: flags contradict each other.
        NotFound: there is no such administrator or passkey.
    """
    if remove and everything:
        raise InvalidArgument("--remove-all: not together with --remove")
    if where.url:
        return await _elsewhere(name, remove, where, everything=everything)
    from tidegate.accounts.names import fold_name
    from tidegate.cli.provider import opened
    from tidegate.policy.passkeys import passkeys_of, shown

    async with opened(where.config_dir, where.config_file) as context:
        verbs, actor = context.administration.admins, context.actor
        name = fold_name(name, context.rules)
        for one in remove:
            await verbs.passkeys.remove(name, one, by=actor)
        if everything:
            await verbs.passkeys.remove_all(name, by=actor)
        return shown(passkeys_of((await verbs.get(name)).filters))


async def _elsewhere(name: str, remove: list[str], where: Where, *, everything: bool) -> list[dict[str, Any]]:
    from tidegate.cli.remote import RemoteTarget

    async with where.opened() as target:
        assert isinstance(target, RemoteTarget)
        if everything:
            remove = [one["id"] for one in await target.passkeys(name)]
        for one in remove:
            await target.remove_passkey(name, one)
        return await target.passkeys(name)


def show(name: str, found: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the answer of `passkeys`."""
    if as_json:
        say_json(found)
    elif not found:
        say(f"{name} has no passkeys")
    else:
        rows = [
            (
                one["name"],
                one["rp_id"],
                when(one["created_at"]),
                when(one["last_use_at"]) or "never",
                one["id"],
            )
            for one in found
        ]
        say_table(("name", "for", "added", "used", "id"), rows)
