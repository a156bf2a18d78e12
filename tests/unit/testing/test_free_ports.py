# SPDX-License-Identifier: Apache-2.0
"""No two processes of a run of the tests are given one port."""

from __future__ import annotations

import socket
import subprocess
import sys

from tests.support import ports

MANY = "from tests.support.ports import free_ports; print(*free_ports(300))"


def test_processes_at_the_same_time_get_ports_that_differ() -> None:
    asking = [
        subprocess.Popen([sys.executable, "-c", MANY], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    given = [port for process in asking for port in process.communicate()[0].split()]
    assert [process.returncode for process in asking] == [0, 0, 0]
    assert len(set(given)) == len(given) == 900
    assert all(ports.FIRST <= int(port) < ports.LAST for port in given)


def test_a_port_in_use_is_left_out() -> None:
    with socket.socket() as taken:
        port = ports.free_port()
        taken.bind(("127.0.0.1", port))
        assert not ports._is_free("127.0.0.1", port)
    assert ports._is_free("127.0.0.1", port)
