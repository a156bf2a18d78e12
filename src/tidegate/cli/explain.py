# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate explain``: why something is allowed or refused."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tidegate.cli import flags, names
from tidegate.cli.provider import opened, run
from tidegate.errors import NotFound


def explain(
    user: Annotated[
        str,
        typer.Option("--user", "-u", help="Whose account.", show_default=False, autocompletion=names.users),
    ],
    op: Annotated[
        str,
        typer.Option(
            "--op", help="What they want: list, upload, download, delete, rename, ...", show_default=False
        ),
    ],
    path: Annotated[str, typer.Option("--path", help="Path as the client knows it.")] = "/",
    ip: Annotated[str, typer.Option("--ip", help="Where the client is.")] = "127.0.0.1",
    protocol: Annotated[str, typer.Option("--protocol", help="SFTP, or SSH for an SSH command.")] = "SFTP",
    target: Annotated[
        str | None, typer.Option("--target", help="Second path of a rename, copy or link.")
    ] = None,
    target_exists: Annotated[
        bool, typer.Option("--target-exists", help="The second path is there already and would be replaced.")
    ] = False,
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
    look: Annotated[
        bool,
        typer.Option(
            "--try",
            help="Look at the storage too: is it there, may whoever runs this read or write it, is there "
            "space. Run it as the server's user.",
        ),
    ] = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Show every rule that is asked about an act, in order, and which one decides.

    Exit code 0 means allowed, 3 refused, or that the storage cannot be used.
    """

    async def work() -> bool:
        import sys

        from tidegate.accounts.names import fold_name
        from tidegate.cli.terminal import say_json
        from tidegate.model import Protocol, VPath
        from tidegate.policy import mistakes
        from tidegate.policy.explain import Usage, parse_operation
        from tidegate.policy.explain import explain as ask
        from tidegate.policy.folders import storage_at
        from tidegate.server import wiring

        for flag, wrong in (
            ("--ip", mistakes.address(ip)),
            ("--protocol", mistakes.door(protocol)),
            ("--method", None if method is None else mistakes.method(method)),
        ):
            if wrong is not None:
                raise typer.BadParameter(wrong, param_hint=flag)
        async with opened(config_dir, config_file) as context:
            account = await context.provider.user(fold_name(user, context.rules))
            rename_onto = context.loaded.settings.sftpd.strictest_rename_onto
            tracked = bool(context.loaded.settings.data_provider.track_quota)
        if account is None:
            raise NotFound(f"no such user: {user}")
        answer = ask(
            account,
            ip=ip,
            protocol=Protocol(protocol.upper()),
            op=op,
            path=path,
            target=target,
            target_exists=target_exists,
            rename_onto=rename_onto,
            method=method,
            size=None if size is None else flags.size(size),
            replaced=None if replaced is None else flags.size(replaced),
            usage=Usage(tracked=tracked),
            now_ms=time.time_ns() // 1_000_000,
        )
        # A session cannot begin without the home; folders are opened when they are used.
        used = ["/", path, *([target] if target else [])]
        kinds = wiring.storage_kinds(context.loaded)
        problems = [kinds.problem(storage_at(account, VPath.parse(text)).config) for text in used]
        storage = next((problem for problem in problems if problem), None)
        if look and storage is None and answer.decision.allowed:
            from tidegate.cli.trial import storage_answer

            storage = await storage_answer(account, op, path, target)
        asked = wiring.inspectors_of(context.loaded, parse_operation(op)) if answer.decision.allowed else []
        if as_json:
            document = answer.to_document()
            more = {"storage": storage} if storage else {}
            say_json({**document, **more, **({"inspectors": asked} if asked else {})})
        else:
            if storage and answer.decision.allowed:
                sys.stdout.write(f"would fail: storage: {storage}\n")
            sys.stdout.write(answer.render_text())
            if asked:
                sys.stdout.write(f"asked then, and may refuse: {', '.join(asked)}\n")
        return answer.decision.allowed and not storage

    if not run(work()):
        raise typer.Exit(3)
