# SPDX-License-Identifier: Apache-2.0
"""Sockets that are passed on: which are taken, by which binding, and what is said of others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from tidegate.resources.acceptor import listen
from tidegate.resources.inherited import Inherited, inherited

READS = """
import os, sys, socket, logging
logging.basicConfig(format="%(message)s", stream=sys.stdout)
from tidegate.resources.inherited import inherited
os.environ["LISTEN_PID"] = str(os.getpid())
found = inherited()
print(found.unused(), sorted(name for name in os.environ if name.startswith("LISTEN_")), os.get_inheritable(3))
"""


def opened(address: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, 0), family=family)


def same(one: socket.socket, other: socket.socket) -> bool:
    return os.fstat(one.fileno()).st_ino == os.fstat(other.fileno()).st_ino


async def test_a_binding_takes_the_socket_of_its_address_and_port() -> None:
    with opened() as sock:
        port = sock.getsockname()[1]
        passed = Inherited([sock])
        assert passed.unused() == [f"127.0.0.1:{port}"]
        (taken,) = await listen("127.0.0.1", port, 5, passed)
        assert same(taken, sock)
        assert passed.unused() == []
        with pytest.raises(OSError, match="in use"):  # it is given out to one at a time
            await listen("127.0.0.1", port, 5, passed)
        taken.close()
        passed.close()


async def test_a_binding_that_was_closed_is_opened_again_while_systemd_listens_on() -> None:
    with opened() as sock, socket.socket(fileno=os.dup(sock.fileno())):  # systemd has one of its own
        port = sock.getsockname()[1]
        passed = Inherited([sock])
        for _ in range(3):
            (taken,) = await listen("127.0.0.1", port, 5, passed)
            assert same(taken, sock)
            assert not os.get_inheritable(taken.fileno())
            assert passed.unused() == []
            taken.close()
        passed.close()


async def test_every_interface_is_not_one_of_them() -> None:
    with opened() as one, opened("::") as every:
        passed = Inherited([one, every])
        port = every.getsockname()[1]
        assert passed.unused()[1] == f"[::]:{port}"
        (taken,) = await listen("", port, 5, passed)
        with taken:
            assert same(taken, every)
        with pytest.raises(OSError, match="in use"):
            await listen("", one.getsockname()[1], 5, passed)
        assert passed.unused() == [f"127.0.0.1:{one.getsockname()[1]}"]
        passed.close()
        assert one.fileno() == -1


async def test_what_is_missing_is_opened() -> None:
    with opened() as sock:
        passed = Inherited([sock])
        (made,) = await listen("127.0.0.1", 0, 5, passed)
        with made:
            assert made is not sock


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "-1"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "x"},
    ],
)
def test_what_is_for_another_process_or_no_number_is_left_alone(environment: dict[str, str]) -> None:
    given = {**environment, "OTHER": "1"}
    assert inherited(given, pid=7).unused() == []
    assert given == {"OTHER": "1"}


def test_descriptors_of_other_kinds_are_named() -> None:
    with (
        opened() as good, socket.socket(socket.AF_UNIX) as unix, open(os.devnull, "rb") as file,
        socket.socket() as idle,
    ):  # fmt: skip
        numbers = [one.fileno() for one in (good, unix, file, idle)]
        moves = " ".join(f"exec {place}<&{number};" for place, number in enumerate(numbers, 60))
        moves += " ".join(f"exec {place}<&{place + 57};" for place in range(3, 7))
        done = subprocess.run(
            ["bash", "-c", f'{moves} LISTEN_FDS=4 exec "$@"', "bash", sys.executable, "-c", textwrap.dedent(READS)],
            pass_fds=numbers, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        expected = f"['127.0.0.1:{good.getsockname()[1]}'] [] False"
    assert done.returncode == 0, done.stderr
    *warnings, last = done.stdout.splitlines()
    assert [line[:12] for line in warnings] == ["descriptor 4", "descriptor 5", "descriptor 6"]
    assert last == expected
