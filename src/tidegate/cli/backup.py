# SPDX-License-Identifier: Apache-2.0
"""``tidegate dumpdata`` and ``loaddata``: backup and restore of the data provider."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.loading import Opened, dump_file, loading
from tidegate.cli.progress import meter
from tidegate.cli.provider import opened, run
from tidegate.cli.terminal import say


def dumpdata(
    file: Annotated[Path, typer.Argument(help="File to write; - is standard output.", show_default=False)],
    scopes: Annotated[
        str | None,
        typer.Option(
            "--scopes",
            help="Only these, comma separated: users,folders,admins,api_keys,event_actions,event_rules,"
            "ip_lists.",
        ),
    ] = None,
    indent: Annotated[bool, typer.Option("--indent", help="Write for people to read.")] = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Write all accounts, folders, administrators and keys into one JSON file.

    The file holds password hashes: it is made readable for you alone.
    """

    async def work() -> None:
        from tidegate.store.contract import SCOPES
        from tidegate.store.dump import dump

        wanted = SCOPES if scopes is None else flags.listed(scopes)
        async with contextlib.AsyncExitStack() as stack:
            context = await stack.enter_async_context(opened(config_dir, config_file))
            total = await context.provider.count_users() if "users" in wanted else 0
            progress = stack.enter_context(meter("dumping", "users", total))
            chunks = dump(context.provider, wanted, indent=indent, written=progress.advance)
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


@loading
def loaddata(
    file: Annotated[Path, typer.Argument(help="Dump of Tidegate, or SFTPGo 0.9 to 2.x.", show_default=False)],
) -> Opened:
    """Read a dump into the data provider: all of it, or nothing if any record is wrong.

    A dump of SFTPGo is read with the meaning of the release that wrote it. Users and administrators whom
    something restricts that this version does not have come in disabled.
    """
    return dump_file(file)
