# SPDX-License-Identifier: Apache-2.0
"""Commands on the data provider itself, through the administration service.

Long, because it has one class for each kind of record and of live state, a few lines each.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from tidegate.accounts.directories import DEFAULT_HOMES
from tidegate.accounts.versions import encoded, version_of
from tidegate.cli.local_bans import LocalBans, from_records
from tidegate.cli.target import (
    Connections,
    Document,
    Edit,
    KeptFiles,
    Locks,
    Log,
    Quotas,
    Read,
    Records,
    ScanKind,
    StorageMoves,
    Target,
)
from tidegate.errors import BadRecord, InvalidArgument, NotFound
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule

if TYPE_CHECKING:
    from tidegate.accounts.actor import Actor
    from tidegate.cli.provider import AdminContext

R = TypeVar("R", bound=Account | Folder | Group | Role | Admin | ApiKey | EventAction | EventRule | ListEntry)
R_co = TypeVar("R_co", covariant=True)

PAGE: Final = 500
"""Records read at a time."""


class Page(Protocol[R_co]):
    """Reads a page of records by name."""

    async def __call__(self, *, offset: int, limit: int) -> Sequence[R_co]:
        """The page; empty after the last record."""
        ...


class Verbs(Protocol[R_co]):
    """Verbs of the service that every kind of record has."""

    async def get(self, name: str, /) -> R_co:
        """One record."""
        ...

    async def change(self, name: str, edit: Callable[[Any], Document], /, *, by: Actor) -> R_co:
        """Change one."""
        ...

    async def remove(self, name: str, /, *, by: Actor, version: str = "") -> R_co:
        """Remove one."""
        ...


class LoginVerbs(Verbs[R_co], Protocol[R_co]):
    """Verbs of the service on records with a password."""

    async def add(self, document: Document, /, *, by: Actor, password: str = "") -> R_co:
        """Add one."""
        ...

    async def set_password(self, name: str, password: str, /, *, by: Actor) -> R_co:
        """Replace its password alone."""
        ...


class LocalRecords(Generic[R]):
    """One kind of record of the provider.

    Args:
        context: of the command.
        verbs: of the service.
        page: a page of records by name.
    """

    def __init__(self, context: AdminContext, verbs: Verbs[R], page: Page[R]) -> None:
        self._context: Final = context
        self._actor: Final = context.actor
        self._changes: Final[Verbs[R]] = verbs
        self._page: Final[Page[R]] = page

    async def all(self) -> AsyncIterator[Document]:
        """Every record by name."""
        offset = 0
        while page := await self._page(offset=offset, limit=PAGE):
            for record in page:
                yield await self._document(record)
            offset += len(page)

    async def count(self) -> int:
        """Not counted: there are few."""
        return 0

    async def get(self, name: str) -> Read:
        """One record."""
        record = await self._changes.get(name)
        return Read(await self._document(record), version_of(record))

    async def change(self, name: str, edit: Edit, *, password: str = "") -> Document:
        """Change one."""
        del password
        with _spoken():
            return await self._document(await self._changes.change(name, _on_record(edit), by=self._actor))

    async def remove(self, name: str, *, version: str) -> None:
        """Remove one."""
        await self._changes.remove(name, by=self._actor, version=version)

    async def _document(self, record: R) -> Document:
        return encoded(record)


class LocalLogins(LocalRecords[R]):
    """A kind of record that somebody logs in by, with a password."""

    def __init__(self, context: AdminContext, verbs: LoginVerbs[R], page: Page[R]) -> None:
        super().__init__(context, verbs, page)
        self._logins: Final[LoginVerbs[R]] = verbs

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Add one."""
        with _spoken():
            return encoded(await self._logins.add(document, by=self._actor, password=password))

    async def change(self, name: str, edit: Edit, *, password: str = "") -> Document:
        """Change one, or its password alone."""
        if not password:
            return await super().change(name, edit)
        with _spoken():
            return encoded(await self._logins.set_password(name, password, by=self._actor))


class LocalUsers(LocalLogins[Account]):
    """Accounts of the provider."""

    def __init__(self, context: AdminContext) -> None:
        self._verbs: Final = context.administration.users
        super().__init__(context, self._verbs, context.provider.users)

    async def all(self) -> AsyncIterator[Document]:
        """Every account by name; there may be many, so none is skipped to find a page."""
        async for account in self._context.provider.iter_users():
            yield encoded(account)

    async def count(self) -> int:
        """The number of accounts."""
        return await self._context.provider.count_users()

    async def set_keys(self, name: str, edit: Callable[[list[str]], list[str]]) -> Document:
        """Replace the public keys alone."""

        def keys(account: Account) -> list[str]:
            return edit(list(account.public_keys))

        return encoded(await self._verbs.set_keys(name, keys, by=self._actor))


class LocalFolders(LocalRecords[Folder]):
    """Folders of the provider."""

    def __init__(self, context: AdminContext) -> None:
        self._verbs: Final = context.administration.folders
        super().__init__(context, self._verbs, context.provider.folders)

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Add one."""
        del password
        return await self._document(await self._verbs.add(document, by=self._actor))

    async def _document(self, record: Folder) -> Document:
        """The folder, with who mounts it."""
        return {**encoded(record), "users": await self._context.provider.folder_users(record.name)}


class LocalDocuments(LocalRecords[R]):
    """A kind of record that is added as a document."""

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Add one."""
        del password
        verbs: Any = self._changes
        return await self._document(await verbs.add(document, by=self._actor))


class LocalGroups(LocalDocuments[Group]):
    """Groups of the provider."""

    async def _document(self, record: Group) -> Document:
        """The group, with who has it."""
        return {**encoded(record), "users": await self._context.provider.group_users(record.name)}


