# SPDX-License-Identifier: Apache-2.0
"""``tidegate ban`` and ``tidegate ip-list``: addresses that are banned, and lists of addresses."""

from __future__ import annotations

import csv
import io
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tidegate.cli import flags
from tidegate.cli.flags import ConfigDir, ConfigFile
from tidegate.cli.provider import opened, run
from tidegate.cli.spread import spread
from tidegate.cli.terminal import say, say_json, say_table
from tidegate.cli.where import Where
from tidegate.errors import AlreadyExists, BadRecord, BadRecords, InvalidArgument

if TYPE_CHECKING:
    from tidegate.cli.provider import AdminContext
    from tidegate.cli.target import Turned
    from tidegate.model.listed import ListEntry, ListKind

app = flags.group("Bans of addresses; a running server takes changes over within half a minute.")
lists = flags.group("Lists of addresses: who may connect, who is never banned, who never gets in.")

KINDS: Final = {"allow": 1, "safe": 2, "block": 2, "rate-safe": 3}
COLUMNS: Final = ("list", "network", "protocols", "until", "description")
"""Columns of the CSV form, and of the table."""
MAX_LINES: Final = 1_000_000

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
    """Ban an address (IPv6: its /64)."""

    async def work() -> None:
        from tidegate.model.address import host_of, parse_address

        if parse_address(address) is None:
            raise InvalidArgument(f"{address} is no address; a network goes on a list: tidegate ip-list add")
        until = int((time.time() + minutes * 60) * 1000) if minutes else 0
        document = {
            "type": 100,
            "ipornet": host_of(address),
            "description": description or "by hand",
            "expires_at": until,
        }
        async with opened(config_dir, config_file) as context:
            verbs, by = context.administration.lists, context.actor
            try:
                await verbs.add(document, by=by)
            except AlreadyExists:
                await verbs.change(_name(100, host_of(address)), document, by=by)
        say(f"banned {host_of(address)} {'until ' + _date(until) if until else 'for good'}")

    run(work())


@app.command("remove")
@spread
def remove_ban(address: Address, *, where: Where) -> None:
    """End the ban of an address; with --url its penalty and score too, and at once."""

    async def work() -> None:
        from tidegate.model.address import host_of

        source = host_of(address.partition("/")[0])
        async with where.opened() as target:
            await target.bans.remove(source)
        say(f"ended the ban of {source}")

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
        from tidegate.accounts.lists import encode_entry

        async with opened(config_dir, config_file) as context:
            found = [entry for entry in await _every(context) if entry.type != _bans()]
        if as_json:
            say_json([encode_entry(entry) for entry in found])
        elif as_csv:
            out = csv.writer(sys.stdout)
            out.writerow(COLUMNS)
            out.writerows(_row(entry) for entry in found)
        else:
            say_table(COLUMNS, [_row(entry) for entry in found])

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
    document = _document((which, network, protocols, until, description))

    async def work() -> None:
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
    kind = _kind(which)

    async def work() -> None:
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
            help="CSV with the columns list, network, protocols, until, description; or, with --list, one "
            "network a line. - reads standard input.",
            show_default=False,
        ),
    ],
    which: Annotated[str, typer.Option("--list", help="The list that a file of networks is for.")] = "",
    config_dir: ConfigDir = flags.HERE,
    config_file: ConfigFile = flags.FILE,
) -> None:
    """Add entries of a file, in one transaction; those that are there already are replaced."""
    documents = _read(file, which)

    async def work() -> None:
        from tidegate.accounts.lists import decode_entry
        from tidegate.store.contract import Snapshot

        problems: list[BadRecord] = []
        entries: dict[str, ListEntry] = {}
        for line, document in documents:
            try:
                entry = decode_entry(document, where=f"line {line}: ")
                entries[entry.name] = entry
            except BadRecord as error:
                problems.append(error)
        if problems:
            raise BadRecords(problems[0].field, problems[0].what, [str(one) for one in problems])
        async with opened(config_dir, config_file) as context:
            await context.provider.load(Snapshot(ip_lists=list(entries.values())), mode=0)
        say(f"imported {len(entries)} entries")

    run(work())


def _read(file: str, which: str) -> list[tuple[int, dict[str, Any]]]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{file} cannot be read: {error}") from None
    if which:
        lines = ((index, line.partition("#")[0].strip()) for index, line in enumerate(text.splitlines(), 1))
        return [(index, _document((which, line, "", "", ""))) for index, line in lines if line]
    rows = csv.reader(io.StringIO(text))
    head = tuple(name.strip().lower() for name in next(rows, []))
    if head != COLUMNS:
        raise InvalidArgument(f"{file}: the first line should be {','.join(COLUMNS)}")
    found: list[tuple[int, dict[str, Any]]] = []
    for row in rows:
        if not row:
            continue
        if len(row) != len(COLUMNS):
            raise InvalidArgument(f"{file}: line {rows.line_num}: {len(COLUMNS)} columns are needed")
        try:
            found.append((rows.line_num, _document(tuple(cell.strip() for cell in row))))
        except BadRecord as error:
            raise InvalidArgument(f"{file}: line {rows.line_num}: {error}") from None
    return found


# -- pieces ----------------------------------------------------------------------------------------------


def _bans() -> ListKind:
    from tidegate.model.listed import ListKind

    return ListKind.BAN


async def _every(context: AdminContext) -> list[ListEntry]:
    from tidegate.accounts.lists import every_entry

    return await every_entry(context.provider)


def _kind(which: str) -> int:
    if which not in KINDS:
        raise InvalidArgument(f"{which!r} is no list; there are {', '.join(KINDS)}")
    return KINDS[which]


def _name(kind: int, network: str) -> str:
    from tidegate.accounts.lists import canonical
    from tidegate.model.listed import entry_name

    return entry_name(kind, canonical(network))


def _document(row: tuple[str, ...]) -> dict[str, Any]:
    """The document of a row of the CSV form."""
    from tidegate.accounts.lists import ends_at
    from tidegate.model.listed import PROTOCOLS

    which, network, protocols, until, description = row
    bits = 0
    for name in flags.listed(protocols):
        if name.upper() not in PROTOCOLS:
            raise InvalidArgument(f"{name!r} is no protocol; there are {', '.join(PROTOCOLS)}")
        bits |= PROTOCOLS[name.upper()]
    return {
        "type": _kind(which),
        "ipornet": network,
        "mode": 2 if which == "block" else 1,
        "protocols": bits,
        "description": description,
        "expires_at": ends_at(until, "until"),
    }


def _row(entry: ListEntry) -> tuple[str, ...]:
    from tidegate.model.listed import PROTOCOLS

    names = {1: "allow", 3: "rate-safe"}
    which = names.get(entry.type) or ("block" if entry.mode == 2 else "safe")
    protocols = ",".join(name for name, bit in PROTOCOLS.items() if entry.protocols & bit)
    return which, entry.ipornet, protocols, _date(entry.expires_at), entry.description


def _date(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000)) if milliseconds else ""
