# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate import``: accounts of other servers.

Long, because every source has its command here, and all of them share one way to plan, report and carry out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final
from urllib.parse import quote

import typer

from tidegate.cli import flags
from tidegate.cli.compare import compare
from tidegate.cli.loading import Opened, dump_file, loading
from tidegate.cli.progress import meter
from tidegate.cli.provider import AdminContext, opened, run
from tidegate.cli.reports import require_report, write_report
from tidegate.cli.terminal import note, read_password, say, say_json, say_table

if TYPE_CHECKING:
    from tidegate.store.imports.common import Harvest
    from tidegate.store.imports.plan import PlanRow

MAX_NAMED: Final = 20
"""Users whom a remark names; the table, or the report, has them all."""
NAMED_BY_REMARK: Final = 3
"""Users whom a remark about many names."""

COLUMNS: Final = ("user", "action", "field", "now", "then", "from")
"""Of the table, and of a report as CSV."""

DisableMissing = Annotated[
    bool,
    typer.Option(
        "--disable-missing",
        help="Disable users whom an earlier import brought and who are gone in the source.",
    ),
]

Read = Callable[[AdminContext], Awaitable["Harvest"]]
"""Reads a source, with the data provider open."""
Source = Callable[..., Read]
"""Takes a source's own flags."""

app = flags.group("Take over accounts of other servers; --dry-run prints what would change.")


@dataclass(frozen=True, slots=True)
class _Choices:
    """Flags that every import has."""

    mode: int
    keep_passwords: bool
    disable_missing: bool
    dry_run: bool
    report_file: Path | None
    as_json: bool


