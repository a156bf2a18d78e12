# SPDX-License-Identifier: Apache-2.0
"""``tidegate storage``: moving homes and folders to other storage, by a running server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tidegate.cli import flags, names
from tidegate.cli.counting import POLL_SECONDS
from tidegate.cli.documents import amount, when
from tidegate.cli.progress import meter
from tidegate.cli.provider import run
from tidegate.cli.spread import spread
from tidegate.cli.terminal import note, read_json, say, say_json, say_table
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument, StorageFailed

if TYPE_CHECKING:
    from tidegate.cli.target import Document, MoveAct, ScanKind, Target

app = flags.group("Puts homes and folders on other storage.")

_DIRECTORY: Final[dict[str, str]] = {"user": "home_dir", "folder": "mapped_path"}
_BUCKETS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "s3": ("s3", {}),
    "gs": ("gcs", {"automatic_credentials": 1}),
}
"""By the scheme of a URL: the kind of storage, and how it finds credentials of the host."""


@app.command("move")
@spread
def move(
    *,
    name: flags.UserName = "",
    folder: Annotated[
        str,
        typer.Option(
            "--folder", metavar="NAME", help="Move this folder instead.", autocompletion=names.folders
        ),
    ] = "",
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="STORAGE",
            help="The new storage: a directory of the server, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX with "
            "the credentials of the server's host, or a JSON file with `filesystem` (and `home_dir` or "
            "`mapped_path`) as a record has them.",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be moved and what could not be.")
    ] = False,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out", help="Leave what the new storage cannot hold, in place of refusing the move."
        ),
    ] = False,
    verify_all: Annotated[
        bool,
        typer.Option("--verify-all", help="Take every digest of both sides once more while nobody works."),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the last move back, with what changed since.")
    ] = False,
    remove_old: Annotated[
        bool, typer.Option("--remove-old", help="Remove the old content of a move that is done.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show how far the server is, or only start.")
    ] = True,
    where: Where,
) -> None:
    """Move a home's or folder's files to other storage; run it again to continue after a failure.

    The account works while files are copied, and is held for the differences only. The old content stays
    until --remove-old.
    """
    if bool(name) == bool(folder):
        raise typer.BadParameter("give the name of a user, or --folder NAME", param_hint="NAME")
    if bool(to) + undo + remove_old != 1:
        raise typer.BadParameter("give --to STORAGE, --undo or --remove-old", param_hint="--to")
    if not to and (dry_run or leave_out or verify_all):
        raise typer.BadParameter("needs --to STORAGE", param_hint="--dry-run, --leave-out, --verify-all")
    kind: ScanKind = "user" if name else "folder"
    name = name or folder
    act: MoveAct = "undo" if undo else "remove-old"

    async def work() -> None:
        async with where.opened() as target:
            if to:
                body = {
                    **wanted(kind, to),
                    "dry_run": dry_run,
                    "leave_out": leave_out,
                    "verify": "all" if verify_all else "copied",
                }
                await target.moves.start(kind, name, body)
            else:
                await target.moves.act(kind, name, act)
            if wait:
                say(_sentence(await _ended(target, kind, name)))
            else:
                say(f"the server works on {kind} {name} now; see: tidegate storage moves")

    run(work())


@app.command("moves")
@spread
def moves(*, where: Where, as_json: flags.AsJson = False) -> None:
    """List moves that run, ran lately, or wait to be continued, taken back or cleaned up."""

    async def work() -> None:
        async with where.opened() as target:
            found = await target.moves.all()
        if as_json:
            say_json(found)
            return
        rows = (
            (
                one["kind"],
                one["name"],
                one["state"],
                one["phase"],
                when(one["start_time"]),
                f"{one['files']} of {one['total_files']}" if one["total_files"] else str(one["files"]),
                amount(one["size"]),
                one["error"],
            )
            for one in found
        )
        say_table(("kind", "name", "state", "phase", "since", "files", "bytes", "error"), rows)

    run(work())


def wanted(kind: ScanKind, to: str) -> Document:
    """The fields of a record for the storage that somebody typed.

    Raises:
        InvalidArgument: it cannot be understood; names it.
    """
    scheme, separator, rest = to.partition("://")
    if separator:
        if scheme not in _BUCKETS:
            raise InvalidArgument(
                f"--to: {to[:200]!r}: of URLs only s3:// and gs:// are known; use a JSON file"
            )
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise InvalidArgument(f"--to: {to[:200]!r} names no bucket")
        storage, options = _BUCKETS[scheme]
        section = {"bucket": bucket, **options}
        if prefix.strip("/"):
            section["key_prefix"] = f"{prefix.strip('/')}/"
        return {"filesystem": {"provider": storage, f"{storage}config": section}}
    if to.endswith(".json"):
        document = read_json(Path(to), "--to")
        if not isinstance(document, dict):
            raise InvalidArgument(f"--to: {to}: expected one JSON object")
        if "filesystem" not in document and "provider" in document:
            document = {"filesystem": document}
        others = sorted(set(document) - {"filesystem", _DIRECTORY[kind]})
        if others or "filesystem" not in document:
            what = f"has {others[0]!r}" if others else "has no filesystem"
            raise InvalidArgument(f"--to: {to}: {what}; give filesystem and {_DIRECTORY[kind]} only")
        return document
    if not to.startswith("/"):
        raise InvalidArgument(f"--to: {to[:200]!r} is no absolute directory, URL or JSON file")
    return {_DIRECTORY[kind]: to, "filesystem": {"provider": 0}}


async def _ended(target: Target, kind: ScanKind, name: str) -> Document:
    """The outcome of a move that was started, once it has ended; a bar shows how far it is.

    Raises:
        StorageFailed: it failed.
    """
    pause, longest = POLL_SECONDS
    with meter(f"moving {name}", "bytes") as progress:
        while True:
            found = await target.moves.find(kind, name)
            progress.what = f"{found['phase']} {name}"
            progress.at(found["size"], found["total_size"])
            if found["state"] != "running":
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
    for left in found["left_out"]:
        note(f"not moved: {left}")
    if found["count_left_out"] > len(found["left_out"]):
        note(f"not moved: {found['count_left_out'] - len(found['left_out'])} more")
    if found["unfinished_uploads"]:
        note(f"not moved: {found['unfinished_uploads']} uploads that were not finished")
    if found["state"] != "done":
        raise StorageFailed(f"{kind} {name}: {found['error']}")
    return found


def _sentence(found: Document) -> str:
    """The outcome, for people."""
    what = f"{found['kind']} {found['name']}"
    total = f"{found['total_files']} files, {amount(found['total_size'])}"
    if found["dry_run"]:
        left = f"; {found['count_left_out']} names stay behind" if found["count_left_out"] else ""
        return f"{what}: {total} would be moved from {found['source']} to {found['target']}{left}"
    if found["phase"] == "switched":
        copied = f"{found['copied_files']} copied now" if found["copied_files"] else "none copied now"
        return (
            f"{what} is at {found['target']} now: {total}, every one compared, {copied}; "
            f"the old content stays at {found['source']} until --remove-old"
        )
    return f"{what}: {found['files']} files removed"
