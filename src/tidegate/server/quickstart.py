# SPDX-License-Identifier: Apache-2.0
"""``serve --quickstart``: from an empty directory to a server one can log in to, nothing to configure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tidegate.accounts.actor import Channel, operator
from tidegate.accounts.directories import DEFAULT_HOMES
from tidegate.accounts.passwords import generate_password
from tidegate.config.load import Loaded
from tidegate.server.administration import administration

if TYPE_CHECKING:
    from tidegate.server.app import App

ACCOUNT: Final = "demo"
ADMIN: Final = "admin"

BY: Final = operator("quickstart", Channel.QUICKSTART)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The accounts that were made, to be told once. Passwords are empty where something existed already."""

    username: str = ""
    password: str = ""
    home: str = ""
    admin_password: str = ""

    def __repr__(self) -> str:
        return f"Welcome(username={self.username!r})"


async def prepare(app: App, loaded: Loaded) -> Welcome:
    """Make an account and an administrator if there are none.

    Raises:
        ProviderError: accounts cannot be stored.
    """
    provider = app.provider
    await provider.open()
    service = administration(loaded, provider, events=app.bus)
    admin_password = ""
    if not await provider.admins(limit=1):
        admin_password = generate_password()
        document = {"username": ADMIN, "permissions": ["*"]}
        await service.admins.add(document, by=BY, password=admin_password)
    existing = await provider.user(ACCOUNT) or next(iter(await provider.users(limit=1)), None)
    if existing is not None:
        return Welcome(existing.username, home=existing.home_dir, admin_password=admin_password)
    password = generate_password()
    home = (loaded.config_dir / DEFAULT_HOMES / ACCOUNT).absolute()
    account = {
        "username": ACCOUNT,
        "home_dir": str(home),
        "permissions": {"/": ["*"]},
        "description": "made by quickstart",
    }
    await service.users.add(account, by=BY, password=password)
    return Welcome(ACCOUNT, password, str(home), admin_password)
