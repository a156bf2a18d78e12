# SPDX-License-Identifier: Apache-2.0
"""The command ``tidegate`` for shells of a test: a script whose runs are forked with everything loaded."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.support.fork_server import Forked, of_python
from tests.support.guide_session import CLIENT, REQUEST_BYTES


@contextlib.contextmanager
def shell_command(script: Path) -> Iterator[None]:
    """Write the script; what it is started for runs as `Forked` while the block lasts."""
    client = script.with_name("client.py")
    client.write_text(CLIENT)
    with tempfile.TemporaryDirectory(prefix="tg-") as place:  # an address of a socket has 107 bytes
        address = f"{place}/command"
        script.write_text(
            f'#!/bin/sh\nexec {shlex.join([sys.executable, "-I", "-S", str(client), address])} "$@"\n'
        )
        script.chmod(0o755)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(address)
            listener.listen(8)
            thread = threading.Thread(target=_serve, args=[listener])
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def _serve(listener: socket.socket) -> None:
    runs: list[threading.Thread] = []
    with contextlib.suppress(OSError):  # shut down: the block has ended
        while True:
            link, _ = listener.accept()
            runs.append(threading.Thread(target=_run, args=[link]))
            runs[-1].start()
    for run in runs:
        run.join()


def _run(link: socket.socket) -> None:
    with link:
        text, files, _, _ = socket.recv_fds(link, REQUEST_BYTES, 3)
        request = json.loads(text)
        environment = {**request["environment"], **of_python(os.environ)}
        try:
            with Forked(
                request["arguments"], cwd=request["directory"], env=environment,
                stdin=files[0], stdout=files[1], stderr=files[2],
            ) as process:  # fmt: skip
                code = process.wait(60)
        finally:
            for file in files:
                os.close(file)
        with contextlib.suppress(OSError):  # the shell has ended it
            link.send(str(code if code >= 0 else 128 - code).encode())
