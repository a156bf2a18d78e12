# SPDX-License-Identifier: Apache-2.0
"""``tidegate ban`` and ``tidegate ip-list``: addresses that are banned, and lists of addresses."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.flags import ConfigDir, ConfigFile
from tidegate.cli.provider import opened, run
from tidegate.cli.spread import spread
from tidegate.cli.terminal import say, say_json, say_table
from tidegate.cli.where import Where
from tidegate.errors import AlreadyExists, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tidegate.cli.provider import AdminContext
    from tidegate.cli.target import Turned
    from tidegate.model.listed import ListEntry, ListKind

app = flags.group("Bans of addresses; a running server takes changes over within half a minute.")
lists = flags.group("Lists of addresses: who may connect, who is never banned, who never gets in.")


Address = Annotated[str, typer.Argument(help="Address, or network of one IPv6 customer.", show_default=False)]
Network = Annotated[str, typer.Argument(help="Address or network (CIDR).", show_default=False)]
Which = Annotated[
    str,
    typer.Argument(
        metavar="LIST",
        help="allow (may connect while `common.allowlist_status` is 1), safe (never banned), block (never "
        "gets in), rate-safe (no rate limiter holds it).",
        show_default=False,
    ),
]
Protocols = Annotated[
    str, typer.Option("--protocols", help="Comma separated: SSH, FTP, DAV, HTTP. All without it.")
]
Until = Annotated[str, typer.Option("--until", help="Date (ISO 8601) from which on it does not count.")]
Description = Annotated[str, typer.Option("--description", help="For people.")]


# -- bans ------------------------------------------------------------------------------------------------


@app.command("list")
@spread
def list_bans(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List bans that are stored: those made by hand, and with the driver `provider` all.

    With --url those of a running server, with penalties and scores, which are in its memory.
    """

    async def work() -> None:
        async with where.opened() as target:
            found = await target.bans.all()
        if as_json:
            say_json([asdict(one) for one in found])
            return
        say_table(
            ("address", "kind", "until", "why"),
            [
                (
                    one.address,
                    one.kind,
                    _date(one.until) or ("" if one.kind == "score" else "forever"),
                    one.why,
                )
                for one in found
            ],
        )

    run(work())


def _end(one: Turned) -> str:
    return _date(one.until) or ("" if one.kind == "score" else "forever")


@app.command("add")
def add_ban(
    address: Address,
    minutes: Annotated[int, typer.Option("--minutes", min=0, help="Length; 0 for good.")] = 30,
    description: Description = "",
    config_dir: ConfigDir = flags.HERE,
    config_file: ConfigFile = flags.FILE,
) -> None:
    """Ban an address; of IPv6 its network, by `common.source_prefix6` (/64)."""

    async def work() -> None:
        from tidegate.model.address import parse_address
        from tidegate.model.sources import Sources
        from tidegate.server.defence_options import prefixes

        if parse_address(address) is None:
            raise InvalidArgument(f"{address} is no address; a network goes on a list: tidegate ip-list add")
        until = int((time.time() + minutes * 60) * 1000) if minutes else 0
        async with opened(config_dir, config_file) as context:
            verbs, by = context.administration.lists, context.actor
            source = Sources(prefixes(context.loaded)).of(address)
            document = {
                "type": 100,
                "ipornet": source,
                "description": description or "by hand",
                "expires_at": until,
            }
            try:
                await verbs.add(document, by=by)
            except AlreadyExists:
                await verbs.change(_name(100, source), document, by=by)
        say(f"banned {source} {'until ' + _date(until) if until else 'for good'}")

    run(work())


@app.command("remove")
@spread
def remove_ban(address: Address, *, where: Where) -> None:
    """End the ban of an address; with --url its penalty and score too, and at once."""

    async def work() -> None:
        async with where.opened() as target:
            await target.bans.remove(address.partition("/")[0])
        say(f"ended the ban of {address}")

    run(work())


# -- lists -----------------------------------------------------------------------------------------------


