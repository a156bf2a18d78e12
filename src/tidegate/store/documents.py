# SPDX-License-Identifier: Apache-2.0
"""The edge codec: JSON documents of REST, the command line and dumps, to and from model values.

Field names are the JSON names that users of the field's other gateway know; documents of its 0.9 and 2.x
generations both decode (`store.versions` rewrites the older spellings). Decoding is strict: an unknown key is
an error that names its path and the nearest key there is. With `lenient` (dumps written by other
versions) unknown keys are kept in `extra` and noted instead. Keys that are known elsewhere and not built
here are always kept and, if they ask for something, noted.

Nothing that is secret leaves through `encode_*` unless `confidential` is given.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from pydantic import TypeAdapter

from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.model import (
    LOCAL_DISK,
    Account,
    Admin,
    AdminFilters,
    ApiKey,
    BandwidthLimit,
    FilePatterns,
    Filters,
    Folder,
    FolderMount,
    GroupUse,
    Tally,
    TallyLimits,
    TimeWindow,
    TransferLimit,
)
from tidegate.model.changes import changed
from tidegate.model.geography import GeoRules
from tidegate.store import secrecy, storages, validate, versions
from tidegate.store.document_keys import Document, DocumentKeys, validated
from tidegate.store.sealing import owner_of

_ACCOUNT: Final = TypeAdapter(Account)
_FOLDER: Final = TypeAdapter(Folder)
_ADMIN: Final = TypeAdapter(Admin)
_API_KEY: Final = TypeAdapter(ApiKey)


def decode_account(
    document: object,
    *,
    base: Account | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> Account:
    """Decode and check one user document.

    Args:
        document: parsed JSON.
        base: the stored account that the document replaces: an absent or empty password or `home_dir`,
            absent permissions and what REST never shows are taken from it.
        where: prefix of error fields, for instance ``users[3].``.
        lenient: keep unknown keys instead of refusing them.
        notes: receives one line for each thing that was accepted and has no effect here.
        rules: settings that decide what is valid.
        owned: the document was passed by `refuse_deep` and may be changed, so that it need not be copied.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = DocumentKeys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    versions.modernise_account(plain, where)
    foreign = found.split(plain, Account, versions.USER_KEYS)
    filters = found.inner(plain, "filters", Filters, versions.FILTER_KEYS)
    extra = filters.pop("extra", {}) if filters is not None else {}
    if foreign:
        extra = {**extra, secrecy.OUTER: foreign}
    if filters is not None:
        for name, kind in (
            ("file_patterns", FilePatterns),
            ("bandwidth_limits", BandwidthLimit),
            ("data_transfer_limits", TransferLimit),
            ("access_time", TimeWindow),
        ):
            found.items(filters, f"filters.{name}", name, kind)
        found.inner(filters, "filters.tally_limits", TallyLimits)
        found.inner(filters, "filters.geoip", GeoRules)
    found.items(plain, "virtual_folders", "virtual_folders", FolderMount, versions.MOUNT_KEYS)
    found.items(plain, "groups", "groups", GroupUse)
    found.inner(plain, "tally", Tally)
    found.filesystem(plain, rules)
    mounts = plain.get("virtual_folders")
    for index, mount in enumerate(mounts if isinstance(mounts, list) else ()):
        if isinstance(mount, dict):
            found.filesystem(mount, rules, f"virtual_folders[{index}].")
    if extra:
        plain.setdefault("filters", {})["extra"] = extra
    if base is not None:
        plain.setdefault("username", base.username)
        plain["password"] = plain.get("password") or base.password
        plain["home_dir"] = plain.get("home_dir") or base.home_dir
        if not plain.get("permissions"):
            plain["permissions"] = {path: list(names) for path, names in base.permissions.items()}
    account = validated(_ACCOUNT, plain, where)
    hold = "" if base is None else base.filters.hold
    if account.filters.hold != hold:  # the server's own: a document neither holds an account nor releases it
        account = replace(account, filters=replace(account.filters, hold=hold))
    known = base.public_keys if base is not None else ()
    if lenient:
        known = found.usable_keys(account.public_keys)
        account = changed(account, public_keys=known)
        found.note_directory("home_dir", account.home_dir, rules)
    if base is not None:
        kept = secrecy.keep_hidden(account.filters.extra, base.filters.extra)
        account = replace(
            account,
            filters=replace(account.filters, extra=kept),
            filesystem=storages.keep_secrets(account.filesystem, base.filesystem),
            virtual_folders=_kept_mounts(account, base),
        )
    if not lenient:
        _check_given(account, base, where)
        # Secrets are bound to the name as it is stored; the document may spell it otherwise.
        named = account if base is None else replace(account, username=base.username)
        validate.check_storages(named, rules, where, base)
    rules = _without_places(rules, stays=lenient or (base is not None and base.home_dir == account.home_dir))
    return validate.check_account(account, rules, where, known_keys=known)


