# SPDX-License-Identifier: Apache-2.0
"""Directories of the host that may become homes and folders, and who may give them out.

Nobody gives out ``/`` or the server's configuration directory, with all above and below it: the first login
would get the database and the host keys. Below it two places are set aside for homes: `DEFAULT_HOMES`, and
`users_base_dir` if it lies there.

An administrator without all permissions gives out directories inside `users_base_dir` only, and none without
that setting; `endpoints` has the rule for storage on other hosts. Who may not give out a directory or storage
may not take over an account that has it either.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from tidegate.accounts.endpoints import ENDPOINTS_KEY, check_storage
from tidegate.accounts.rules import StorageChecks
from tidegate.errors import BadRecord, Denied
from tidegate.model import Account, Folder, StorageConfig, StorageSpec
from tidegate.model.group import Group, GroupSettings
from tidegate.model.sealing import SecretPlace
from tidegate.policy.folders import storage_of, storage_of_folder

BASE_KEY: Final = "data_provider.users_base_dir"

DEFAULT_HOMES: Final = "files"
"""The directory in the configuration directory with the homes that nobody placed elsewhere."""

_WHO: Final = "only administrators with the permission * may give another"


class FolderReader(Protocol):
    """A data provider, as far as this room asks it."""

    async def folder(self, name: str) -> Folder | None:
        """One folder."""
        ...


def never_given(path: str, *, base: str, server_dir: str, links: bool = False) -> str | None:
    """The reason why nobody may give a directory to an account or folder, None if there is none.

    Args:
        path: absolute.
        base: `users_base_dir`; empty for none.
        server_dir: the configuration directory.
        links: ask the storage where links lead now (blocks); else the paths as they are written.
    """
    # By text: of the path objects of a hundred thousand accounts the load would be a tenth slower.
    see = os.path.realpath if links else os.path.abspath
    place, own = _one_slash(see(path)), _one_slash(see(server_dir))
    if place == "/":
        return "'/' is the whole host"
    if place == own or _inside(own, place):
        return f"may not be or hold the server's configuration directory ({server_dir})"
    if not _inside(place, own):
        return None
    for aside in (f"{server_dir}/{DEFAULT_HOMES}", base):
        homes = _one_slash(see(aside)) if aside else own
        if _inside(homes, own) and _inside(place, homes):
            return None
    return (
        f"may not lie in the server's configuration directory ({server_dir}), but for below {DEFAULT_HOMES} "
        f"there, or {BASE_KEY}"
    )


def _one_slash(path: str) -> str:
    """POSIX leaves two slashes at the beginning open; here they mean what one does."""
    return path[1:] if path.startswith("//") else path


def _inside(path: str, parent: str) -> bool:
    """True for a cleaned path below another."""
    return path.startswith(parent if parent == "/" else f"{parent}/") and path != parent


def outside_base(path: str, *, base: str) -> str | None:
    """The reason why a directory is not one inside `users_base_dir`, None if it is. Blocks: follows links."""
    if not base:
        return f"directories cannot be given while {BASE_KEY} is not set"
    for see in (os.path.abspath, os.path.realpath):
        if PurePosixPath(see(base)) not in PurePosixPath(see(path)).parents:
            return f"must be a directory inside {base} ({BASE_KEY})"
    return None


@dataclass(frozen=True, slots=True)
class Giver:
    """Somebody who gives directories to accounts and folders.

    Attributes:
        base: `users_base_dir`.
        server_dir: the configuration directory.
        unlimited: they have all permissions, or are the operator at a shell.
        storages: knows the kinds of storage on other hosts; see `endpoints`.
        endpoints: ``storage.allowed_endpoints``.
        given: the storage that the configuration itself gives to an account of a name, if it does.
        outside: the reason why a directory cannot be reached by the server, None if it can; blocks.
    """

    base: str
    server_dir: Path
    unlimited: bool
    storages: StorageChecks | None = None
    endpoints: tuple[str, ...] = ()
    given: Callable[[str], StorageConfig | None] | None = None
    outside: Callable[[str], str | None] | None = None

    async def check_account(self, folders: FolderReader, account: Account, stored: Account | None) -> None:
        """Return if they may give an account its home and the folders that it mounts.

        Args:
            folders: stored ones.
            account: what shall be stored, checked.
            stored: what is stored now; what stays as it is may stay.

        Raises:
            BadRecord: nobody may; names the field.
            Denied: they may not; the text names the field.
        """
        if account.home_dir and (stored is None or account.home_dir != stored.home_dir):
            await self._check("home_dir", account.home_dir)
        if stored is None or account.filesystem != stored.filesystem:
            own = None if self.given is None else self.given(account.username)
            if own is None or account.filesystem != own:
                await self._check_storage(storage_of(account))
        await self._check_mounts(folders, account, stored)

    async def check_group(
        self, folders: FolderReader, group: Group, stored: Group | None, spec: StorageSpec
    ) -> None:
        """Return if they may give a group the home, storage and folders that its accounts get.

        Args:
            folders: stored ones.
            group: what shall be stored, checked.
            stored: what is stored now; what stays as it is may stay.
            spec: the storage of its homes.

        Raises:
            BadRecord, Denied: as `check_account`.
        """
        settings = group.user_settings
        before = GroupSettings() if stored is None else stored.user_settings
        if settings.home_dir != before.home_dir:
            try:
                await self._check("home_dir", settings.home_dir)
            except BadRecord as error:
                raise BadRecord("user_settings.home_dir", error.what) from None
        if settings.filesystem != before.filesystem:
            await self._check_storage(spec, "user_settings.")
        await self._check_mounts(folders, group, stored)

    async def _check_mounts(
        self, folders: FolderReader, account: Account | Group, stored: Account | Group | None
    ) -> None:
        before = stored.virtual_folders if stored is not None else ()
        mounted = {mount.name for mount in before}
        for index, mount in enumerate(account.virtual_folders):
            folder = await folders.folder(mount.name)
            there = folder.mapped_path if folder is not None else ""
            if mount.mapped_path and mount.mapped_path != there:
                # Storing the account makes the folder, or moves it.
                await self._check(f"virtual_folders[{index}].mapped_path", mount.mapped_path)
            elif there and mount.name not in mounted and not self.unlimited:
                await self._check(f"virtual_folders[{index}].name", there)
            kept = [] if folder is None else [folder.filesystem]
            kept += [known.filesystem for known in before if known.name == mount.name]
            if not mount.filesystem.is_local and mount.filesystem not in kept:
                owner = SecretPlace("folder", mount.name)
                spec = StorageSpec(mount.mapped_path, mount.filesystem, owner=owner)
                await self._check_storage(spec, f"virtual_folders[{index}].")
            elif folder is not None and mount.name not in mounted:
                await self._check_storage(storage_of_folder(folder), f"virtual_folders[{index}].")

    async def check_folder(self, folder: Folder, stored: Folder | None) -> None:
        """Return if they may give a folder its directory; arguments and errors as `check_account`."""
        if folder.mapped_path and (stored is None or folder.mapped_path != stored.mapped_path):
            await self._check("mapped_path", folder.mapped_path)
        if stored is None or folder.filesystem != stored.filesystem:
            await self._check_storage(storage_of_folder(folder))

    async def check_takeover(
        self, folders: FolderReader, account: Account, stored: Account, *, password: bool
    ) -> None:
        """Return if they may set credentials of an account.

        Args:
            folders: stored ones.
            account: what shall be stored.
            stored: what is stored now.
            password: a new password is given.

        Raises:
            Denied: they set a password or add a key, and the account has a directory they could not give out.
        """
        if self.unlimited:
            return
        if password:
            field = "password"
        elif set(account.public_keys) - set(stored.public_keys):
            field = "public_keys"
        else:
            return
        places, roots = [stored.home_dir], [storage_of(stored)]
        for mount in stored.virtual_folders:
            folder = await folders.folder(mount.name)
            places.append(folder.mapped_path if folder is not None else mount.mapped_path)
            roots.append(storage_of_folder(folder) if folder is not None else storage_of(stored, mount))
        for place in filter(None, places):
            if await asyncio.to_thread(self._objection, place) is not None:
                raise Denied(
                    f"{field}: the account has a directory that you could not give it; only administrators "
                    "with the permission * may set its password or add a key",
                    rule=BASE_KEY,
                )
        for root in roots:
            try:
                await self._check_storage(root)
            except Denied:
                raise Denied(
                    f"{field}: the account has storage that you could not give it; only administrators with "
                    "the permission * may set its password or add a key",
                    rule=ENDPOINTS_KEY,
                ) from None

    async def _check_storage(self, spec: StorageSpec, where: str = "") -> None:
        if not self.unlimited:
            await check_storage(self.storages, spec, where, allowed=self.endpoints)

    def _never(self, path: str) -> str | None:
        """The reason why nobody may give out a directory, as written or where its links lead; blocks."""
        for links in (False, True):
            why = never_given(path, base=self.base, server_dir=str(self.server_dir), links=links)
            if why is not None:
                return why
        return None if self.outside is None else self.outside(path)

    def _objection(self, path: str) -> str | None:
        """The reason why somebody without all permissions may not give out a directory; blocks."""
        return self._never(path) or outside_base(path, base=self.base)

    async def _check(self, field: str, path: str) -> None:
        if (why := await asyncio.to_thread(self._never, path)) is not None:
            raise BadRecord(field, why)
        if self.unlimited:
            return
        if (why := await asyncio.to_thread(outside_base, path, base=self.base)) is not None:
            raise Denied(f"{field}: {why}; {_WHO}", rule=BASE_KEY)
