# SPDX-License-Identifier: Apache-2.0
"""The published ``sftpgo-client`` package in an environment of its own: it needs an httpx of long ago."""

from __future__ import annotations

from pathlib import Path

from tests.support.own_venv import python_with


def client_python() -> Path:
    """The interpreter that can import the client; skips the test where it cannot be had, fails in CI."""
    return python_with("sftpgo-client-0.3.1", "sftpgo-client==0.3.1")
