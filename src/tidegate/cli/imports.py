# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate import``: accounts of other servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from tidegate.cli import flags
from tidegate.cli.provider import Desk, opened, run
from tidegate.cli.terminal import note, read_password, say, say_json, say_table

if TYPE_CHECKING:
    from tidegate.store.imports.common import Harvest
    from tidegate.store.imports.plan import PlanRow

app = flags.group("Take over accounts of other servers; --dry-run prints what would change.")


@app.command("unix")
def unix(
    passwd: Annotated[Path, typer.Argument(help="passwd file.", show_default=False)],
    shadow: Annotated[
        Path | None, typer.Option("--shadow", help="shadow file, for the password hashes.")
    ] = None,
    least_uid: Annotated[int, typer.Option("--least-uid", min=1, help="Leave out smaller user ids.")] = 1000,
    most_uid: Annotated[int, typer.Option("--most-uid", min=1, help="Leave out larger user ids.")] = 60_000,
    mode: flags.Mode = 0,
    keep_passwords: flags.KeepPasswords = False,
    dry_run: flags.DryRun = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Take over system users from passwd and shadow files."""

    async def work() -> None:
        from tidegate.store.imports.common import read_text
        from tidegate.store.imports.unix import parse_unix

        async with opened(config_dir, config_file) as desk:
            harvest = parse_unix(
                read_text(passwd),
                read_text(shadow) if shadow is not None else "",
                least_uid=least_uid,
                most_uid=most_uid,
                passwd_name=str(passwd),
                shadow_name=str(shadow or ""),
                rules=desk.rules,
            )
            await _carry_out(
                desk, harvest, mode, keep_passwords=keep_passwords, dry_run=dry_run, as_json=as_json
            )

    run(work())


@app.command("pureftpd")
def pureftpd(
    file: Annotated[Path, typer.Argument(help="pureftpd.passwd file.", show_default=False)],
    mode: flags.Mode = 0,
    keep_passwords: flags.KeepPasswords = False,
    dry_run: flags.DryRun = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Take over virtual users of Pure-FTPd."""

    async def work() -> None:
        from tidegate.store.imports.common import read_text
        from tidegate.store.imports.pureftpd import parse_pureftpd

        async with opened(config_dir, config_file) as desk:
            harvest = parse_pureftpd(read_text(file), name=str(file), rules=desk.rules)
            await _carry_out(
                desk, harvest, mode, keep_passwords=keep_passwords, dry_run=dry_run, as_json=as_json
            )

    run(work())


@app.command("proftpd")
def proftpd(
    users: Annotated[Path, typer.Argument(help="AuthUserFile.", show_default=False)],
    groups: Annotated[Path | None, typer.Option("--groups", help="AuthGroupFile.")] = None,
    mode: flags.Mode = 0,
    keep_passwords: flags.KeepPasswords = False,
    dry_run: flags.DryRun = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Take over virtual users of ProFTPD (AuthUserFile, AuthGroupFile)."""

    async def work() -> None:
        from tidegate.store.imports.common import read_text
        from tidegate.store.imports.proftpd import parse_proftpd

        async with opened(config_dir, config_file) as desk:
            harvest = parse_proftpd(
                read_text(users),
                read_text(groups) if groups is not None else "",
                users_name=str(users),
                groups_name=str(groups or ""),
                rules=desk.rules,
            )
            await _carry_out(
                desk, harvest, mode, keep_passwords=keep_passwords, dry_run=dry_run, as_json=as_json
            )

    run(work())


@app.command("openbridge")
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
    closed_by_default: Annotated[
        bool,
        typer.Option(
            "--closed-by-default", help="The old server refused addresses that ftpd_allow does not name."
        ),
    ] = False,
    mode: flags.Mode = 0,
    keep_passwords: flags.KeepPasswords = False,
    dry_run: flags.DryRun = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Take over users of the Openbridge gateway from its database; nothing is written there."""
    if tls not in ("false", "true", "skip-verify", "preferred"):
        raise typer.BadParameter(f"{tls!r} is not false, true, skip-verify or preferred", param_hint="--tls")
    password = read_password(f"{username} at {host}", stdin=password_stdin, file=password_file)
    place = f"[{host}]" if ":" in host else host
    login = f"{quote(username, safe='')}:{quote(password, safe='')}"
    url = f"mysql://{login}@{place}:{port}/{quote(database, safe='')}"
    if tls != "false":
        url += f"?tls={tls}"

    async def work() -> None:
        from tidegate.identity.keys import parse_public_key
        from tidegate.store.imports.openbridge import parse_openbridge
        from tidegate.store.imports.openbridge_tables import read_openbridge

        async with opened(config_dir, config_file) as desk:
            harvest = parse_openbridge(
                await read_openbridge(url),
                parse_key=parse_public_key,
                closed_by_default=closed_by_default,
                rules=desk.rules,
            )
            await _carry_out(
                desk, harvest, mode, keep_passwords=keep_passwords, dry_run=dry_run, as_json=as_json
            )

    run(work())


async def _carry_out(
    desk: Desk, harvest: Harvest, mode: int, *, keep_passwords: bool, dry_run: bool, as_json: bool
) -> None:
    """Print the plan and, unless it is a dry run or the source has mistakes, do it."""
    from tidegate.store.imports.plan import apply_import, plan_import

    for text in harvest.notes:
        note(text)
    if harvest.skipped:
        note(f"{harvest.skipped} records left out")
    for problem in harvest.problems:
        note(f"problem: {problem}")
    if dry_run or harvest.problems:
        rows = await plan_import(desk.provider, harvest.accounts, mode, keep_passwords=keep_passwords)
    else:
        rows, _ = await apply_import(desk.provider, harvest, mode, keep_passwords=keep_passwords)
    _show(rows, as_json=as_json)
    if harvest.problems:
        from tidegate.errors import BadRecord

        first = harvest.problems[0]
        count = len(harvest.problems)
        raise BadRecord(first.field, f"{first.what} ({count} problems, nothing was changed)")
    if not as_json:
        counts = {action: sum(row.action == action for row in rows) for action in ("add", "update", "keep")}
        told = ", ".join(f"{count} to {action}" for action, count in counts.items())
        say(f"dry run, nothing was changed: {told}" if dry_run else f"done: {told}")


def _show(rows: list[PlanRow], *, as_json: bool) -> None:
    if as_json:
        say_json(
            [
                {
                    "name": row.name,
                    "action": row.action,
                    "where": row.where,
                    "changes": [
                        {"field": c.field, "before": c.before, "after": c.after} for c in row.changes
                    ],
                    "notes": list(row.notes),
                }
                for row in rows
            ]
        )
        return
    say_table(
        ("user", "action", "what", "from"), ((row.name, row.action, _what(row), row.where) for row in rows)
    )


def _what(row: PlanRow) -> str:
    """What would happen to an account, in words."""
    if row.action == "add":
        told = [f"home {row.account.home_dir}", "password" if row.account.password else "no password"]
    else:
        told = [f"{change.field}: {change.before} -> {change.after}" for change in row.changes]
    return "; ".join([*told, *(f"({text})" for text in row.notes)])