def _shared(
    mode: flags.Mode = 0,
    keep_passwords: flags.KeepPasswords = False,
    disable_missing: DisableMissing = False,
    dry_run: flags.DryRun = False,
    report_file: flags.Report = None,
    create: flags.Create = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> tuple[_Choices, bool, Path, str]:
    choices = _Choices(mode, keep_passwords, disable_missing, dry_run, report_file, as_json)
    return choices, create, config_dir, config_file


def importer(source: Source) -> Source:
    """Make a command of a source: its own flags, then those of every import, and one flow for all.

    Args:
        source: its parameters are the flags of the source alone, its docstring is the help.
    """
    own, shared = signature(source, eval_str=True), signature(_shared, eval_str=True)

    def command(**given: Any) -> None:
        choices, create, config_dir, config_file = _shared(
            **{name: value for name, value in given.items() if name in shared.parameters}
        )
        if choices.disable_missing and choices.mode == 1:
            raise typer.BadParameter("mode 1 leaves existing users alone", param_hint="--disable-missing")
        require_report(choices.report_file)
        read = source(**{name: value for name, value in given.items() if name in own.parameters})

        async def work() -> None:
            async with opened(config_dir, config_file, create=create) as context:
                await _carry_out(context, await read(context), choices)

        run(work())

    parameters = [*own.parameters.values(), *shared.parameters.values()]
    # typer reads a command's flags from its signature.
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__doc__ = source.__doc__
    app.command(source.__name__)(command)
    return source


@importer
def unix(
    passwd: Annotated[Path, typer.Argument(help="passwd file.", show_default=False)],
    shadow: Annotated[
        Path | None, typer.Option("--shadow", help="shadow file, for the password hashes.")
    ] = None,
    least_uid: Annotated[int, typer.Option("--least-uid", min=1, help="Leave out smaller user ids.")] = 1000,
    most_uid: Annotated[int, typer.Option("--most-uid", min=1, help="Leave out larger user ids.")] = 60_000,
) -> Read:
    """Take over system users from passwd and shadow files."""

    async def read(context: AdminContext) -> Harvest:
        from tidegate.store.imports.common import read_text
        from tidegate.store.imports.unix import parse_unix

        return parse_unix(
            read_text(passwd),
            read_text(shadow) if shadow is not None else "",
            least_uid=least_uid,
            most_uid=most_uid,
            passwd_name=str(passwd),
            shadow_name=str(shadow or ""),
            rules=context.rules,
        )

    return read


@importer
def pureftpd(file: Annotated[Path, typer.Argument(help="pureftpd.passwd file.", show_default=False)]) -> Read:
    """Take over virtual users of Pure-FTPd."""

    async def read(context: AdminContext) -> Harvest:
        from tidegate.store.imports.common import read_text
        from tidegate.store.imports.pureftpd import parse_pureftpd

        return parse_pureftpd(read_text(file), name=str(file), rules=context.rules)

    return read


@importer
def proftpd(
    users: Annotated[Path, typer.Argument(help="AuthUserFile.", show_default=False)],
    groups: Annotated[Path | None, typer.Option("--groups", help="AuthGroupFile.")] = None,
) -> Read:
    """Take over virtual users of ProFTPD (AuthUserFile, AuthGroupFile)."""

    async def read(context: AdminContext) -> Harvest:
        from tidegate.store.imports.common import read_text
        from tidegate.store.imports.proftpd import parse_proftpd

        return parse_proftpd(
            read_text(users),
            read_text(groups) if groups is not None else "",
            users_name=str(users),
            groups_name=str(groups or ""),
            rules=context.rules,
        )

    return read


@importer
def openbridge(
    host: Annotated[
        str, typer.Option("--host", help="MySQL or MariaDB server of the gateway.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Its port.")] = 3306,
    database: Annotated[str, typer.Option("--database", help="Database with the ftpd_ tables.")] = "ftpd",
    username: Annotated[str, typer.Option("--username", "-u", help="Database user.")] = "ftpd",
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    tls: Annotated[
        str, typer.Option("--tls", help="false, true (checked), skip-verify or preferred.")
    ] = "false",
    tls_ca: Annotated[
        Path | None,
        typer.Option("--tls-ca", help="File of the authority that signed the server's certificate."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="File of a client certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="File of its key.")] = None,
    closed_by_default: Annotated[
        bool,
        typer.Option(
            "--closed-by-default", help="The old server refused addresses that ftpd_allow does not name."
        ),
    ] = False,
) -> Read:
    """Take over users of the Openbridge gateway from its database; nothing is written there."""
    if tls not in ("false", "true", "skip-verify", "preferred"):
        raise typer.BadParameter(f"{tls!r} is not false, true, skip-verify or preferred", param_hint="--tls")
    password = read_password(f"{username} at {host}", stdin=password_stdin, file=password_file)
    place = f"[{host}]" if ":" in host else host
    login = f"{quote(username, safe='')}:{quote(password, safe='')}"
    url = f"mysql://{login}@{place}:{port}/{quote(database, safe='')}"
    if tls != "false":
        url += f"?tls={tls}"

    async def read(context: AdminContext) -> Harvest:
        from tidegate.accounts.keys import parse_public_key
        from tidegate.store.imports.openbridge import parse_openbridge
        from tidegate.store.imports.openbridge_tables import read_openbridge

        tables = await read_openbridge(
            url,
            tls_ca=str(tls_ca or ""),
            client_cert=str(tls_cert or ""),
            client_key=str(tls_key or ""),
        )
        if context.loaded.settings.common.file_patterns.preset != "openbridge":
            note(
                "the gateway refused 110 extensions and names that start with a dot; to refuse them here, "
                'for all accounts: common.file_patterns.preset = "openbridge"'
            )
        return parse_openbridge(
            tables,
            parse_key=parse_public_key,
            closed_by_default=closed_by_default,
            rules=context.rules,
        )

    return read


@loading
def sftpgo(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[DUMP]", help="Dump of SFTPGo 0.9 to 2.x.", show_default=False),
    ] = None,
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="DATABASE",
            help="SFTPGo's own database of 0.9.4 to 2.7 instead of a dump: sqlite:FILE, "
            "postgresql://USER@HOST/NAME or mysql://USER@HOST/NAME; nothing is written there.",
        ),
    ] = "",
    tables_prefix: Annotated[
        str, typer.Option("--tables-prefix", help="data_provider.sql_tables_prefix of SFTPGo.")
    ] = "",
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", help="File of the authority of a MySQL server.")
    ] = None,
) -> Opened:
    """Take over accounts of SFTPGo, from a dump or straight from its database.

    Both are read with the meaning of the release that wrote them. Users and administrators whom
    something restricts that this version does not have come in disabled.
    """
    if (file is None) == (not from_):
        raise typer.BadParameter("name a dump or --from DATABASE, one of the two", param_hint="DUMP")
    if file is not None:
        return dump_file(file)
    password = ""
    if password_stdin or password_file is not None:
        password = read_password("the database user", stdin=password_stdin, file=password_file)

    @asynccontextmanager
    async def database() -> AsyncIterator[BinaryIO]:
        from tidegate.store.imports.sftpgo_tables import read_sftpgo

        found = await read_sftpgo(from_, prefix=tables_prefix, password=password, tls_ca=str(tls_ca or ""))
        for text in found.notes:
            note(text)
        with found.dump as dump:
            yield dump

    return database


app.command("sftpgo")(sftpgo)
app.command("compare")(compare)