def _kept_mounts(account: Account, base: Account) -> tuple[FolderMount, ...]:
    """The mounts with secrets of the folders that they describe, as far as the stored ones have them."""
    before = {mount.name: mount.filesystem for mount in base.virtual_folders if mount.filesystem.options}
    return tuple(
        replace(mount, filesystem=storages.keep_secrets(mount.filesystem, before[mount.name]))
        if mount.name in before and mount.filesystem.options
        else mount
        for mount in account.virtual_folders
    )


def _check_given(account: Account, base: Account | None, where: str) -> None:
    stored = base or Account(username="")
    owner = owner_of(account)
    storages.check_given(account.filesystem, stored.filesystem, owner, where)
    secrecy.check_given(account.filters.extra, stored.filters.extra, owner.at("filters"), where)
    before = {mount.name: mount.filesystem for mount in stored.virtual_folders}
    for index, mount in enumerate(account.virtual_folders):
        config = before.get(mount.name, LOCAL_DISK)
        storages.check_given(mount.filesystem, config, owner, f"{where}virtual_folders[{index}].")


def encode_account(account: Account, *, confidential: bool) -> Document:
    """The user document of an account.

    Args:
        account: what to write.
        confidential: include the password hash and secrets of kept foreign fields (dumps). Otherwise
            the answer says only ``has_password``.
    """
    document: Document = _ACCOUNT.dump_python(account, mode="json")
    filters: Document = document["filters"]
    for window in filters["access_time"]:
        window["from"] = window.pop("from_")
    extra: Document = filters.pop("extra")
    if filters["tally_limits"] is None:
        del filters["tally_limits"]
    if filters["geoip"] is None:
        del filters["geoip"]
    if not filters["imported_from"]:
        del filters["imported_from"]
    if not filters["hold"]:
        del filters["hold"]
    for name in versions.FORMERLY_KEPT:
        extra.pop(name, None)
        if not filters[name]:
            del filters[name]  # as SFTPGo
    if not filters["tls_username"]:
        del filters["tls_username"]  # as SFTPGo; its clients take no empty text here
    outer = extra.pop(secrecy.OUTER, {})
    outer.pop("role", None)  # of versions that only kept it
    written = storages.encode_storage if confidential else storages.shown_storage
    for mount, given in zip(document["virtual_folders"], account.virtual_folders, strict=True):
        mount["filesystem"] = written(given.filesystem)
        if not mount["filesystem"]:
            del mount["filesystem"]
    if not confidential:
        extra, outer = secrecy.without_secrets(extra), secrecy.without_secrets(outer)
        del document["password"]
    if not document["role"]:
        del document["role"]
    document["has_password"] = bool(account.password)
    document["filters"] = {**extra, **filters}
    document["filesystem"] = written(account.filesystem) or {"provider": 0}
    return {**outer, **document}


