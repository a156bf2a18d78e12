# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""The one flow of commands that load a dump, wherever it comes from: `loaddata` and `import sftpgo`."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from tidegate.cli import flags
from tidegate.cli.progress import meter
from tidegate.cli.provider import AdminContext, opened, run
from tidegate.cli.terminal import note, say, say_json, say_table
from tidegate.errors import InvalidArgument
from tidegate.store.file_kind import kind_of_file, only_sftpgo

if TYPE_CHECKING:
    from tidegate.store.legacy.mover import MoveOptions
    from tidegate.store.legacy.remarks import Remarks

Opened = Callable[[], AbstractAsyncContextManager["Path | BinaryIO"]]
"""Opens the dump, with the event loop running; called before the data provider is opened."""


@dataclass(frozen=True, slots=True)
class _Choices:
    """Flags that every load has."""

    mode: int
    scan_quota: int
    dry_run: bool
    move: MoveOptions
    report_file: Path | None
    as_json: bool


def _shared(
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
    flatten_groups: Annotated[
        bool,
        typer.Option(
            "--flatten-groups",
            help="SFTPGo: what groups give becomes the accounts' own; groups are not kept.",
        ),
    ] = False,
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
) -> tuple[_Choices, bool, Path, str]:
    from tidegate.store.legacy.mover import MoveOptions

    move = MoveOptions(
        open=frozenset(open_ or ()),
        open_all=open_all,
        leave_out=leave_out,
        from_version=from_version,
        every_remark=report_file is not None,
        flatten_groups=flatten_groups,
    )
    return _Choices(mode, scan_quota, dry_run, move, report_file, as_json), create, config_dir, config_file


def loading(source: Callable[..., Opened]) -> Callable[..., None]:
    """Make a command of a source of dumps: its own flags, then those of every load, and one flow for all.

    Args:
        source: its parameters are the flags of the source alone, its docstring is the help.
    """
    own, shared = signature(source, eval_str=True), signature(_shared, eval_str=True)

    def command(**given: Any) -> None:
        from tidegate.cli import reports

        choices, create, config_dir, config_file = _shared(
            **{name: value for name, value in given.items() if name in shared.parameters}
        )
        reports.require_report(choices.report_file)
        dump = source(**{name: value for name, value in given.items() if name in own.parameters})

        async def work() -> None:
            async with dump() as found, opened(config_dir, config_file, create=create) as context:
                await _carry_out(context, found, choices)

        run(work())

    parameters = [*own.parameters.values(), *shared.parameters.values()]
    # typer reads a command's flags from its signature.
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__doc__ = source.__doc__
    command.__name__ = source.__name__
    return command


def dump_file(file: Path) -> Opened:
    """A dump that is a file."""

    @contextlib.asynccontextmanager
    async def there() -> AsyncIterator[Path | BinaryIO]:
        if file.is_dir():
            raise InvalidArgument(f"{file} is a directory; name a dump in it{_dumps_in(file)}")
        if not file.is_file():
            raise InvalidArgument(f"{file}: no such file")
        if (kind := kind_of_file(file)) == "bolt":
            raise InvalidArgument(only_sftpgo(file))
        if kind == "sqlite":
            way = f"tidegate import sftpgo --from sqlite:{file}"
            raise InvalidArgument(f"{file} is no dump but a database; if it is SFTPGo's: {way}")
        yield file

    return there


async def _carry_out(context: AdminContext, dump: Path | BinaryIO, choices: _Choices) -> None:
    """Load the dump, or rehearse that, and tell what became of it."""
    from tidegate.cli import moving
    from tidegate.server import wiring
    from tidegate.store.dump_reading import load_file
    from tidegate.store.legacy.remarks import Remarks

    credentials = context.loaded.resolve(context.loaded.settings.data_provider.credentials_path)
    move = replace(choices.move, credentials=str(credentials)) if credentials.is_dir() else choices.move
    scan_quota, dry_run = choices.scan_quota, choices.dry_run
    if scan_quota and not context.loaded.settings.data_provider.track_quota:
        raise InvalidArgument("--scan-quota: usage is not tracked, data_provider.track_quota is 0")
    with meter("comparing" if dry_run else "loading", "bytes") as progress:
        if dry_run:
            remarks = Remarks(every=move.every_remark)
            rows = await moving.compare(context, dump, choices.mode, move, remarks, how_far=progress.at)
            notes = list(remarks.lines())
        else:
            report = await load_file(
                partial(context.administration.loads.store, by=context.actor, mode=choices.mode),
                dump,
                rules=context.rules,
                hash_password=wiring.password_hasher(context.loaded),
                move=move,
                how_far=progress.at,
            )
            rows, notes, remarks = list(report.rows), list(report.notes), report.remarks or Remarks()
    if scan_quota and not dry_run:
        marked = await _mark_for_scan(context, rows, everybody=scan_quota == 1)
        note(f"files of {marked} users are counted when the server starts")
    if choices.report_file is not None:
        moving.write_report(choices.report_file, rows, remarks)
    named = {name for kind, name, _ in rows if kind in ("user", "admin")}
    notes += [
        f"--open {name}: no such user or administrator in the dump" for name in sorted(move.open - named)
    ]
    for text in notes:
        note(text)
    _show(rows, remarks, choices)


def _show(rows: list[tuple[str, str, str]], remarks: Remarks, choices: _Choices) -> None:
    from tidegate.accounts.loads import KIND_WORDS
    from tidegate.store.legacy.remarks import Weight

    if choices.as_json:
        say_json([dict(zip(("kind", "name", "action"), row, strict=True)) for row in rows])
        return
    if len(rows) <= flags.SHOWN_ROWS:
        say_table(("kind", "name", "action"), rows)
    done = "dry run, nothing was changed" if choices.dry_run else f"loaded {len(rows)} records"
    counts = Counter((kind, action) for kind, _, action in rows)
    told = ", ".join(
        f"{n} {KIND_WORDS[kind][n > 1]} {action}" for (kind, action), n in sorted(counts.items())
    )
    say(f"{done}: {told}" if told else done)
    if len(rows) > flags.SHOWN_ROWS and choices.report_file is None:
        note("--report FILE writes what became of each record")
    for weight, word in ((Weight.CLOSED, "disabled"), (Weight.LEFT_OUT, "left out")):
        if count := len({remark.subject for remark in remarks.of_weight(weight)}):
            say(
                f"{count} of them {word}; see the notes above"
                if weight is Weight.CLOSED
                else f"{count} records {word}; see the notes above"
            )


def _dumps_in(directory: Path) -> str:
    """The newest file that may be meant, as the end of a sentence."""
    found = [path for path in directory.glob("*.json") if path.is_file()]
    return f", for instance {max(found, key=lambda path: path.stat().st_mtime)}" if found else ""


async def _mark_for_scan(context: AdminContext, rows: list[tuple[str, str, str]], *, everybody: bool) -> int:
    """Mark accounts as uncounted; the server counts marked ones when it starts."""
    loaded = {name for kind, name, action in rows if kind == "user" and action != "kept"}
    names = [
        account.username
        async for account in context.provider.iter_users()
        if everybody or (account.username in loaded and (account.quota_size or account.quota_files))
    ]
    with meter("marking to be counted", "users", len(names)) as progress:
        for name in names:
            await context.provider.mark_usage(name, dirty=True)
            progress.advance()
    return len(names)
