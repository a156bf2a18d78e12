# SPDX-License-Identifier: Apache-2.0
"""Words for completion at a shell: stored names, permissions, operations. Never an error or a question."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tidegate.store.contract import Provider

MOST: Final = 200
"""names that are offered"""

PAGE: Final = 500
"""records that are read at a time"""

READ: Final = 5_000
"""records that are looked at, so that a key press does not wait for a whole database"""

PROTOCOLS: Final = ("SFTP", "SCP", "SSH", "FTP", "FTPS", "DAV", "DAVS")


def users(ctx: Any, incomplete: str) -> list[str]:
    """Accounts whose names begin so."""

    async def page(provider: Provider, offset: int) -> list[str]:
        return [account.username for account in await provider.users(offset=offset, limit=PAGE)]

    return _begin(ctx, incomplete, page)


def folders(ctx: Any, incomplete: str) -> list[str]:
    """Folders whose names begin so."""

    async def page(provider: Provider, offset: int) -> list[str]:
        return [folder.name for folder in await provider.folders(offset=offset, limit=PAGE)]

    return _begin(ctx, incomplete, page)


def groups(ctx: Any, incomplete: str) -> list[str]:
    """Groups whose names begin so."""

    async def page(provider: Provider, offset: int) -> list[str]:
        return [group.name for group in await provider.groups(offset=offset, limit=PAGE)]

    return _begin(ctx, incomplete, page)


def roles(ctx: Any, incomplete: str) -> list[str]:
    """Roles whose names begin so."""

    async def page(provider: Provider, offset: int) -> list[str]:
        return [role.name for role in await provider.roles(offset=offset, limit=PAGE)]

    return _begin(ctx, incomplete, page)


def admins(ctx: Any, incomplete: str) -> list[str]:
    """Administrators whose names begin so."""

    async def page(provider: Provider, offset: int) -> list[str]:
        return [admin.username for admin in await provider.admins(offset=offset, limit=PAGE)]

    return _begin(ctx, incomplete, page)


def api_keys(ctx: Any, incomplete: str) -> list[str]:
    """API keys whose ids begin so."""

    async def page(provider: Provider, offset: int) -> list[str]:
        return [key.id for key in await provider.api_keys(offset=offset, limit=PAGE)]

    return _begin(ctx, incomplete, page)


def _begin(ctx: Any, incomplete: str, page: Callable[[Provider, int], Awaitable[list[str]]]) -> list[str]:
    from tidegate.cli.provider import opened, run

    directory = ctx.params.get("config_dir") or os.environ.get("TIDEGATE_CONFIG_DIR") or "."
    file = ctx.params.get("config_file") or os.environ.get("TIDEGATE_CONFIG_FILE") or "tidegate"

    async def work() -> list[str]:
        found: list[str] = []
        async with opened(Path(str(directory)), str(file), migrate=False) as context:
            for offset in range(0, READ, PAGE):
                names = await page(context.provider, offset)
                found += [name for name in names if name.startswith(incomplete) and name.isprintable()]
                if len(names) < PAGE or len(found) >= MOST:
                    break
        return found[:MOST]

    try:
        return run(work())
    except Exception:
        return []


# --- words that do not depend on the database --------------------------------------------------------------


def permissions(incomplete: str) -> list[str]:
    """``/DIR:NAMES`` with one name more; none before the colon."""
    from tidegate.model.intent import Permission

    directory, colon, names = incomplete.partition(":")
    if not colon:
        return []
    before, comma, begun = names.rpartition(",")
    have = set(before.split(","))
    return [
        f"{directory}:{before}{comma}{name}"
        for name in Permission
        if name.startswith(begun) and name not in have
    ]


def operations(incomplete: str) -> list[str]:
    """Operations that `explain` knows; its synonyms are not offered."""
    from tidegate.model.intent import Intent
    from tidegate.model.program import ProgramUse

    return _beginning((*Intent, "delete", "rename", *ProgramUse), incomplete)


def protocols(incomplete: str) -> list[str]:
    """Protocols as `explain` spells them."""
    return _beginning(PROTOCOLS, incomplete)


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})