async def _carry_out(context: AdminContext, harvest: Harvest, choices: _Choices) -> None:
    """Print the plan and, unless it is a dry run or the source has mistakes, do it."""
    from tidegate.accounts.actor import Channel
    from tidegate.server.administration import at_shell
    from tidegate.store.imports.plan import apply_import, plan_import

    report_file, as_json, dry_run = choices.report_file, choices.as_json, choices.dry_run
    for text in harvest.notes:
        note(text)
    if harvest.skipped:
        note(f"{harvest.skipped} records left out")
    for problem in harvest.problems[:MAX_NAMED]:
        note(f"problem: {problem}")
    if len(harvest.problems) > MAX_NAMED:
        note(f"and {len(harvest.problems) - MAX_NAMED} more problems; --report FILE has them all")
    total = await context.provider.count_users() + len(harvest.accounts)
    with meter("importing", "users", total) as progress:
        if dry_run or harvest.problems:
            rows = await plan_import(
                context.provider,
                harvest.accounts,
                choices.mode,
                groups=harvest.groups,
                keep_passwords=choices.keep_passwords,
                source=harvest.source,
                complete=not harvest.problems,
                disable_missing=choices.disable_missing,
                how_far=progress.advance,
            )
        else:
            rows, _ = await apply_import(
                context.provider,
                context.administration.loads,
                harvest,
                choices.mode,
                by=at_shell(Channel.IMPORT),
                keep_passwords=choices.keep_passwords,
                disable_missing=choices.disable_missing,
                how_far=progress.advance,
            )
    if report_file is not None:
        write_report(
            report_file,
            {
                "users": _documents([row for row in rows if row.kind == "user"]),
                "groups": _documents([row for row in rows if row.kind == "group"]),
                "notes": list(harvest.notes),
                "problems": [str(problem) for problem in harvest.problems],
            },
            COLUMNS,
            [
                *(line for row in rows for line in _lines(row)),
                *(("", "note", "", "", text, "") for text in harvest.notes),
                *(("", "problem", "", "", problem.what, problem.field) for problem in harvest.problems),
            ],
        )
    _show(rows, as_json=as_json, all_rows=report_file is None and len(rows) <= flags.SHOWN_ROWS)
    if harvest.problems:
        from tidegate.errors import BadRecord

        first = harvest.problems[0]
        count = len(harvest.problems)
        raise BadRecord(first.field, f"{first.what} ({count} problems, nothing was changed)")
    if not as_json:
        users = [row for row in rows if row.kind == "user"]
        gone = [row.name for row in users if row.action == "gone"]
        if gone:
            note(
                f"{len(gone)} users came from this source and are gone there, but may still log in here "
                f"(--disable-missing disables them): {', '.join(gone[:MAX_NAMED])}"
                + (f" and {len(gone) - MAX_NAMED} more" if len(gone) > MAX_NAMED else "")
            )
        actions = ("add", "update", "keep", *(["disable"] if choices.disable_missing else []))
        counts = {action: sum(row.action == action for row in users) for action in actions}
        told = ", ".join(f"{count} to {action}" for action, count in counts.items())
        say(f"dry run, nothing was changed: {told}" if dry_run else f"done: {told}")
        if len(rows) > flags.SHOWN_ROWS and report_file is None:
            note("--report FILE writes each, field by field")


def _documents(rows: list[PlanRow]) -> list[dict[str, object]]:
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "action": row.action,
            "where": row.where,
            "changes": [{"field": c.field, "before": c.before, "after": c.after} for c in row.changes],
            "notes": list(row.notes),
        }
        for row in rows
    ]


def _show(rows: list[PlanRow], *, as_json: bool, all_rows: bool) -> None:
    if as_json:
        say_json(_documents(rows))
        return
    if all_rows:
        say_table(COLUMNS, [line for row in rows for line in _lines(row)])
        return
    remarks: dict[str, list[str]] = {}
    for row in rows:
        for text in row.notes:
            remarks.setdefault(text, []).append(row.name)
    for text, names in remarks.items():
        shown = ", ".join(names[:NAMED_BY_REMARK]) + (", ..." if len(names) > NAMED_BY_REMARK else "")
        note(f"{text} ({len(names)}: {shown})")


def _lines(row: PlanRow) -> list[tuple[str, str, str, str, str, str]]:
    """The planned change of a record, a line for each field and each remark."""
    name = row.name if row.kind == "user" else f"group {row.name}"
    lines = [(name, str(row.action), c.field, c.before, c.after, row.where) for c in row.changes]
    lines += [(name, row.action, "", "", f"({text})", row.where) for text in row.notes]
    return lines or [(name, row.action, "", "", "", row.where)]
