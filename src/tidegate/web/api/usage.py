# SPDX-License-Identifier: Apache-2.0
"""Setting what is counted as used of quotas, for REST and the pages: what is there is replaced or added to.

Names are given as they are stored (`accounts.names.fold_name`).
"""

from __future__ import annotations

from tidegate.accounts.actor import Actor
from tidegate.accounts.names import can_be_stored
from tidegate.errors import BadRecord, NotFound
from tidegate.model import Account, Folder
from tidegate.store.validate_values import MAX_INTEGER
from tidegate.web.api.services import Services


async def set_user_usage(
    services: Services, username: str, *, size: int, files: int, add: bool, by: Actor
) -> Account:
    """Set or add to the bytes and files that a user's quota counts as used; returns the account.

    Raises:
        NotFound: there is no such user. Conflict: a scan of it runs. BadRecord: a sum is too large.
    """
    account = await _settled(services, username)
    if add:
        _fits(account.used_quota_size + size, "used_quota_size")
        _fits(account.used_quota_files + files, "used_quota_files")
    await services.sessions.set_usage(account.username, size=size, files=files, add=add)
    await services.administration.users.counters_set(
        account.username, "used_quota_size", "used_quota_files", by=by
    )
    return account


async def set_transfer_usage(
    services: Services, username: str, *, upload: int, download: int, add: bool, by: Actor
) -> Account:
    """Set or add to what a user has used of their data transfer, in bytes; returns the account.

    Raises:
        NotFound: there is no such user. Conflict: a scan of it runs. BadRecord: a sum is too large.
    """
    account = await _settled(services, username)
    services.sessions.scans.check_idle("user", account.username)
    if add:
        upload = _fits(upload + account.used_upload_data_transfer, "used_upload_data_transfer")
        download = _fits(download + account.used_download_data_transfer, "used_download_data_transfer")
    await services.sessions.tracker.set_transfer_usage(account.username, upload=upload, download=download)
    await services.administration.users.counters_set(
        account.username, "used_upload_data_transfer", "used_download_data_transfer", by=by
    )
    return account


async def set_folder_usage(
    services: Services, name: str, *, size: int, files: int, add: bool, by: Actor
) -> Folder:
    """Set or add to the bytes and files that a folder's quota counts as used; returns the folder.

    Raises:
        NotFound: there is no such folder. Conflict: a scan of it runs. BadRecord: a sum is too large.
    """
    await services.sessions.tracker.settle()
    folder = await services.provider.folder(name) if can_be_stored(name) else None
    if folder is None:
        raise NotFound("no such folder")
    services.sessions.scans.check_idle("folder", folder.name)
    if add:
        size = _fits(size + folder.used_quota_size, "used_quota_size")
        files = _fits(files + folder.used_quota_files, "used_quota_files")
    await services.sessions.tracker.set_folder_usage(folder.name, size=size, files=files)
    await services.administration.folders.counters_set(
        folder.name, "used_quota_size", "used_quota_files", by=by
    )
    return folder


async def _settled(services: Services, username: str) -> Account:
    """An account, stored or not, whose kept counters are the live ones.

    Raises:
        NotFound: there is none of this name.
    """
    if not can_be_stored(username):
        raise NotFound("no such user")
    await services.sessions.tracker.settle(username)
    store = services.sessions.tracker.store
    account = await store.user(username) if store is not None else None
    if account is None:
        raise NotFound("no such user")
    return account


def _fits(number: int, field: str) -> int:
    if number > MAX_INTEGER:
        raise BadRecord(field, "is too large")
    return number
