# SPDX-License-Identifier: Apache-2.0
"""Runs steps of tests/support/foreign.py with a release of paramiko or asyncssh that systems of partners still have."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

warnings.simplefilter("ignore")
LIBRARY, HOST, PORT, USER, METHOD, SECRET = sys.argv[1:]
ERRNO_STATUS = {2: "2", 13: "3"}
"""paramiko tells two statuses as errno and the others not at all."""


def flat(text: object) -> str:
    return " ".join(str(text).split())


def attempt(work: Callable[[], Any]) -> bool:
    try:
        print("\t".join(["ok", *(flat(value) for value in work() or ())]), flush=True)
    except Exception as error:
        code = getattr(error, "code", None)
        status = str(code) if isinstance(code, int) else ERRNO_STATUS.get(getattr(error, "errno", 0) or 0, "")
        print("\t".join(["error", status, flat(f"{type(error).__name__} {error}")]), flush=True)
        return False
    return True


def steps() -> Iterator[list[str]]:
    for line in sys.stdin:
        yield line.rstrip("\n").split("\t")


def with_paramiko() -> None:
    import paramiko

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())

    def login() -> None:
        auth = {"key_filename": SECRET} if METHOD == "key" else {"password": SECRET}
        client.connect(HOST, int(PORT), USER, allow_agent=False, look_for_keys=False, **auth)

    def command(line: str) -> list[str]:
        _, out, errors = client.exec_command(line)
        return [str(out.channel.recv_exit_status()), errors.read().decode()]

    if attempt(login):
        files = client.open_sftp()
        table: dict[str, Callable[..., Any]] = {
            "put": lambda local, remote: files.put(local, remote) and None,
            "get": files.get,
            "list": files.listdir,
            "symlink": files.symlink,
            "readlink": lambda path: [files.readlink(path)],
            "rename": files.rename,
            "mkdir": files.mkdir,
            "remove": files.remove,
            "exec": command,
        }
        for name, *words in steps():
            attempt(lambda name=name, words=words: table[name](*words))
        client.close()


def with_asyncssh() -> None:
    import asyncssh

    loop = asyncio.new_event_loop()
    opened: dict[str, Any] = {}

    async def login() -> None:
        auth = {"client_keys": [SECRET]} if METHOD == "key" else {"password": SECRET, "client_keys": None}
        opened["connection"] = await asyncssh.connect(
            HOST, int(PORT), username=USER, known_hosts=None, agent_path=None, **auth
        )
        opened["files"] = await opened["connection"].start_sftp_client()

    async def names(path: str) -> list[str]:
        return [name for name in await opened["files"].listdir(path) if name not in {".", ".."}]

    async def target(path: str) -> list[str]:
        return [await opened["files"].readlink(path)]

    async def command(line: str) -> list[str]:
        done = await opened["connection"].run(line)
        return [str(done.exit_status), str(done.stderr)]

    if attempt(lambda: loop.run_until_complete(login())):
        files = opened["files"]
        table = {"list": names, "readlink": target, "exec": command}
        for name, *words in steps():
            call = table.get(name) or getattr(files, name)
            attempt(lambda call=call, words=words: loop.run_until_complete(call(*words)))
        opened["connection"].close()
        loop.run_until_complete(opened["connection"].wait_closed())


{"paramiko": with_paramiko, "asyncssh": with_asyncssh}[LIBRARY]()
