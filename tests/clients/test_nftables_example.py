# SPDX-License-Identifier: Apache-2.0
"""The files of examples/nftables, in a network namespace: packets of a banned address are dropped."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.fork_server import COMMAND
from tests.support.fork_server import run as tidegate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nftables"
NOW = 1_800_000_000


def test_bans_become_elements_with_the_time_that_is_left() -> None:
    commands = runpy.run_path(str(EXAMPLE / "tidegate-nft"))["commands"]
    bans = [
        {"address": "192.0.2.1/32", "kind": "ban", "until": (NOW + 90) * 1000},
        {"address": "192.0.2.2", "kind": "penalty", "until": (NOW + 5) * 1000},
        {"address": "192.0.2.3", "kind": "ban", "until": (NOW - 1) * 1000},
        {"address": "192.0.2.4", "kind": "score", "until": 0},
        {"address": "2001:db8:1:2::/64", "kind": "ban", "until": 0},
        {"address": "192.0.2.1", "kind": "penalty", "until": (NOW + 5) * 1000},
        {"address": "203.0.113.7", "kind": "ban", "until": 0},
        {"address": "203.0.113.0/24", "kind": "ban", "until": (NOW + 7) * 1000},
        {"address": "fe80::1%}; flush ruleset", "kind": "ban", "until": 0},
    ]

    assert commands(bans, NOW).splitlines() == [
        "flush set inet tidegate banned4",
        "flush set inet tidegate banned6",
        "add element inet tidegate banned4 { 192.0.2.1/32 timeout 90s }",
        "add element inet tidegate banned4 { 192.0.2.2/32 timeout 5s }",
        "add element inet tidegate banned4 { 203.0.113.0/24 timeout 7s }",  # nft takes none that overlap
        "add element inet tidegate banned6 { 2001:db8:1:2::/64 }",
        "add element inet tidegate banned6 { fe80::1/128 }",
    ]
    with pytest.raises(ValueError, match="does not appear"):
        commands([{"address": "192.0.2.1; flush ruleset", "kind": "ban", "until": 0}], NOW)


INSIDE = """
import json, os, socket, subprocess, sys
def command(*words):
    subprocess.run(words, check=True)
def reached(source):
    with socket.create_server(("127.0.0.1", 2022)) as server:
        try:
            socket.create_connection(("127.0.0.1", 2022), timeout=0.3, source_address=(source, 0)).close()
        except TimeoutError:
            return False
    return True
command("ip", "link", "set", "lo", "up")
command("nft", "-f", sys.argv[1] + "/tidegate.nft")
before = [reached("127.0.0.7"), reached("127.0.0.8")]
command(sys.executable, sys.argv[1] + "/tidegate-nft", "--config-dir", sys.argv[2])
banned = [reached("127.0.0.7"), reached("127.0.0.8")]
command(sys.executable, sys.argv[1] + "/tidegate-nft", "--config-dir", sys.argv[3])
print(json.dumps([before, banned, [reached("127.0.0.7"), reached("127.0.0.8")]]))
"""


@pytest.mark.needs("nft", "ip", "unshare")
def test_packets_of_a_banned_address_are_dropped_until_the_ban_is_gone(tmp_path: Path) -> None:
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*unshare, "true"], capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("network namespaces are not allowed here")
    directories = [tmp_path / "banned", tmp_path / "none"]
    for directory in directories:
        directory.mkdir()
        done = tidegate(["initprovider", "-c", directory])
        assert done.returncode == 0, done.stderr
    done = tidegate(["ban", "add", "127.0.0.7", "-c", directories[0]])
    assert done.returncode == 0, done.stderr
    program = tmp_path / "tidegate"
    program.write_text(f"#!/bin/sh\nexec {COMMAND[0]} -c '{COMMAND[2]}' \"$@\"\n")
    program.chmod(0o700)

    inside = subprocess.run(
        [*unshare, sys.executable, "-c", INSIDE, EXAMPLE, *directories],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "TIDEGATE": str(program)},
    )  # fmt: skip

    assert inside.returncode == 0, inside.stderr
    assert json.loads(inside.stdout) == [[True, True], [False, True], [True, True]]


def test_the_files_agree_with_the_readme() -> None:
    named = set(re.findall(r"`(tidegate[\w.-]*)`", (EXAMPLE / "README.md").read_text()))

    assert named >= {path.name for path in EXAMPLE.iterdir()} - {"README.md"}
