# SPDX-License-Identifier: Apache-2.0
"""Loads of many accounts: what is done for each is counted, so that no work creeps in a hundred thousand times."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import resource
import struct
import subprocess
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Engine, event
from tests.support.command_line import TIDEGATE, clean_environment, process
from tests.support.loading import load_file

from tidegate.accounts.rules import Rules
from tidegate.store.dump_reading import file_batches
from tidegate.store.factory import ProviderOptions, create_provider, initialise

CALLS = 230
"""Python functions called for one account of SFTPGo's with a key, a password, limits and two directories: 228.

It was 473 before records were no longer copied, directories no longer made path objects of, and so on.
"""
STATEMENTS = 3
"""SQL statements for a batch of new accounts: which exist, the rows, and one to spare."""
MANY = 100_000
LOAD_SECONDS = 20
"""On a machine that has nothing else to do."""
LOAD_BYTES = 250 << 20
"""Most resident memory of a load, whatever it loads."""
START_SECONDS = 0.9
"""Seconds that a dry run of one account takes there."""


def public_key(number: int) -> str:
    blob = b"".join(
        struct.pack(">I", len(part)) + part for part in (b"ssh-ed25519", number.to_bytes(32, "big"))
    )
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} user{number}"


def user(number: int) -> dict[str, Any]:
    return {
        "id": number + 1,
        "status": 1,
        "username": f"user{number:06d}",
        "description": f"Partner {number}",
        "expiration_date": 0,
        "password": "$2a$10$Qm5pYUJJWm1Zb3d6b3VaYe0kq0T9v0eT8N4m0h8zVq6u3l9yqk2aa",
        "public_keys": [public_key(number)],
        "home_dir": f"/srv/sftp/user{number:06d}",
        "uid": 1000,
        "gid": 1000,
        "max_sessions": 5,
        "quota_size": 1 << 30,
        "quota_files": 10_000,
        "permissions": {"/": ["list", "download", "upload"], "/in": ["*"]},
        "upload_bandwidth": 0,
        "download_bandwidth": 0,
        "filters": {"denied_ip": ["10.0.0.0/8"], "allowed_ip": [], "denied_login_methods": []},
        "filesystem": {"provider": 0},
        "created_at": 1_600_000_000_000 + number,
        "updated_at": 1_600_000_000_000 + number,
    }


def write_dump(path: Path, count: int) -> Path:
    path.write_text(json.dumps({"users": [user(number) for number in range(count)], "version": 17}))
    return path


async def decode(path: Path) -> tuple[int, int]:
    """Accounts in a dump, and the calls of Python functions that decoding them took."""
    calls: Counter[str] = Counter()

    def count(_frame: FrameType, what: str, _arg: object) -> None:
        calls[what] += 1

    options = ProviderOptions(driver="memory", rules=Rules(server_dir="/etc/tidegate"))
    seen = 0
    threading.setprofile(count)  # of the threads that begin now, where files are read
    try:
        async for batch in file_batches(path, options, []):
            seen += len(batch)
    finally:
        threading.setprofile(None)
    return seen, calls["call"]


def test_few_calls_for_each_account(tmp_path: Path):
    few, many = write_dump(tmp_path / "few.json", 50), write_dump(tmp_path / "many.json", 250)
    asyncio.run(decode(few))  # what is made once is made
    (less, base), (more, calls) = asyncio.run(decode(few)), asyncio.run(decode(many))
    assert (less, more) == (50, 250)
    assert 0 < (calls - base) / (more - less) < CALLS


async def test_accounts_are_stored_in_bulk(tmp_path: Path):
    options = ProviderOptions(driver="sqlite", name=str(tmp_path / "db.sqlite"))
    await initialise(options)
    provider = create_provider(options)
    await provider.open()
    told: list[bool] = []

    def note(_c: object, _cursor: object, _text: str, _values: object, _context: object, many: bool) -> None:
        told.append(many)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        report = await load_file(provider, write_dump(tmp_path / "dump.json", 1000))
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        await provider.close()
    assert len(report.rows) == 1000
    batches = 1000 // 500
    assert batches <= len(told) <= batches * STATEMENTS + 5


def load(directory: Path, users: list[dict[str, Any]], *more: str) -> tuple[float, int]:
    """Seconds of processor time that a load into an SQLite database takes as a command, and bytes it holds."""
    (directory / "dump.json").write_text(json.dumps({"users": users, "version": 17}))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*TIDEGATE, "loaddata", str(directory / "dump.json"), "-c", str(directory), *more]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=clean_environment()) as running:
        while running.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(0.05)
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{running.pid}/status").read_text().split()
                if "VmHWM:" in status:  # not once it has ended
                    peak = max(peak, int(status[status.index("VmHWM:") + 1]) * 1024)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert running.returncode == 0
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


PLAIN = ("username", "status", "password", "home_dir", "uid", "gid", "permissions", "quota_size")


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["load", "dry run"])
@pytest.mark.parametrize("kept", [PLAIN, None], ids=["plain", "keys and limits"])
def test_a_hundred_thousand_accounts(tmp_path: Path, more: tuple[str, ...], kept: tuple[str, ...] | None):
    """On a machine that is busy with other work, in proportion to what a load of hardly anything takes."""
    assert process("initprovider", "-c", tmp_path).code == 0
    users = [{key: value for key, value in user(n).items() if not kept or key in kept} for n in range(MANY)]
    start, _ = load(tmp_path, users[:1], "--dry-run")
    took, peak = load(tmp_path, users, *more)
    print(f"{MANY} accounts: {took:.1f} s of processor time; {start:.2f} s for one; {peak >> 20} MiB at most")
    assert took < LOAD_SECONDS * max(1.0, start / START_SECONDS)
    assert peak < LOAD_BYTES
