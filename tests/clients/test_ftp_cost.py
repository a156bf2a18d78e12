# SPDX-License-Identifier: Apache-2.0
"""Work of the server for a small file by FTP: how much Python it runs, so that no work creeps in.

The commands are those of lftp's mirror. The client is ahead: its data is there before its command, so that
counts do not depend on who is quicker. docs/adr/0092.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path

from tests.support import counted_calls
from tests.support.ports import free_port
from tests.support.running import Person, Running, wait_for

PUT_CALLS = 560
"""Calls of Python functions for PASV, STOR, MFMT and SITE CHMOD: 472 to 517. It was 577 and more."""
GET_CALLS = 262
"""Calls for PASV and RETR: 232 to 250. It was 267 and more."""
FILES = 10
ROUNDS = 6
"""The least of so many counts: a busy host makes slices end early, and lines of the log be written one by one."""
CONTENT = b"x" * 5000
SECONDS = 20.0


class Client:
    """Lines of one control connection, in the clear."""

    def __init__(self, port: int, person: Person) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.lines = self.sock.makefile("rb")
        assert self.reply() == "220"
        assert self.ask(f"USER {person.name}") == "331"
        assert self.ask(f"PASS {person.password}") == "230"
        assert self.ask("TYPE I") == "200"

    def reply(self) -> str:
        self.text = self.lines.readline().decode()
        return self.text[:3]

    def ask(self, command: str) -> str:
        self.sock.sendall(f"{command}\r\n".encode())
        return self.reply()

    def data(self) -> socket.socket:
        assert self.ask("PASV") == "227"
        numbers = re.findall(r"\d+", self.text[4:])
        return socket.create_connection(("127.0.0.1", int(numbers[4]) * 256 + int(numbers[5])), SECONDS)

    def put(self, name: str) -> None:
        with self.data() as data:
            data.sendall(CONTENT)
            data.shutdown(socket.SHUT_WR)
            assert self.ask(f"STOR {name}") == "150"
            assert self.reply() == "226"
        assert self.ask(f"MFMT 20260102030405 {name}") == "213"
        assert self.ask(f"SITE CHMOD 640 {name}") == "200"

    def get(self, name: str) -> bytes:
        found = b""
        with self.data() as data:
            assert self.ask(f"RETR {name}") == "150"
            while piece := data.recv(65536):
                found += piece
        assert self.reply() == "226"
        return found

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


def test_a_small_file_runs_little(tmp_path: Path) -> None:
    port, counted = free_port(), tmp_path / "counted.json"
    binding = {"port": port, "address": "127.0.0.1", "plain_login": True}
    running = Running(
        tmp_path / "config",
        settings={"ftpd": {"bindings": [binding], "passive_port_range": {"start": 0, "end": 0}}},
        command=[sys.executable, counted_calls.__file__],
        environment={counted_calls.COUNTED_TO: str(counted)},
    )
    running.start()
    try:
        client = Client(port, running.account())
        found: dict[str, list[float]] = {"put": [], "get": []}
        before = 0.0
        client.put("first")
        assert client.get("first") == CONTENT
        for turn in range(ROUNDS):
            for what in ("put", "get"):
                running.send(counted_calls.COUNT)
                wait_for(counted.exists, "the server did not begin to count")
                for number in range(FILES):
                    if what == "put":
                        client.put(f"{turn}-{number}")
                    else:
                        assert client.get(f"{turn}-{number}") == CONTENT
                running.send(counted_calls.COUNT)
                wait_for(lambda: counted.stat().st_size > 0, "the server did not count")
                calls: dict[str, int] = json.loads(counted.read_text())
                counted.unlink()
                found[what].append((sum(calls.values()) - before) / FILES)
                before = sum(calls.values())  # it counts on
        client.close()
    finally:
        running.stop()
    put, get = min(found["put"]), min(found["get"])
    print(f"{put:.0f} calls for an upload, {get:.0f} for a download")
    assert 200 < put < PUT_CALLS
    assert 100 < get < GET_CALLS
