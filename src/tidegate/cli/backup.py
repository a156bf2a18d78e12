# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate dumpdata`` and ``loaddata``: backup and restore of the data provider."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from tidegate.cli import flags
from tidegate.cli.progress import meter
from tidegate.cli.provider import AdminContext, opened, run
from tidegate.cli.terminal import note, say, say_json, say_table
from tidegate.errors import InvalidArgument

_WORDS: Final = {
    "user": ("user", "users"),
    "folder": ("folder", "folders"),
    "admin": ("administrator", "administrators"),
    "api_key": ("API key", "API keys"),
}


def dumpdata(
    file: Annotated[Path, typer.Argument(help="File to write; - is standard output.", show_default=False)],
    scopes: Annotated[
        str | None,
        typer.Option("--scopes", help="Only these, comma separated: users,folders,admins,api_keys."),
    ] = None,
    indent: Annotated[bool, typer.Option("--indent", help="Write for people to read.")] = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Write all accounts, folders, administrators and keys into one JSON file.

    The file holds password hashes: it is made readable for you alone.
    """

    async def work() -> None:
        from tidegate.store.dump import SCOPES, dump

        wanted = SCOPES if scopes is None else flags.listed(scopes)
        async with contextlib.AsyncExitStack() as stack:
            desk = await stack.enter_async_context(opened(config_dir, config_file))
            total = await desk.provider.count_users() if "users" in wanted else 0
            progress = stack.enter_context(meter("dumping", "users", total))
            chunks = dump(desk.provider, wanted, indent=indent, written=progress.advance)
            if str(file) == "-":
                async for chunk in chunks:
                    sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
                return
            target = file.absolute()
            # Beside the target and renamed over it: a dump that broke off never replaces a good one.
            fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                with open(fd, "wb") as output:
                    async for chunk in chunks:
                        output.write(chunk)
                    output.flush()
                    os.fsync(output.fileno())
                Path(name).replace(target)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
            say(f"wrote {target}, {target.stat().st_size} bytes")

    run(work())


def loaddata(
    file: Annotated[Path, typer.Argument(help="Dump of Tidegate, or SFTPGo 0.9 to 2.x.", show_default=False)],
    mode: Annotated[
        int,
        typer.Option("--mode", min=0, max=2, help="0 adds and updates, 1 adds what is missing, 2 as 0."),
    ] = 0,
    scan_quota: Annotated[
        int,
        typer.Option(
            "--scan-quota",
            min=0,
            max=2,
            help="Count files again at the next start: 0 nobody's, 1 everybody's, 2 of loaded users "
            "with a quota.",
        ),
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    open_: Annotated[
        list[str] | None,
        typer.Option(
            "--open",
            metavar="NAME",
            help="SFTPGo: this user or administrator comes in open, although something that restricts them "
            "is not carried; may be repeated.",
        ),
    ] = None,
    open_all: Annotated[bool, typer.Option("--open-all", help="As --open, for all.")] = False,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Leave out records with mistakes, and list them.")
    ] = False,
    from_version: Annotated[
        str,
        typer.Option("--from-version", metavar="X.Y.Z", help="Release of SFTPGo that wrote the dump."),
    ] = "",
    report_file: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="Write every remark here, one row a record: .json or .csv."
        ),
    ] = None,
    create: flags.Create = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Read a dump into the data provider: all of it, or nothing if any record is wrong.

    A dump of SFTPGo is read with the meaning of the release that wrote it. Users and administrators whom
    something restricts that this version does not have come in disabled.
    """

    async def work() -> None:
        from tidegate.cli import moving, reports
        from tidegate.server import wiring
        from tidegate.store.dump import load_file
        from tidegate.store.legacy.mover import MoveOptions
        from tidegate.store.legacy.remarks import Remarks, Weight

        reports.require_report(report_file)
        move = MoveOptions(
            open=frozenset(open_ or ()),
            open_all=open_all,
            leave_out=leave_out,
            from_version=from_version,
            every_remark=report_file is not None,
        )
        if file.is_dir():
            raise InvalidArgument(f"{file} is a directory; name a dump in it{_dumps_in(file)}")
        if not file.is_file():
            raise InvalidArgument(f"{file}: no such file")
        async with opened(config_dir, config_file, create=create) as desk:
            if scan_quota and not desk.loaded.settings.data_provider.track_quota:
                raise InvalidArgument("--scan-quota: usage is not tracked, data_provider.track_quota is 0")
            with meter("comparing" if dry_run else "loading", "bytes") as progress:
                if dry_run:
                    remarks = Remarks(every=move.every_remark)
                    rows = await moving.compare(desk, file, mode, move, remarks, how_far=progress.at)
                    notes = list(remarks.lines())
                else:
                    report = await load_file(
                        partial(desk.administration.loads.store, by=desk.actor, mode=mode),
                        file,
                        rules=desk.rules,
                        hash_password=wiring.password_hasher(desk.loaded),
                        move=move,
                        how_far=progress.at,
                    )
                    rows, notes, remarks = list(report.rows), list(report.notes), report.remarks or Remarks()
            if scan_quota and not dry_run:
                marked = await _mark_for_scan(desk, rows, everybody=scan_quota == 1)
                note(f"files of {marked} users are counted when the server starts")
        if report_file is not None:
            moving.write_report(report_file, rows, remarks)
        named = {name for kind, name, _ in rows if kind in ("user", "admin")}
        notes += [
            f"--open {name}: no such user or administrator in the dump" for name in sorted(move.open - named)
        ]
        for text in notes:
            note(text)
        if as_json:
            say_json([dict(zip(("kind", "name", "action"), row, strict=True)) for row in rows])
        else:
            if len(rows) <= flags.SHOWN_ROWS:
                say_table(("kind", "name", "action"), rows)
            done = "dry run, nothing was changed" if dry_run else f"loaded {len(rows)} records"
            counts = Counter((kind, action) for kind, _, action in rows)
            told = ", ".join(
                f"{n} {_WORDS[kind][n > 1]} {action}" for (kind, action), n in sorted(counts.items())
            )
            say(f"{done}: {told}" if told else done)
            if len(rows) > flags.SHOWN_ROWS and report_file is None:
                note("--report FILE writes what became of each record")
            for weight, said in ((Weight.CLOSED, "disabled"), (Weight.LEFT_OUT, "left out")):
                if count := len({remark.subject for remark in remarks.of_weight(weight)}):
                    say(
                        f"{count} of them {said}; see the notes above"
                        if weight is Weight.CLOSED
                        else f"{count} records {said}; see the notes above"
                    )

    run(work())


def _dumps_in(directory: Path) -> str:
    """The newest file that may be meant, as the end of a sentence."""
    found = [path for path in directory.glob("*.json") if path.is_file()]
    return f", for instance {max(found, key=lambda path: path.stat().st_mtime)}" if found else ""


async def _mark_for_scan(desk: AdminContext, rows: list[tuple[str, str, str]], *, everybody: bool) -> int:
    """Mark accounts as uncounted; the server counts marked ones when it starts."""
    loaded = {name for kind, name, action in rows if kind == "user" and action != "kept"}
    names = [
        account.username
        async for account in desk.provider.iter_users()
        if everybody or (account.username in loaded and (account.quota_size or account.quota_files))
    ]
    with meter("marking to be counted", "users", len(names)) as progress:
        for name in names:
            await desk.provider.mark_usage(name, dirty=True)
            progress.advance()
    return len(names)
