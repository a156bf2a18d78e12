# SPDX-License-Identifier: Apache-2.0
"""The process that has a port is named."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from tidegate.doors.common.ports import process_on


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_cannot_write_to_the_terminal_by_its_name() -> None:
    comm = Path("/proc/self/comm")
    before = comm.read_bytes().removesuffix(b"\n")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        comm.write_bytes(b"\x1b[2J\nall\xff")
        try:
            found = process_on(sock.getsockname()[1])
        finally:
            comm.write_bytes(before)
    assert found == f"process {os.getpid()} (?[2J?all\ufffd)"
