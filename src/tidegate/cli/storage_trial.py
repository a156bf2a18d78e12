# SPDX-License-Identifier: Apache-2.0
"""``tidegate check --storage``: asks every storage that accounts and folders name, as a server would."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidegate.cli.provider import opened
from tidegate.errors import BadRecord, Problem, TidegateError

if TYPE_CHECKING:
    from tidegate.cli.provider import AdminContext
    from tidegate.model import StorageSpec

PAGE: Final = 500
"""Accounts that are read at once."""
AT_ONCE: Final = 8
"""Roots that are asked at the same time."""


async def try_storages(config_dir: Path, config_file: str, problems: list[Problem]) -> list[str]:
    """Ask each storage once, whoever shares it, and add what fails to `problems`; returns facts."""
    from tidegate.server.wiring import storage_kinds

    async with opened(config_dir, config_file, migrate=False) as desk:
        kinds = storage_kinds(desk.loaded)
        roots = await _roots(desk, problems)
    limit = asyncio.Semaphore(AT_ONCE)

    async def ask(whose: str, spec: StorageSpec) -> bool:
        async with limit:
            try:
                await kinds.try_out(spec)
            except TidegateError as error:
                problems.append(Problem(f"storage of {whose}", str(error)))
                return False
            return True

    good = await asyncio.gather(*(ask(whose, spec) for whose, spec in roots.values()))
    return [f"storage beyond local disk: {len(good)} asked, {good.count(False)} cannot be used"]


async def _roots(desk: AdminContext, problems: list[Problem]) -> dict[str, tuple[str, StorageSpec]]:
    """Storage that is no directory of this host, each once, with the first record that names it."""
    from tidegate.policy.folders import storage_of, storage_of_folder

    found: dict[str, tuple[str, StorageSpec]] = {}

    def note(whose: str, spec: StorageSpec) -> None:
        if not spec.config.is_local:
            own = spec.config.kind == "crypt"  # its files may lie in the directory of the record
            found.setdefault(spec.key if own else spec.config.key, (whose, spec))

    resolver = desk.administration.effective
    offset = 0
    while users := await desk.provider.users(offset=offset, limit=PAGE):
        for user in users:
            try:
                acting = await resolver.of(user)
            except BadRecord as error:
                problems.append(Problem(f"groups of user {user.username}", str(error)))
                continue
            note(f"user {user.username}", storage_of(acting))
        offset += len(users)
    offset = 0
    while folders := await desk.provider.folders(offset=offset, limit=PAGE):
        for folder in folders:
            note(f"folder {folder.name}", storage_of_folder(folder))
        offset += len(folders)
    return found
