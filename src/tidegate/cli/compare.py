# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate import compare``: the old server and the imported accounts, before the switch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tidegate.cli import flags
from tidegate.cli.progress import meter
from tidegate.cli.provider import opened, run
from tidegate.cli.reports import require_report, write_report
from tidegate.cli.terminal import note, say, say_json, say_table
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from tidegate.comparison.client import Answer, Server
    from tidegate.comparison.credentials import Credential
    from tidegate.comparison.differences import Difference
    from tidegate.server.rehearsal import Rehearsal

COLUMNS: Final = ("user", "what", "old", "new")
SILENT_LOGINS: Final = 3
"""Logins in a row without an answer after which the old server is left alone."""
DIFFERENT: Final = 3
"""Exit code if there are differences."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The answers about one credential."""

    username: str
    old: Answer
    new: Answer
    differences: tuple[Difference, ...]


def compare(
    server: Annotated[
        str,
        typer.Argument(
            metavar="HOST:PORT", help="The old server; no other is spoken to.", show_default=False
        ),
    ],
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials", metavar="FILE", help="Passwords: a line NAME:PASSWORD for each user; mode 600."
        ),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option(
            "--identity",
            "-i",
            metavar="KEY",
            help="Private key; for the users named, or all who have it here. With --credentials: the first "
            "step of a login in two steps.",
        ),
    ] = None,
    users: Annotated[
        list[str] | None, typer.Option("--user", "-u", metavar="NAME", help="Only this user; repeatable.")
    ] = None,
    host_key: Annotated[
        list[str] | None,
        typer.Option(
            "--host-key", metavar="SHA256:...", help="Fingerprint of the old server's host key; repeatable."
        ),
    ] = None,
    known_hosts: Annotated[
        Path | None,
        typer.Option(
            "--known-hosts",
            metavar="FILE",
            help="File that holds its host key; without both, ~/.ssh/known_hosts.",
        ),
    ] = None,
    old_root: Annotated[
        str,
        typer.Option(
            "--old-root",
            metavar="PATH",
            help="Path at the old server that is / here; . is where a session begins there.",
        ),
    ] = "/",
    rate: Annotated[
        float, typer.Option("--rate", min=0.01, max=50, help="Most logins a second at the old server.")
    ] = 1.0,
    ask_uploads: Annotated[
        bool,
        typer.Option(
            "--ask-uploads",
            help="Ask SFTPGo or Tidegate by opening a file in a directory that does not exist, which fails; "
            "a pre-upload hook there hears of it.",
        ),
    ] = False,
    report_file: flags.Report = None,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Log in to the old server and to the accounts here, and print where they answer differently.

    Asked is: does the login succeed, what does / list, and where could a directory be made. Nothing is
    changed on either side. The accounts here are copies on a server of this configuration that listens on
    loopback for the time being. Run it as the server's user. Exit code 3: there are differences.
    """
    require_report(report_file)
    host, port = _host_port(server)
    if credentials is None and identity is None:
        raise typer.BadParameter("give one of the two, or both", param_hint="--credentials or --identity")

    async def work() -> list[_Row]:
        from tidegate.comparison.client import Server
        from tidegate.server.rehearsal import rehearsal

        known = str(known_hosts or Path.home() / ".ssh" / "known_hosts")
        if not host_key and not Path(known).is_file():
            raise InvalidArgument(
                f"{known}: no such file; name the old server's key by --host-key or --known-hosts"
            )
        old = Server(host, port, old_root, tuple(host_key or ()), known)
        async with opened(config_dir, config_file) as desk:
            wanted = await _wanted(desk.provider, credentials, identity, users or [])
            names = list(dict.fromkeys(one.username for one in wanted))
            async with rehearsal(desk.loaded, desk.provider, names) as here:
                return [
                    row async for row in _rows(old, here, wanted, pause=1 / rate, ask_uploads=ask_uploads)
                ]

    rows = run(work())
    found = [difference for row in rows for difference in row.differences]
    unknown = [row for row in rows if row.old.login is None or row.new.login is None]
    if report_file is not None:
        lines = [(one.username, one.what, one.old, one.new) for one in found]
        lines += [(row.username, "not compared", row.old.why, row.new.why) for row in unknown]
        write_report(report_file, _document(server, rows), COLUMNS, lines)
    if as_json:
        say_json(_document(server, rows))
    else:
        for row in unknown:
            note(f"{row.username}: not compared: {row.old.why or row.new.why}")
        if found:
            say_table(COLUMNS, [(one.username, one.what, one.old, one.new) for one in found])
        different = len({one.username for one in found})
        message = f"{len(found)} differences of {different} users" if found else "no differences"
        say(f"{len(rows)} logins compared with {host}:{port}: {message}")
    if found or unknown:
        raise typer.Exit(DIFFERENT)


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint="HOST:PORT")
    return host, int(port)


async def _wanted(
    provider: Any, credentials: Path | None, identity: Path | None, users: list[str]
) -> list[Credential]:
    from tidegate.comparison.credentials import Credential, read_credentials, read_identity

    key = None if identity is None else await asyncio.to_thread(read_identity, identity)
    if credentials is not None:
        found = await asyncio.to_thread(read_credentials, credentials)
        kept = [one for one in found if not users or one.username in users]
        if missing := set(users) - {one.username for one in found}:
            raise InvalidArgument(f"--user {min(missing)}: not in {credentials}")
        return [replace(one, key=key) for one in kept]
    assert key is not None
    if not users:
        blob = key.export_public_key("openssh").split()[1].decode()
        users = [
            account.username
            async for account in provider.iter_users()
            if any(blob in line.split() for line in account.public_keys)
        ]
        if not users:
            raise InvalidArgument(
                f"--identity: nobody here has the public half of {identity}; name users by --user"
            )
    return [Credential(name, key=key) for name in users]


async def _rows(
    old: Server, here: Rehearsal, wanted: list[Credential], *, pause: float, ask_uploads: bool
) -> AsyncIterator[_Row]:
    from tidegate.comparison.client import HostKeyUnknown, ask
    from tidegate.comparison.differences import differences

    loop, silent = asyncio.get_running_loop(), 0
    with meter("comparing", "logins", len(wanted)) as progress:
        for credential in wanted:
            begun = loop.time()
            account = here.accounts.get(credential.username)
            local = account is not None and account.filesystem.is_local
            try:
                there = await ask(old, credential, uploads=ask_uploads and local)
            except HostKeyUnknown as error:
                raise InvalidArgument(
                    f"the host key of {old.host}:{old.port} is {error}, for which nobody has vouched: "
                    "compare it with the old server's, then name it by --host-key"
                ) from None
            mine = await _answer(here, credential, there)
            silent = silent + 1 if there.login is None else 0
            yield _Row(credential.username, there, mine, tuple(differences(credential.username, there, mine)))
            progress.advance()
            if silent >= SILENT_LOGINS:
                note(
                    f"{old.host}:{old.port} has not answered {silent} logins in a row and is left alone; it "
                    "may be down, or keep this address out after refused logins"
                )
                return
            await asyncio.sleep(max(0.0, begun + pause - loop.time()))


async def _answer(here: Rehearsal, credential: Credential, there: Answer) -> Answer:
    """The answer of the account here, and what its rules say of the directories that the old server has."""
    from tidegate.comparison.client import Answer, Server, ask
    from tidegate.server.rehearsal import ADDRESS, address_problem, login_problem, rights, would_make

    account = here.accounts.get(credential.username)
    if account is None:
        return Answer(False, "no such user here")
    if there.address and (problem := address_problem(account, there.address)):
        return Answer(False, problem)
    nothing = await asyncio.to_thread(would_make, account)
    server = Server(ADDRESS, here.port, host_keys=here.host_keys)
    found = await ask(server, credential, look=not nothing and there.names is not None)
    if found.login is False:
        return replace(found, why=login_problem(account, credential.method) or "wrong password or key")
    makes, uploads = rights(account, sorted({*there.makes, *there.uploads}))
    return replace(found, why=found.why or nothing, makes=makes, uploads=uploads)


def _document(server: str, rows: list[_Row]) -> dict[str, Any]:
    return {
        "server": server,
        "logins": len(rows),
        "differences": [asdict(one) for row in rows for one in row.differences],
        "users": [{"username": row.username, "old": _shown(row.old), "new": _shown(row.new)} for row in rows],
    }


def _shown(answer: Answer) -> dict[str, Any]:
    return {
        "login": answer.login,
        "why": answer.why,
        "steps": answer.steps,
        "names": None if answer.names is None else list(answer.names),
        "cut": answer.cut,
        "makes": dict(answer.makes),
        "uploads": dict(answer.uploads),
    }
