# SPDX-License-Identifier: Apache-2.0
"""A probe over SFTP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncssh

from tidegate.probing.target import Target, Trial


class _Client(asyncssh.SSHClient):
    """Compares fingerprints of host keys."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """True if the key is one of the target's."""
        del host, addr, port
        return key.get_fingerprint() in self._target.host_keys


async def probe(target: Target, trial: Trial) -> None:
    """Log in, upload, download, compare, remove.

    Raises:
        ProbeFailed: a step did not work.
        TimeoutError: it took too long.
    """
    trusted: Any = ([], [], [])  # nobody is known: the fingerprints decide
    if not target.host_keys:
        trusted = str(target.known_hosts) if target.known_hosts is not None else None
        if trusted is None and target.verify:
            trusted = ()  # the user's own known_hosts
    async with asyncio.timeout(target.seconds):
        with trial.step("login"):
            connection = await asyncssh.connect(
                target.host,
                target.port,
                client_factory=lambda: _Client(target),
                username=target.username,
                password=target.password or None,
                client_keys=[str(target.key)] if target.key is not None else None,
                known_hosts=trusted,
                config=None,
                agent_path=None,
                gss_host=None,
            )
        async with connection:
            with trial.step("open"):
                sftp = await connection.start_sftp_client()
            try:
                with trial.step("upload"):
                    async with sftp.open(trial.path, "wb") as file:
                        await file.write(trial.content)
                with trial.step("download"):
                    async with sftp.open(trial.path, "rb") as file:
                        content: Any = await file.read()
                trial.compare(content)
            except BaseException:
                with contextlib.suppress(asyncssh.Error, OSError):
                    await sftp.remove(trial.path)
                raise
            with trial.step("remove"):
                await sftp.remove(trial.path)
