# SPDX-License-Identifier: Apache-2.0
"""A server for a comparison: this configuration's SSH door on loopback, with copies of some accounts.

Identity, policy, vfs and storage are those of the configuration. What a login leaves behind (times, better
hashes, usage) goes to the copies, which are forgotten; nobody is told of it, and nothing else listens.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from tidegate.accounts.effective import effective
from tidegate.accounts.names import fold_name
from tidegate.config.load import Loaded
from tidegate.config.schema.cluster import ClusterKeys
from tidegate.config.schema.doors import DoorKeys
from tidegate.config.schema.events import EventKeys
from tidegate.config.schema.httpd import Httpd
from tidegate.config.schema.inspection import InspectionKeys
from tidegate.doors.ssh.hostkeys import made_host_keys, make_host_key
from tidegate.doors.ssh.options import Binding
from tidegate.model import Account, Folder, Intent, Principal, Protocol, VPath
from tidegate.policy.folders import mount_point, storage_at, storages_of
from tidegate.policy.gate import Gate
from tidegate.policy.login import check_login
from tidegate.server.app import App
from tidegate.server.ssh import ssh_plan
from tidegate.server.wiring import record_rules
from tidegate.store.contract import Provider, Snapshot
from tidegate.store.factory import ProviderOptions, create_provider
from tidegate.store.streams import batches_of

ADDRESS: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A running server for a comparison.

    Attributes:
        port: on `ADDRESS`.
        host_keys: their fingerprints.
        accounts: by the name that was asked for; who is not here is missing.
    """

    port: int
    host_keys: tuple[str, ...]
    accounts: Mapping[str, Account]


@asynccontextmanager
async def rehearsal(loaded: Loaded, provider: Provider, usernames: Sequence[str]) -> AsyncIterator[Rehearsal]:
    """A server with copies of accounts, as long as the block runs.

    The copies have no rules about addresses: everybody comes from loopback. `address_problem` asks them.

    Raises:
        OperatorError: it cannot be started.
    """
    rules = record_rules(loaded)
    accounts: dict[str, Account] = {}
    for username in usernames:
        account = await provider.user(fold_name(username, rules))
        if account is not None:  # with what its groups give, which the copy has for its own
            acting = await effective(provider, rules).of(account)
            accounts[username] = replace(acting, groups=(), role="")
    copies = {
        account.username: replace(
            account, filters=replace(account.filters, allowed_ip=(), denied_ip=(), ip_order="")
        )
        for account in accounts.values()
    }
    folders: dict[str, Folder] = {}
    for account in copies.values():
        for mount in account.virtual_folders:
            folder = await provider.folder(mount.name)
            if folder is not None:
                folders[mount.name] = folder
    memory = create_provider(ProviderOptions(driver="memory", name="", rules=rules))
    keys = [await asyncio.to_thread(make_host_key, made_host_keys()[0])]
    app = App(
        _alone(loaded),
        provider=memory,
        doors=[ssh_plan(Binding(ADDRESS, 0, "the comparison"), keys)],
        log_events=False,
        keep_journal=False,
    )
    try:
        await app.start()
        await memory.load_batches(batches_of(Snapshot(users=[*copies.values()], folders=[*folders.values()])))
        port = app.doors.status()[0].endpoints[0].port
        yield Rehearsal(port, tuple(key.get_fingerprint() for key in keys), accounts)
    finally:
        await app.stop()


def _alone(loaded: Loaded) -> Loaded:
    """The configuration without whatever listens, is told or is shared besides the SSH door."""
    settings = loaded.settings
    quiet = settings.model_copy(
        update={
            "data_provider": settings.data_provider.model_copy(
                update={
                    "driver": "memory",
                    "name": "",
                    "track_quota": 0,
                    "create_default_admin": False,
                    "external_auth_hook": "",
                    "external_auth_program": "",
                    "pre_login_hook": "",
                    "pre_login_program": "",
                    "check_password_hook": "",
                    "post_login_hook": "",
                }
            ),
            "common": settings.common.model_copy(
                update={"startup_hook": "", "post_connect_hook": "", "post_disconnect_hook": ""}
            ),
            "sftpd": settings.sftpd.model_copy(
                update={"keyboard_interactive_auth_hook": "", "keyboard_interactive_auth_program": ""}
            ),
            "httpd": Httpd(bindings=[]),
            "doors": DoorKeys(),
            "events": EventKeys(),
            "inspection": InspectionKeys(),
            "cluster": ClusterKeys(),
        }
    )
    return replace(loaded, settings=quiet, notes=())


def address_problem(account: Account, address: str) -> str:
    """The rule of the account that keeps an address out; empty if none does."""
    steps = check_login(account, protocol=Protocol.SFTP, method="", ip=address, now_ms=_now_ms(), stop=False)
    denied = (step.why for step in steps if step.rule.startswith("address") and step.verdict == "deny")
    return next(denied, "")


def login_problem(account: Account, method: str) -> str:
    """The first rule besides those about addresses that keeps an account out; empty if none does."""
    steps = check_login(
        account, protocol=Protocol.SFTP, method=method, ip=ADDRESS, now_ms=_now_ms(), stop=False
    )
    denied = (step.why for step in steps if not step.rule.startswith("address") and step.verdict == "deny")
    return next(denied, "")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def would_make(account: Account) -> str:
    """The reason why a session might make something in storage; empty if it would make nothing. Blocks.

    It makes its home, and in whatever storage serves them the directories that lead to folders, which opens
    that storage. Only local disk is looked at.
    """
    points = storages_of(account)
    home = points[VPath("/")]
    if home.config.is_local and not os.path.isdir(home.directory):
        return f"its directory {home.directory} is not there, and a session would make it"
    for point in points:
        above = point.parent
        while above != "/":
            if above not in points and (problem := _would_make(account, above)):
                return f"{above}, which leads to a folder, {problem}"
            above = above.parent
    return ""


def _would_make(account: Account, above: VPath) -> str:
    storage, inside = storage_at(account, above), above.relative_to(mount_point(account, above))
    if not storage.config.is_local:
        return "might be made by a session in its bucket"
    if not os.path.lexists(os.path.join(storage.directory, inside)):
        return f"is not in {storage.directory}, and a session would make it"
    return ""


def rights(account: Account, directories: Sequence[str]) -> tuple[dict[str, bool], dict[str, bool]]:
    """By the rules, for each directory: may a directory be made in it, may a file be uploaded to it."""
    gate = Gate(Principal(account, "password", ADDRESS), Protocol.SFTP)
    makes: dict[str, bool] = {}
    uploads: dict[str, bool] = {}
    for directory in directories:
        path = VPath.parse(f"{directory.rstrip('/')}/new")
        makes[directory] = gate.decide(Intent.MKDIR, path, is_dir=True).allowed
        uploads[directory] = gate.decide(Intent.UPLOAD, path).allowed
    return makes, uploads
