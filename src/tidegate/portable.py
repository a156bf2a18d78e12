# SPDX-License-Identifier: Apache-2.0
"""``portable``: share one directory now, with an account that lives in memory, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.app import App
from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.identity.passwords import hash_password
from tidegate.logs import open_log
from tidegate.model import Account, Filters
from tidegate.serving import run_loop

if TYPE_CHECKING:
    from tidegate.cli.options import PortableOptions


def share(options: PortableOptions) -> int:
    """Serve the directory until Ctrl-C; returns the exit code.

    Raises:
        OperatorError: the port is taken, or the directory cannot be served.
    """
    record = open_log(options.log)
    try:
        # Host keys need a place; it goes when we go.
        with tempfile.TemporaryDirectory(prefix="tidegate-portable-") as scratch:
            return run_loop(lambda: _share(options, Path(scratch)))
    finally:
        record.close()


def settings(options: PortableOptions) -> Settings:
    """The configuration that the flags amount to."""
    return Settings.model_validate(
        {
            "sftpd": {
                "bindings": [{"port": options.sftpd_port}] if options.sftpd_port else [],
                "enabled_ssh_commands": list(options.ssh_commands),
                "password_authentication": bool(options.password),
                "keyboard_interactive_authentication": bool(options.password),
            },
            "data_provider": {"driver": "memory", "name": "", "track_quota": 0},
            "httpd": {"bindings": []},
        }
    )


async def _share(options: PortableOptions, scratch: Path) -> int:
    app = App(Loaded(settings(options), config_dir=scratch))
    if not options.sftpd_port:
        app.listen_anywhere()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await app.start()
        await app.provider.add_user(
            Account(
                username=options.username,
                password=hash_password(options.password) if options.password else "",
                public_keys=options.public_keys,
                home_dir=str(options.directory),
                permissions={"/": options.permissions},
                filters=Filters(file_patterns=options.file_patterns),
            )
        )
        assert app.ssh is not None
        port = app.ssh.ports[0]
        async with contextlib.AsyncExitStack() as stack:
            if options.advertise_service:
                from tidegate.cli.advertise import advertise

                shown = options.advertise_credentials
                await stack.enter_async_context(
                    advertise(
                        port,
                        username=options.username if shown else "",
                        password=options.password if shown else "",
                    )
                )
            print(invitation(options, port), flush=True)  # noqa: T201
            await stopping.wait()
        await app.drain(float(options.grace_time))
    finally:
        await app.stop()
    print("tidegate: stopped, nothing left behind", file=sys.stderr, flush=True)  # noqa: T201
    return 0


def addresses() -> list[str]:
    """Addresses others may reach this machine by, loopback first. No packet is sent."""
    found = ["127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1: connecting a datagram socket only picks a route
        found.append(probe.getsockname()[0])
    return list(dict.fromkeys(found))


def invitation(options: PortableOptions, port: int) -> str:
    """Lines to paste into a shell."""
    user, host = options.username, addresses()[-1]
    secret = f"rclone obscure {shlex.quote(options.password)}" if options.password else ""
    rclone = f":sftp,host={host},port={port},user={shlex.quote(user)}"
    rclone += f",pass=$({secret}):" if secret else ":"
    lines = [
        f"Sharing {options.directory} ({', '.join(options.permissions)}). Ctrl-C ends it.",
        "",
        f"  user      {user}",
        *([f"  password  {options.password}"] if options.password else []),
        *([f"  keys      {len(options.public_keys)} accepted"] if options.public_keys else []),
        "",
        f"  sftp -P {port} {shlex.quote(user)}@{host}",
        f"  sshfs -p {port} {shlex.quote(user)}@{host}:/ MOUNTPOINT",
        f'  rclone ls "{rclone}"',
        "",
    ]
    return "\n".join(lines)
