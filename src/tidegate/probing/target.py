# SPDX-License-Identifier: Apache-2.0
"""The server of a probe, and the steps of one: each with its time."""

from __future__ import annotations

import hashlib
import posixpath
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PREFIX: Final = ".tidegate-probe-"
"""Names of the files of probes begin so."""


class ProbeFailed(Exception):
    """A step did not work.

    Args:
        step: name of it.
        text: why.
    """

    def __init__(self, step: str, text: str) -> None:
        super().__init__(f"{step}: {text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server, and who logs in.

    Attributes:
        host: name or address.
        port: TCP port.
        username: of the account.
        password: of it; may be empty with a key.
        key: file of a private key, for SFTP; None for none.
        host_keys: fingerprints (``SHA256:...``) of which one has to be the server's.
        known_hosts: file of OpenSSH's to look the server up in; None for none.
        verify: False takes any host key and any certificate.
        tls: speak TLS, for FTP (AUTH TLS) and WebDAV (HTTPS).
        authority: file of certificates to trust instead of the system's; None for those.
        directory: where the file is put; has to be there.
        size: bytes of the file.
        seconds: for the whole probe.
    """

    host: str
    port: int
    username: str
    password: str = field(default="", repr=False)
    key: Path | None = None
    host_keys: tuple[str, ...] = ()
    known_hosts: Path | None = None
    verify: bool = True
    tls: bool = False
    authority: Path | None = None
    directory: str = "/"
    size: int = 65_536
    seconds: float = 30.0


class Trial:
    """One probe: a random file, and the steps that were taken.

    Args:
        target: see `Target`.

    Attributes:
        path: of the file on the server.
        content: of the file.
        steps: seconds by step, in order.
    """

    def __init__(self, target: Target) -> None:
        self.path = posixpath.join(target.directory, PREFIX + secrets.token_hex(8))
        self.content = secrets.token_bytes(target.size)
        self.steps: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take the time of a step.

        Raises:
            ProbeFailed: it did not work.
        """
        started = time.monotonic()
        try:
            yield
        except (ProbeFailed, TimeoutError):
            raise
        except Exception as error:
            raise ProbeFailed(name, _reason(error)) from error
        self.steps[name] = time.monotonic() - started

    def compare(self, content: bytes) -> None:
        """Return if the file came back as it went.

        Raises:
            ProbeFailed: it did not.
        """
        if hashlib.sha256(content).digest() != hashlib.sha256(self.content).digest():
            raise ProbeFailed("compare", f"{len(content)} bytes came back, and they are not those that went")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
