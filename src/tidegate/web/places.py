# SPDX-License-Identifier: Apache-2.0
"""Which directories of the host an administrator may give to accounts and folders.

Who has every permission (`*`) is trusted with the host's files as far as the server's own rights go. Who may
only manage users or folders is not: a home that covers the configuration directory would hand out the
database and the host keys to the first login.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath
from typing import Final

from tidegate.errors import Denied
from tidegate.model import Account, Folder
from tidegate.web.access import EVERYTHING, Caller
from tidegate.web.services import Services

BASE_KEY: Final = "data_provider.users_base_dir"
_WHO: Final = f"only administrators with the permission {EVERYTHING} may give another"


async def judge_account(with_: Services, who: Caller, account: Account, stored: Account | None) -> None:
    """Whether the caller may give an account its home and the folders that its mounts describe.

    Args:
        with_: the configuration and the data provider.
        who: calls.
        account: what shall be stored, checked.
        stored: what is stored now; what stays as it is may stay.

    Raises:
        Denied: they may not; the text names the field.
    """
    if who.may(EVERYTHING):
        return
    if stored is None or account.home_dir != stored.home_dir:
        await _judge(with_, "home_dir", account.home_dir)
    for index, mount in enumerate(account.virtual_folders):
        if not mount.mapped_path:
            continue
        # Storing the account makes the folder, or moves it.
        folder = await with_.provider.folder(mount.name)
        if folder is None or mount.mapped_path != folder.mapped_path:
            await _judge(with_, f"virtual_folders[{index}].mapped_path", mount.mapped_path)


async def judge_folder(with_: Services, who: Caller, folder: Folder, stored: Folder | None) -> None:
    """Whether the caller may give a folder its directory; arguments and errors as `judge_account`."""
    if who.may(EVERYTHING) or not folder.mapped_path:
        return
    if stored is None or folder.mapped_path != stored.mapped_path:
        await _judge(with_, "mapped_path", folder.mapped_path)


async def _judge(with_: Services, field: str, path: str) -> None:
    base = with_.loaded.settings.data_provider.users_base_dir
    why = await asyncio.to_thread(objection, path, base=base, config_dir=with_.loaded.config_dir)
    if why is not None:
        raise Denied(f"{field}: {why}; {_WHO}", rule=BASE_KEY if base else "config_dir")


def objection(path: str, *, base: str, config_dir: Path) -> str | None:
    """Why a directory may not be given out, None if it may. Blocks: it asks the storage where links lead.

    Both the path as it is written and the place where its links lead now are asked.

    Args:
        path: absolute.
        base: the only directory below which homes may lie; empty for anywhere.
        config_dir: never given out, with all above it, and all below it but for a `base` there.
    """
    if ".." in PurePosixPath(path).parts:
        return "may not hold '..'"
    for see in (os.path.abspath, os.path.realpath):
        place = PurePosixPath(see(path))
        own = PurePosixPath(see(config_dir))
        homes = PurePosixPath(see(base)) if base else None
        if homes is not None and homes not in place.parents:
            return f"must be a directory inside {base} ({BASE_KEY})"
        if homes is not None and own in homes.parents:
            continue  # a part of the configuration directory that was set aside for homes, as quickstart does
        if place == own or own in place.parents or place in own.parents:
            return "may not hold the server's configuration directory nor lie in it"
    return None
