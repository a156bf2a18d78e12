# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate explain``: why something is allowed or refused."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.provider import opened, run
from tidegate.errors import NotFound


def explain(
    user: Annotated[str, typer.Option("--user", "-u", help="Whose account.", show_default=False)],
    op: Annotated[
        str,
        typer.Option(
            "--op", help="What they want: list, upload, download, delete, rename, ...", show_default=False
        ),
    ],
    path: Annotated[str, typer.Option("--path", help="Path as the client knows it.")] = "/",
    ip: Annotated[str, typer.Option("--ip", help="Where the client is.")] = "127.0.0.1",
    protocol: Annotated[str, typer.Option("--protocol", help="SFTP, SCP, SSH, FTP, DAV or HTTP.")] = "SFTP",
    target: Annotated[
        str | None, typer.Option("--target", help="Second path of a rename, copy or link.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Login method: password, publickey, ... Without it, any.")
    ] = None,
    size: Annotated[str | None, typer.Option("--size", help="Size of the file, for instance 10M.")] = None,
    replaced: Annotated[
        str | None,
        typer.Option(
            "--replaced", metavar="SIZE", help="The file is there already; its size, which is given back."
        ),
    ] = None,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Show every rule that is asked about an act, in order, and which one decides.

    Exit code 0 means allowed, 3 refused.
    """

    async def work() -> bool:
        import sys

        from tidegate.cli.terminal import say_json
        from tidegate.model import Protocol
        from tidegate.policy.explain import Usage
        from tidegate.policy.explain import explain as ask
        from tidegate.store.validate import fold_name

        door = protocol.upper()
        if door not in Protocol.__members__:
            raise typer.BadParameter(
                f"{protocol!r} is not one of {', '.join(Protocol.__members__)}", param_hint="--protocol"
            )
        async with opened(config_dir, config_file) as desk:
            account = await desk.provider.user(fold_name(user, desk.rules))
            tracked = bool(desk.loaded.settings.data_provider.track_quota)
        if account is None:
            raise NotFound(f"no such user: {user}")
        answer = ask(
            account,
            ip=ip,
            protocol=Protocol(door),
            op=op,
            path=path,
            target=target,
            method=method,
            size=None if size is None else flags.size(size),
            replaced=None if replaced is None else flags.size(replaced),
            usage=Usage(tracked=tracked),
            now_ms=time.time_ns() // 1_000_000,
        )
        if as_json:
            say_json(answer.to_document())
        else:
            sys.stdout.write(answer.render_text())
        return answer.decision.allowed

    if not run(work()):
        raise typer.Exit(3)
