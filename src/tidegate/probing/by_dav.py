# SPDX-License-Identifier: Apache-2.0
"""A probe over WebDAV. Blocking."""

from __future__ import annotations

import contextlib
import http.client
from base64 import b64encode
from urllib.parse import quote

from tidegate.probing.target import ProbeFailed, Target, Trial
from tidegate.probing.trust import tls_context


def probe(target: Target, trial: Trial) -> None:
    """Log in, upload, download, compare, remove.

    Raises:
        ProbeFailed: a step did not work.
    """
    client: http.client.HTTPConnection
    if target.tls:
        client = http.client.HTTPSConnection(
            target.host, target.port, timeout=target.seconds, context=tls_context(target)
        )
    else:
        client = http.client.HTTPConnection(target.host, target.port, timeout=target.seconds)
    credential = b64encode(f"{target.username}:{target.password}".encode()).decode()
    path = quote(trial.path)

    def ask(step: str, method: str, where: str, body: bytes = b"") -> bytes:
        with trial.step(step):
            headers = {"Authorization": f"Basic {credential}", "Depth": "0"}
            client.request(method, where, body or None, headers)
            answer = client.getresponse()
            content = answer.read(2 * len(trial.content) + 65_536)
            if answer.status >= 300:
                raise ProbeFailed(step, f"{answer.status} {answer.reason}")
        return content

    with contextlib.closing(client):
        ask("login", "PROPFIND", quote(target_directory(trial.path)))
        try:
            ask("upload", "PUT", path, trial.content)
            trial.compare(ask("download", "GET", path))
        except BaseException:
            with contextlib.suppress(ProbeFailed):
                ask("remove", "DELETE", path)
            raise
        ask("remove", "DELETE", path)


def target_directory(path: str) -> str:
    """The directory of the file."""
    return path.rpartition("/")[0] or "/"
