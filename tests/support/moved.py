# SPDX-License-Identifier: Apache-2.0
"""Dumps of SFTPGo loaded into memory, and what their accounts may do then."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from tests.support.loading import load_file

from tidegate.accounts.effective import effective
from tidegate.accounts.rules import Rules
from tidegate.model import Account, Admin, ApiKey, Folder, Intent, Principal, Protocol, VPath
from tidegate.model.group import Group
from tidegate.model.rule import EventAction, EventRule
from tidegate.policy.gate import Gate
from tidegate.store.contract import LoadReport
from tidegate.store.factory import ProviderOptions, create_provider
from tidegate.store.legacy.mover import MoveOptions

DUMPS = Path(__file__).parent.parent / "data" / "sftpgo"
HASH = "$2a$04$kA9fMqr7SxHN1KVgQO9QfeNa4w8o3LC1xQRVRMC9/xdMNZX9FZRy2"
"""Of the made-up password of the small dumps."""


@dataclass(slots=True)
class Moved:
    """The records that a dump became: `users` with what their groups give, `stored` without."""

    users: dict[str, Account] = field(default_factory=dict)
    stored: dict[str, Account] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    admins: dict[str, Admin] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)
    keys: dict[str, ApiKey] = field(default_factory=dict)
    actions: dict[str, EventAction] = field(default_factory=dict)
    rules: dict[str, EventRule] = field(default_factory=dict)
    report: LoadReport = field(default_factory=LoadReport)

    @property
    def notes(self) -> str:
        return "\n".join(self.report.notes)

    def may(self, user: str, intent: Intent, path: str, *, is_dir: bool = False, target: str = "") -> bool:
        """True if the gate lets a user do something; nobody who is disabled may."""
        account = self.users[user]
        if account.status != 1:
            return False
        gate = Gate(Principal(account, "password", "127.0.0.1"), Protocol.SFTP)
        second = VPath.parse(target) if target else None
        return gate.decide(intent, VPath.parse(path), target=second, is_dir=is_dir).allowed


async def move(source: str | dict[str, Any], *, naming_rules: int = 1, **options: Any) -> Moved:
    """Load a dump of `DUMPS` by the beginning of its name, or a document."""
    stream = (
        io.BytesIO(json.dumps(source).encode()) if isinstance(source, dict) else dump_file(source).open("rb")
    )
    with stream:
        return await move_stream(stream, naming_rules=naming_rules, **options)


async def move_stream(stream: BinaryIO, *, naming_rules: int = 1, **options: Any) -> Moved:
    """Load a dump."""
    provider = create_provider(ProviderOptions(driver="memory", name=""))
    await provider.open()
    rules = Rules(naming_rules=naming_rules, root_mounts=True)
    report = await load_file(
        provider, stream, rules=rules, hash_password=lambda _: HASH, move=MoveOptions(**options)
    )
    moved = Moved(report=report)
    moved.stored = {account.username: account async for account in provider.iter_users()}
    moved.groups = {group.name: group for group in await provider.groups(limit=1000)}
    resolver = effective(provider, rules)
    moved.users = {name: await resolver.of(account) for name, account in moved.stored.items()}
    moved.admins = {admin.username: admin for admin in await provider.admins(limit=1000)}
    moved.folders = {folder.name: folder for folder in await provider.folders(limit=1000)}
    moved.keys = {key.id: key for key in await provider.api_keys(limit=1000)}
    moved.actions = {
        action.name: replace(action, id=0, created_at=0, updated_at=0)
        for action in await provider.event_actions(limit=1000)
    }
    moved.rules = {rule.name: replace(rule, id=0) for rule in await provider.event_rules(limit=1000)}
    await provider.close()
    return moved


def dump_file(name: str) -> Path:
    """The one dump whose name begins so."""
    (found,) = DUMPS.glob(f"{name}*.json")
    return found