class LocalRoles(LocalDocuments[Role]):
    """Roles of the provider."""

    async def _document(self, record: Role) -> Document:
        """The role, with who has it."""
        provider = self._context.provider
        return {
            **encoded(record),
            "users": await provider.role_users(record.name),
            "admins": await provider.role_admins(record.name),
        }


class LocalEvents:
    """Event rules of this configuration, and deliveries in the provider."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    async def active_rules(self) -> list[Document]:
        """Rules that a server of this configuration runs."""
        from tidegate.rules.book import shown_rule
        from tidegate.server.rule_parts import stored_book

        book = await stored_book(self._context.loaded, self._context.provider)
        return [dict(shown_rule(rule)) for rule in book.rules]

    async def run_rule(self, name: str) -> None:
        """Nothing runs here."""
        raise InvalidArgument(f"a running server runs the rule {name}: name it with --url")

    async def test(self, name: str, event: Document, file: str) -> Document:
        """Tell what a rule would do on an event."""
        from tidegate.rules.facts import decode_facts
        from tidegate.rules.rehearse import rehearse
        from tidegate.server.rule_parts import stored_book

        try:
            facts = decode_facts(json.dumps(event))
        except ValueError as error:
            raise InvalidArgument(f"{file}: {error}") from None
        book = await stored_book(self._context.loaded, self._context.provider)
        rule = book.find(name)
        if rule is None:
            known = ", ".join(one.name for one in book.rules) or "none"
            raise NotFound(f"no such active rule: {name}; there are: {known}")
        return rehearse(rule, facts)

    async def deliveries(self, state: str) -> list[Document]:
        """Deliveries in a state."""
        from tidegate.store.deliveries import shown_delivery

        wanted: Any = state or None
        found: list[Document] = []
        while rows := await self._context.provider.deliveries.listing(wanted, offset=len(found), limit=500):
            found += [dict(shown_delivery(row)) for row in rows]
        return found

    async def retry(self, ids: list[str] | None) -> int:
        """Have deliveries sent again."""
        await self._known(ids)
        return await self._context.provider.deliveries.retry(ids)

    async def drop(self, ids: list[str] | None) -> int:
        """Forget deliveries."""
        await self._known(ids)
        return await self._context.provider.deliveries.drop(ids)

    async def _known(self, ids: list[str] | None) -> None:
        for one in ids or ():
            if await self._context.provider.deliveries.find(one) is None:
                raise NotFound(f"no such delivery: {one}")


class LocalAdmins(LocalLogins[Admin]):
    """Administrators of the provider."""

    def __init__(self, context: AdminContext) -> None:
        super().__init__(context, context.administration.admins, context.provider.admins)


class LocalApiKeys(LocalRecords[ApiKey]):
    """API keys of the provider."""

    def __init__(self, context: AdminContext) -> None:
        self._verbs: Final = context.administration.api_keys
        super().__init__(context, self._verbs, context.provider.api_keys)

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Make one; `key` of the answer is the text that a program sends."""
        del password
        made, text = await self._verbs.add(document, by=self._actor)
        return {**encoded(made), "key": text}


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
            marked = await self._context.administration.folders.users_of(found)
            if not marked:
                text = f"no account has the folder {found}; a running server counts it if asked with --url"
                raise InvalidArgument(text)
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

    async def cancel(self, kind: ScanKind, name: str) -> str:
        """Nothing runs here."""
        del kind, name
        raise InvalidArgument("a running server counts, nothing else: name it with --url")

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
        self.events: Final = LocalEvents(context)
        self.api_keys: Final = LocalApiKeys(context)
        self.bans: Final = LocalBans(context)
        self.explain_connect: Final = partial(from_records, context)
        self._quotas: Final = LocalQuotas(context)

    @property
    def groups(self) -> Records:
        """Groups."""
        return LocalGroups(self._context, self._context.administration.groups, self._context.provider.groups)

    @property
    def roles(self) -> Records:
        """Roles."""
        return LocalRoles(self._context, self._context.administration.roles, self._context.provider.roles)

    @property
    def event_actions(self) -> Records:
        """Event actions."""
        verbs = self._context.administration.event_actions
        return LocalDocuments(self._context, verbs, self._context.provider.event_actions)

    @property
    def event_rules(self) -> Records:
        """Event rules."""
        verbs = self._context.administration.event_rules
        return LocalDocuments(self._context, verbs, self._context.provider.event_rules)

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

    @property
    def moves(self) -> StorageMoves:
        """Nothing: only a running server knows who works.

        Raises:
            InvalidArgument: always.
        """
        raise InvalidArgument("a running server moves files, for it knows who works: name it with --url")

    @property
    def log(self) -> Log:
        """See `Target`; `tidegate logs` reads the file of this host itself.

        Raises:
            InvalidArgument: always.
        """
        raise InvalidArgument("the log of this host is read from its file")

    @property
    def locks(self) -> Locks:
        """Nothing: only a running server knows them.

        Raises:
            InvalidArgument: always.
        """
        raise InvalidArgument("locks are known to the running server alone: name it with --url")

    @property
    def quarantine(self) -> KeptFiles:
        """Files in the quarantine of this host."""
        from tidegate.cli.local_quarantine import LocalQuarantine

        return LocalQuarantine(self._context.loaded)

    def default_home(self, name: str) -> str:
        """A directory in the configuration directory, unless the configuration says where homes are."""
        settings = self._context.loaded.settings
        if self._context.rules.users_base_dir or settings.storage.homes.bucket or "/" in name:
            return ""
        return str(self._context.loaded.resolve(DEFAULT_HOMES).absolute() / name)


def _on_record(edit: Edit) -> Callable[[Any], Document]:
    def of(record: Account | Folder | Admin | ApiKey) -> Document:
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
