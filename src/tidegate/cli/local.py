# SPDX-License-Identifier: Apache-2.0
"""Commands on the data provider itself, through the administration service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tidegate.accounts.directories import DEFAULT_HOMES
from tidegate.accounts.versions import encoded, version_of
from tidegate.cli.target import Connections, Document, Edit, Quotas, Read, ScanKind, Target
from tidegate.errors import BadRecord, InvalidArgument
from tidegate.model import Account, Admin, Folder

if TYPE_CHECKING:
    from tidegate.cli.provider import AdminContext

PAGE: Final = 500
"""Records read at a time."""


class LocalUsers:
    """Accounts of the provider."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._verbs = context.administration.users

    async def all(self) -> AsyncIterator[Document]:
        """Every account by name."""
        async for account in self._context.provider.iter_users():
            yield encoded(account)

    async def count(self) -> int:
        """The number of records."""
        return await self._context.provider.count_users()

    async def get(self, name: str) -> Read:
        """One account."""
        account = await self._verbs.get(name)
        return Read(encoded(account), version_of(account))

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Add one."""
        with _spoken():
            return encoded(await self._verbs.add(document, by=self._context.actor, password=password))

    async def change(self, name: str, edit: Edit, *, password: str = "") -> Document:
        """Change one."""
        with _spoken():
            if password:
                changed = await self._verbs.set_password(name, password, by=self._context.actor)
            else:
                changed = await self._verbs.change(name, _on_record(edit), by=self._context.actor)
        return encoded(changed)

    async def remove(self, name: str, *, version: str) -> None:
        """Remove one."""
        await self._verbs.remove(name, by=self._context.actor, version=version)

    async def set_keys(self, name: str, edit: Callable[[list[str]], list[str]]) -> Document:
        """Replace the public keys alone."""

        def keys(account: Account) -> list[str]:
            return edit(list(account.public_keys))

        return encoded(await self._verbs.set_keys(name, keys, by=self._context.actor))


class LocalFolders:
    """Folders of the provider."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._verbs = context.administration.folders

    async def all(self) -> AsyncIterator[Document]:
        """Every folder by name."""
        offset = 0
        while page := await self._context.provider.folders(offset=offset, limit=PAGE):
            for folder in page:
                yield await self._document(folder)
            offset += len(page)

    async def count(self) -> int:
        """Not counted: there are few."""
        return 0

    async def get(self, name: str) -> Read:
        """One folder, with who mounts it."""
        folder = await self._verbs.get(name)
        return Read(await self._document(folder), version_of(folder))

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Add one."""
        del password
        return await self._document(await self._verbs.add(document, by=self._context.actor))

    async def change(self, name: str, edit: Edit, *, password: str = "") -> Document:
        """Change one."""
        del password
        folder = await self._verbs.change(name, _on_record(edit), by=self._context.actor)
        return await self._document(folder)

    async def remove(self, name: str, *, version: str) -> None:
        """Remove one."""
        await self._verbs.remove(name, by=self._context.actor, version=version)

    async def _document(self, folder: Folder) -> Document:
        return {**encoded(folder), "users": await self._context.provider.folder_users(folder.name)}


class LocalAdmins:
    """Administrators of the provider."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._verbs = context.administration.admins

    async def all(self) -> AsyncIterator[Document]:
        """Every administrator by name."""
        offset = 0
        while page := await self._context.provider.admins(offset=offset, limit=PAGE):
            for admin in page:
                yield encoded(admin)
            offset += len(page)

    async def count(self) -> int:
        """Not counted: there are few."""
        return 0

    async def get(self, name: str) -> Read:
        """One administrator."""
        admin = await self._verbs.get(name)
        return Read(encoded(admin), version_of(admin))

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Add one."""
        with _spoken():
            return encoded(await self._verbs.add(document, by=self._context.actor, password=password))

    async def change(self, name: str, edit: Edit, *, password: str = "") -> Document:
        """Change one."""
        with _spoken():
            if password:
                changed = await self._verbs.set_password(name, password, by=self._context.actor)
            else:
                changed = await self._verbs.change(name, _on_record(edit), by=self._context.actor)
        return encoded(changed)

    async def remove(self, name: str, *, version: str) -> None:
        """Remove one."""
        await self._verbs.remove(name, by=self._context.actor, version=version)


class LocalQuotas:
    """Usage in the provider."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    async def scan(self, kind: ScanKind, name: str) -> str:
        """Mark an account, or those that have a folder: the server counts marked ones when it starts."""
        if not self._context.loaded.settings.data_provider.track_quota:
            raise InvalidArgument("usage is not tracked, data_provider.track_quota is 0")
        if kind == "user":
            found = (await self._context.administration.users.get(name)).username
            marked = [found]
        else:
            found = (await self._context.administration.folders.get(name)).name
            marked = await self._context.provider.folder_users(found)
            if not marked:
                raise InvalidArgument(
                    f"no account has the folder {found}; a running server counts it if asked with --url"
                )
        for username in marked:
            await self._context.provider.mark_usage(username, dirty=True)
        return (
            f"the server counts the files of {found} when it starts; "
            "a running one counts now if asked with --url"
        )

    async def outcome(self, kind: ScanKind, name: str) -> Document | None:
        """Nothing runs here."""
        del kind, name
        return None

    async def running(self) -> list[Document]:
        """Nothing runs here."""
        raise InvalidArgument("a running server knows what it counts: name it with --url")


class LocalTarget:
    """The data provider of this host's configuration."""

    def __init__(self, context: AdminContext) -> None:
        self._context: Final = context
        self.users: Final = LocalUsers(context)
        self.folders: Final = LocalFolders(context)
        self.admins: Final = LocalAdmins(context)
        self._quotas: Final = LocalQuotas(context)

    @property
    def quotas(self) -> Quotas:
        """Usage."""
        return self._quotas

    @property
    def connections(self) -> Connections:
        """Nothing: only a running server knows them.

        Raises:
            InvalidArgument: always.
        """
        raise InvalidArgument("connections are known to the running server alone: name it with --url")

    def default_home(self, name: str) -> str:
        """A directory in the configuration directory, unless the configuration says where homes are."""
        if self._context.rules.users_base_dir or "/" in name:
            return ""
        return str(self._context.loaded.resolve(DEFAULT_HOMES).absolute() / name)


def _on_record(edit: Edit) -> Callable[[Any], Document]:
    def of(record: Account | Folder | Admin) -> Document:
        return edit(encoded(record, confidential=True))

    return of


@contextmanager
def _spoken() -> Iterator[None]:
    """A mistake in a password said as a sentence: a person typed it, and knows no field of that name."""
    try:
        yield
    except BadRecord as error:
        if error.field != "password":
            raise
        raise InvalidArgument(f"the password {error.what}") from None


def _keeps_the_contract(target: LocalTarget) -> Target:
    return target
