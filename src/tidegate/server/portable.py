# SPDX-License-Identifier: Apache-2.0
"""``portable``: share one directory now, with an account that lives in memory, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shlex
import signal
import socket
import sys
from typing import TYPE_CHECKING

from tidegate import built
from tidegate.backends.factory import StorageKinds
from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.doors.ssh.hostkeys import made_host_keys, make_host_key, make_missing_key
from tidegate.doors.ssh.options import Binding
from tidegate.errors import TidegateError
from tidegate.identity.passwords import hash_password
from tidegate.logs import Log, open_log
from tidegate.model import Account, Filters, StorageSpec
from tidegate.server.app import App
from tidegate.server.run import run_loop, until
from tidegate.server.sandbox import enter
from tidegate.server.ssh import ssh_plan
from tidegate.server.wiring import storage_kinds

if TYPE_CHECKING:
    from asyncssh import SSHKey

    from tidegate.server.doors import DoorPlan
    from tidegate.server.options import PortableOptions


log = logging.getLogger(__name__)


def share(options: PortableOptions) -> int:
    """Serve the directory until Ctrl-C; returns the exit code.

    Raises:
        OperatorError: the port is taken, or the directory cannot be served.
    """
    enter(Loaded(settings(options)))
    record = open_log(options.log)
    try:
        return run_loop(lambda: _share(options, record))
    finally:
        record.close()


def settings(options: PortableOptions) -> Settings:
    """The configuration that the flags amount to."""
    return Settings.model_validate(
        {
            "sftpd": {
                "bindings": [{"port": options.sftpd_port}] if options.sftpd_port else [],
                "host_keys": [str(path) for path in options.host_keys],
                "enabled_ssh_commands": list(options.ssh_commands),
                "password_authentication": bool(options.password),
                "keyboard_interactive_authentication": bool(options.password),
            },
            "data_provider": {"driver": "memory", "name": "", "track_quota": 0},
            "httpd": {"bindings": []},
        }
    )


async def _share(options: PortableOptions, record: Log) -> int:
    log.info("%s", built.described())
    for path in options.host_keys:
        await asyncio.to_thread(make_missing_key, path)
    kept = options.state_dir is not None
    in_memory = not kept and not options.host_keys
    keys = [make_host_key(made_host_keys()[0])] if in_memory else []
    doors = [ssh_plan(Binding("", options.sftpd_port, "--sftpd-port"), keys)]
    if options.ftpd_port >= 0:
        doors.append(_ftp(options))
    if options.webdav_port >= 0:
        doors.append(_dav(options))
    # Nothing is looked for in the configuration directory unless there is one for state.
    app = App(
        Loaded(settings(options), config_dir=options.state_dir or options.directory),
        doors=doors,
        keep_journal=kept,
    )
    stopping, reloading = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # Also sent when the terminal is closed: sharing goes on, as a service manager's reload expects.
    loop.add_signal_handler(signal.SIGHUP, reloading.set)
    loop.add_signal_handler(signal.SIGUSR1, record.rotate)
    try:
        # A bucket that cannot be listed is told now, not to the first client.
        await storage_kinds(app.loaded).try_out(
            StorageSpec(str(options.directory), options.filesystem), writes=False
        )
        await app.start()
        await app.provider.add_user(_account(options, options.password, options.public_keys))
        ports = {door.name: door.endpoints[0].port for door in app.doors.status()}
        port = ports["ssh"]
        async with contextlib.AsyncExitStack() as stack:
            if options.advertise_service:
                from tidegate.server.advertise import advertise

                shown = options.advertise_credentials
                await stack.enter_async_context(
                    advertise(
                        port,
                        username=options.username if shown else "",
                        password=options.password if shown else "",
                    )
                )
            print(invitation(options, port, ports.get("ftp"), ports.get("webdav")), flush=True)  # noqa: T201
            if in_memory:
                adding = asyncio.create_task(add_keys(app, keys), name="more host keys")
                stack.callback(adding.cancel)
            await until(stopping, reloading, lambda: _reload(app, options))
        await app.drain(float(options.grace_time))
    finally:
        await app.stop()
    left = f"keys are kept in {options.state_dir}" if kept else "nothing left behind"
    with contextlib.suppress(OSError):  # the terminal may have gone
        print(f"tidegate: stopped, {left}", file=sys.stderr, flush=True)  # noqa: T201
    return 0


def _ftp(options: PortableOptions) -> DoorPlan:
    from tidegate.doors.ftp.options import FtpBinding, FtpCertificate
    from tidegate.server.ftp import ftp_plan

    tls = None if options.ftpd_certificate is None else FtpCertificate(*options.ftpd_certificate)
    return ftp_plan(FtpBinding(label="--ftpd-port", port=options.ftpd_port, tls=tls))


def _dav(options: PortableOptions) -> DoorPlan:
    from tidegate.doors.dav.options import DavBinding
    from tidegate.doors.http.door import CertificateFiles
    from tidegate.server.dav import dav_plan

    files = options.webdav_certificate
    tls = None if files is None else CertificateFiles(*files)
    return dav_plan(
        DavBinding(label="--webdav-port", port=options.webdav_port, tls=tls, plain_login=files is None)
    )


async def add_keys(app: App, keys: list[SSHKey]) -> None:
    """Make the host keys that take long, for clients that do not know the first kind.

    Args:
        app: it listens already.
        keys: of its SSH door; new ones are appended, and new connections are offered them.
    """
    keys += [await asyncio.to_thread(make_host_key, name) for name in made_host_keys()[1:]]
    apply = await app.doors.reload(app.loaded)
    apply()


def _account(options: PortableOptions, password: str, public_keys: tuple[str, ...]) -> Account:
    return Account(
        username=options.username,
        password=hash_password(password) if password else "",
        public_keys=public_keys,
        home_dir=str(options.directory),
        filesystem=options.filesystem,
        permissions={"/": options.permissions},
        filters=Filters(file_patterns=options.file_patterns),
    )


async def _reload(app: App, options: PortableOptions) -> None:
    """SIGHUP: host keys, public keys and the password are read again; a mistake changes nothing."""
    try:
        await app.reload(app.loaded)
        if options.read_again is not None:
            fresh = await asyncio.to_thread(options.read_again)
            account = await asyncio.to_thread(_account, options, fresh.password, fresh.public_keys)
            await app.provider.update_user(account)
    except TidegateError as error:
        log.error("not reloaded: %s", error)
        with contextlib.suppress(OSError):
            print(f"tidegate: not reloaded: {error}", file=sys.stderr, flush=True)  # noqa: T201


def addresses() -> list[str]:
    """Addresses others may reach this machine by, loopback first. No packet is sent."""
    found = ["127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1: connecting a datagram socket only picks a route
        found.append(probe.getsockname()[0])
    return list(dict.fromkeys(found))


def _rclone_quoted(path: str) -> str:
    """A value of an rclone connection string, inside double quotes of a shell."""
    if re.fullmatch(r"[\w./~+-]+", path):
        return path
    doubled = path.replace("'", "''")
    return "'" + re.sub(r'([\\"$`])', r"\\\1", doubled) + "'"


def _shared(options: PortableOptions) -> str:
    """The location of what is shared."""
    if options.filesystem.is_local:
        return str(options.directory)
    return StorageKinds().location(StorageSpec(str(options.directory), options.filesystem))


def invitation(
    options: PortableOptions, port: int, ftp_port: int | None = None, dav_port: int | None = None
) -> str:
    """Lines to paste into a shell."""
    user, host = options.username, addresses()[-1]
    secret = f"rclone obscure {shlex.quote(options.password)}" if options.password else ""
    rclone = f":sftp,host={host},port={port},user={shlex.quote(user)}"
    identity = options.identity_file or "PRIVATE_KEY"
    login = f"{shlex.quote(user)}@{host}"
    with_key = "" if secret else shlex.quote(identity)
    rclone += f",pass=$({secret}):" if secret else f",key_file={_rclone_quoted(identity)}:"
    lines = [
        f"Sharing {_shared(options)} ({', '.join(options.permissions)}). Ctrl-C ends it.",
        "",
        f"  user      {user}",
        *([f"  password  {options.password}"] if options.password else []),
        *([f"  keys      {len(options.public_keys)} accepted"] if options.public_keys else []),
        "",
        f"  sftp -P {port} {f'-i {with_key} ' if with_key else ''}{login}",
        f"  sshfs -p {port} {f'-o IdentityFile={with_key} ' if with_key else ''}{login}:/ MOUNTPOINT",
        *([f"  lftp -p {ftp_port} -u {shlex.quote(user)} {host}"] if ftp_port else []),
        f'  rclone ls "{rclone}"',
        *(
            [f"  {'https' if options.webdav_certificate else 'http'}://{host}:{dav_port}/"]
            if dav_port
            else []
        ),
        "",
    ]
    return "\n".join(lines)