def decode_folder(
    document: object,
    *,
    base: Folder | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> Folder:
    """Decode and check one folder document; arguments as `decode_account`.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = DocumentKeys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    found.split(plain, Folder, versions.FOLDER_KEYS)
    found.filesystem(plain, rules)
    if base is not None:
        plain.setdefault("name", base.name)
    folder = validated(_FOLDER, plain, where)
    if base is not None:
        folder = replace(folder, filesystem=storages.keep_secrets(folder.filesystem, base.filesystem))
    if not lenient:
        stored = base.filesystem if base is not None else LOCAL_DISK
        storages.check_given(folder.filesystem, stored, owner_of(folder), where)
        validate.check_storages(folder, rules, where, base)
    if lenient:
        found.note_directory("mapped_path", folder.mapped_path, rules)
    rules = _without_places(
        rules, stays=lenient or (base is not None and base.mapped_path == folder.mapped_path)
    )
    return validate.check_folder(folder, rules, where)


def encode_folder(folder: Folder, *, confidential: bool, users: list[str] | None = None) -> Document:
    """The folder document; `users` adds the names of the accounts that mount it."""
    document: Document = _FOLDER.dump_python(folder, mode="json")
    written = storages.encode_storage if confidential else storages.shown_storage
    document["filesystem"] = written(folder.filesystem) or {"provider": 0}
    if users is not None:
        document["users"] = users
    return document


def decode_admin(
    document: object,
    *,
    base: Admin | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> Admin:
    """Decode and check one administrator document; arguments as `decode_account`.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = DocumentKeys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    foreign = found.split(plain, Admin, versions.ADMIN_KEYS)
    if foreign.get("groups") and not lenient:
        from tidegate.store.admin_groups import read_groups  # few administrators have some

        read_groups(foreign["groups"], where)
    filters = found.inner(plain, "filters", AdminFilters, versions.ADMIN_FILTER_KEYS)
    extra = filters.pop("extra", {}) if filters is not None else {}
    if foreign:
        extra = {**extra, secrecy.OUTER: foreign}
    if extra:
        plain.setdefault("filters", {})["extra"] = extra
    if base is not None:
        plain.setdefault("username", base.username)
        plain["password"] = plain.get("password") or base.password
    admin = validated(_ADMIN, plain, where)
    if base is not None:
        kept = secrecy.keep_hidden(admin.filters.extra, base.filters.extra)
        admin = replace(admin, filters=replace(admin.filters, extra=kept))
    if not lenient:
        before = base.filters.extra if base is not None else {}
        secrecy.check_given(admin.filters.extra, before, owner_of(admin).at("filters"), where)
    return validate.check_admin(admin, rules, where)


def encode_admin(admin: Admin, *, confidential: bool) -> Document:
    """The administrator document; the hash only if `confidential`."""
    document: Document = _ADMIN.dump_python(admin, mode="json")
    filters: Document = document["filters"]
    extra: Document = filters.pop("extra")
    outer = extra.pop(secrecy.OUTER, {})
    if not confidential:
        extra, outer = secrecy.without_secrets(extra), secrecy.without_secrets(outer)
        del document["password"]
    if not document["role"]:
        del document["role"]
    outer.pop("role", None)  # of versions that only kept it
    document["filters"] = {**extra, **filters}
    return {**outer, **document}


def decode_api_key(
    document: object,
    *,
    base: ApiKey | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> ApiKey:
    """Decode and check one API key document; `key` is the stored hash and is taken from `base` if absent.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = DocumentKeys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    found.split(plain, ApiKey, versions.API_KEY_KEYS)
    if base is not None:
        plain.setdefault("id", base.id)
        plain["key"] = plain.get("key") or base.key
    return validate.check_api_key(validated(_API_KEY, plain, where), rules, where)


def encode_api_key(key: ApiKey, *, confidential: bool) -> Document:
    """The API key document; the hash of the secret only if `confidential`."""
    document: Document = _API_KEY.dump_python(key, mode="json")
    if not confidential:
        del document["key"]
    return document


def _without_places(rules: Rules, *, stays: bool) -> Rules:
    """The rules without the judgement of directories, which is for new and changed ones."""
    return _placeless(rules) if stays and rules.server_dir else rules


@lru_cache(maxsize=8)
def _placeless(rules: Rules) -> Rules:
    return replace(rules, server_dir="", storages=None)  # which the cache does not tell apart
