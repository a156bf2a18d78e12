# SPDX-License-Identifier: Apache-2.0
"""A probe over FTP and FTPS. Blocking."""

from __future__ import annotations

import contextlib
import ftplib
import io

from tidegate.probing.target import Target, Trial
from tidegate.probing.trust import tls_context


def probe(target: Target, trial: Trial) -> None:
    """Log in, upload, download, compare, remove.

    Raises:
        ProbeFailed: a step did not work.
    """
    client: ftplib.FTP
    if target.tls:
        client = ftplib.FTP_TLS(context=tls_context(target), timeout=target.seconds)  # noqa: S321  as below
    else:
        client = ftplib.FTP(timeout=target.seconds)  # noqa: S321  that is what is tried
    with client:
        with trial.step("login"):
            client.connect(target.host, target.port)
            client.login(target.username, target.password)
            if isinstance(client, ftplib.FTP_TLS):
                client.prot_p()
        try:
            with trial.step("upload"):
                client.storbinary(f"STOR {trial.path}", io.BytesIO(trial.content))
            content = io.BytesIO()
            with trial.step("download"):
                client.retrbinary(f"RETR {trial.path}", content.write)
            trial.compare(content.getvalue())
        except BaseException:
            with contextlib.suppress(ftplib.Error, OSError, EOFError):
                client.delete(trial.path)
            raise
        with trial.step("remove"):
            client.delete(trial.path)
