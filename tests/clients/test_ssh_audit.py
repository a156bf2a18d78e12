# SPDX-License-Identifier: Apache-2.0
"""Findings of auditors (ssh-audit), and algorithms that clients agree on with the server by their own defaults."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import paramiko
import pytest
from tests.support.programs import SSH, run
from tests.support.running import Person, Running, running

from tidegate.doors.ssh.algorithms import default_kex

PAGE = Path(__file__).parents[2] / "docs/reference/clients.md"

NEW_KEYS = {"host_keys": []}
"""A new installation's: made at the first start."""

HOST_KEYS = {"ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512"}


def strict() -> dict[str, Any]:
    """The `sftpd` keys that the page gives for a report without objections."""
    found = re.search(r"```json\n(\{.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    section: dict[str, Any] = json.loads(found[1])["sftpd"]
    return section


def audit(server: Running) -> dict[str, Any]:
    """The report of ssh-audit."""
    done = run(
        sys.executable, "-m", "ssh_audit.ssh_audit", "--json", "--skip-rate-test", "-p", str(server.port), "127.0.0.1"
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.out)
    return report


def failures(report: dict[str, Any], part: str) -> dict[str, list[str]]:
    """Algorithms of a part that are rated ``fail``."""
    found = {entry["algorithm"]: entry.get("notes", {}).get("fail", []) for entry in report[part]}
    return {name: notes for name, notes in found.items() if notes}


def test_auditors_object_to_nothing_but_exchanges_on_nist_curves(tmp_path: Path):
    with running(tmp_path / "config", settings={"sftpd": NEW_KEYS}) as server:
        report = audit(server)
    assert {entry["algorithm"] for entry in report["key"]} == HOST_KEYS  # of a new installation
    for part in ("key", "enc", "mac"):
        assert report[part] and not failures(report, part), part
    assert all("nistp" in name for name in failures(report, "kex"))


def test_the_strict_list_of_the_page_leaves_no_objection(tmp_path: Path):
    with running(tmp_path / "config", settings={"sftpd": strict() | NEW_KEYS}) as server:
        report = audit(server)
    assert {part: failures(report, part) for part in ("kex", "key", "enc", "mac")} == {
        "kex": {}, "key": {}, "enc": {}, "mac": {},
    }  # fmt: skip


def rows() -> dict[str, list[str]]:
    """The page's first table: client -> key exchange, cipher, digest, how it is served."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in reversed(cells)}


async def test_asyncssh_agrees_on_what_the_page_says(tmp_path: Path):
    with running(tmp_path / "config") as server:
        async with server.account().connect() as client:
            cipher, mac = client.get_extra_info("send_cipher"), client.get_extra_info("send_mac")
            kex = client._kex.algorithm.decode() if client._kex else ""
    row = rows()["asyncssh 2.24"]
    assert cipher == row[1] and (mac == row[2] or row[2] == "in the cipher")
    assert not kex or kex == row[0]


def arguments(person: Person) -> list[str]:
    """Of OpenSSH's ssh, without anything that names algorithms."""
    return [*SSH, "-i", str(person.key), "-p", str(person.port), f"{person.name}@127.0.0.1"]


@pytest.mark.needs("ssh")
def test_openssh_agrees_on_what_the_page_says(tmp_path: Path):
    with running(tmp_path / "config", settings={"sftpd": {"enabled_ssh_commands": ["pwd"]}}) as server:
        said = run("ssh", "-v", *arguments(server.account()), "pwd").ok().err.decode()
    row = rows()["OpenSSH 9.2"]
    assert re.search(rf"kex: algorithm: {re.escape(row[0])}\b", said), said
    assert re.search(rf"kex: server->client cipher: {re.escape(row[1])} ", said), said


def test_paramiko_agrees_on_what_the_page_says(tmp_path: Path):
    with running(tmp_path / "config") as server:
        person = server.account()
        with paramiko.Transport(("127.0.0.1", server.port)) as transport:
            transport.start_client(timeout=20)
            transport.auth_password(person.name, person.password)
            kex = next(name for name in transport.get_security_options().kex if name in default_kex())
            agreed = kex, transport.remote_cipher, transport.remote_mac
    row = rows()["paramiko 5.1"]
    assert agreed == (row[0], row[1], row[2])