@lists.command("list")
def list_entries(
    config_dir: ConfigDir = flags.HERE,
    config_file: ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, which `ip-list import` reads.")] = False,
) -> None:
    """List the entries of all lists."""

    async def work() -> None:
        from tidegate.accounts import list_texts
        from tidegate.accounts.lists import encode_entry

        async with opened(config_dir, config_file) as context:
            found = [entry for entry in await _every(context) if entry.type != _bans()]
        if as_json:
            say_json([encode_entry(entry) for entry in found])
        elif as_csv:
            sys.stdout.writelines(list_texts.write_csv(found))
        else:
            say_table(list_texts.COLUMNS, [list_texts.row_of(entry) for entry in found])

    run(work())


@lists.command("add")
def add_entry(  # noqa: PLR0917  flags
    which: Which,
    network: Network,
    protocols: Protocols = "",
    until: Until = "",
    description: Description = "",
    config_dir: ConfigDir = flags.HERE,
    config_file: ConfigFile = flags.FILE,
) -> None:
    """Add an address or network to a list."""

    async def work() -> None:
        from tidegate.accounts.list_texts import document_of

        document = document_of((which, network, protocols, until, description))
        async with opened(config_dir, config_file) as context:
            verbs, by = context.administration.lists, context.actor
            stored = await verbs.add(document, by=by)
        say(f"added {stored.ipornet} to {which}; a running server takes it over within half a minute")

    run(work())


@lists.command("remove")
def remove_entry(
    which: Which, network: Network, config_dir: ConfigDir = flags.HERE, config_file: ConfigFile = flags.FILE
) -> None:
    """Take an address or network off a list."""

    async def work() -> None:
        from tidegate.accounts.list_texts import kind_of

        kind = kind_of(which)
        async with opened(config_dir, config_file) as context:
            verbs, by = context.administration.lists, context.actor
            await verbs.remove(_name(kind, network), by=by)
        say(f"took {network} off {which}")

    run(work())


@lists.command("import")
def import_entries(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="CSV with the columns list, network, protocols, until, description; with --list, one "
            "network a line; with --list and --tcp-wrappers, a hosts.allow or hosts.deny. - reads standard "
            "input.",
            show_default=False,
        ),
    ],
    which: Annotated[str, typer.Option("--list", help="The list that a file without lists is for.")] = "",
    wrappers: Annotated[
        bool,
        typer.Option(
            "--tcp-wrappers",
            help="The file is one of TCP wrappers (hosts_access(5)). What addresses cannot say is left out "
            "and told.",
        ),
    ] = False,
    config_dir: ConfigDir = flags.HERE,
    config_file: ConfigFile = flags.FILE,
) -> None:
    """Add entries of a file, in one transaction; those that are there already are replaced."""
    if wrappers and not which:
        raise typer.BadParameter("--tcp-wrappers needs a list", param_hint="--list")
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{file} cannot be read: {error}") from None

    async def work() -> None:
        from tidegate.accounts import list_texts

        if wrappers:
            found = list_texts.read_wrappers(text, which)
        else:
            found = list_texts.read_networks(text, which) if which else list_texts.read_csv(text)

        async def batches() -> AsyncIterator[Sequence[ListEntry]]:
            yield found.entries

        async with opened(config_dir, config_file) as context:
            await context.administration.loads.store(batches(), by=context.actor, requires="manage_ip_lists")
        for line in found.left_out:
            say(f"left out: {file}: {line}")
        say(f"imported {len(found.entries)} entries")

    run(work())


# -- pieces ----------------------------------------------------------------------------------------------


def _bans() -> ListKind:
    from tidegate.model.listed import ListKind

    return ListKind.BAN


async def _every(context: AdminContext) -> list[ListEntry]:
    from tidegate.accounts.lists import every_entry

    return await every_entry(context.provider)


def _name(kind: int, network: str) -> str:
    from tidegate.accounts.lists import canonical
    from tidegate.model.listed import entry_name

    return entry_name(kind, canonical(network))


def _date(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000)) if milliseconds else ""
