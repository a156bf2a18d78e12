# SPDX-License-Identifier: Apache-2.0
"""A bucket of a real service with a million keys is listed and counted in memory that does not grow with them.

``SOAK_KEYS`` says how many. `tests/unit/backends/test_objects_many.py`
shows the same for pages that no service makes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.support.doors import port_of
from tests.support.many_objects import fill
from tests.support.object_servers import ObjectServer
from tests.support.programs import SSH, run
from tests.support.web_world import WebWorld, web_world

KEYS = int(os.environ.get("SOAK_KEYS", "1000000"))
COUNTS = {"few": 22_000, "all": KEYS}
"""Keys of each account; the attributes of 20,000 files are remembered, so memory grows up to there."""
MIB = 1 << 20
MOST_BYTES = 8 * MIB
"""More for all keys than for few of them: what an allocator keeps."""

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(KEYS // 100 + 600),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


class Watch:
    """The most memory that this process was seen to hold meanwhile; bytes."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0

    def __enter__(self) -> Watch:
        gc.collect()
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._end.wait(0.05):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.most = max(self.most, pages * os.sysconf("SC_PAGE_SIZE"))

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()


async def listed(port: int, user: str, key: Path) -> int:
    """Names that OpenSSH's client lists of a home."""
    output = key.with_suffix(".out")
    words = [*SSH, "-i", str(key), "-P", str(port), "-b", "-", f"{user}@127.0.0.1"]
    with output.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            "sftp", *words, stdin=asyncio.subprocess.PIPE, stdout=out
        )
        await process.communicate(b"ls -f1\n")
    assert process.returncode == 0
    with output.open("rb") as lines:
        return sum(b"an-ordinary-name-" in line for line in lines)


async def counted(world: WebWorld, user: str) -> int:
    """Files that a quota scan counts, while what it has so far is looked at."""
    answer = await world.client.post(f"/api/v2/quotas/users/{user}/scan")
    assert answer.status_code == 202, answer.text
    seen = 0
    while True:
        await asyncio.sleep(0.2)
        scans = (await world.client.get("/api/v2/quotas/users/scans")).json()
        if not scans:
            break
        assert scans[0]["used_quota_files"] >= seen
        seen = scans[0]["used_quota_files"]
    return int((await world.client.get(f"/api/v2/users/{user}")).json()["used_quota_files"])


@pytest.mark.needs("sftp", "ssh-keygen")
async def test_a_million_keys(seaweedfs_server: ObjectServer, tmp_path: Path) -> None:
    name, key = seaweedfs_server.bucket(), tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).ok()
    began = time.monotonic()
    for user, count in COUNTS.items():
        await asyncio.to_thread(fill, seaweedfs_server, name, user, count)
    print(f"filled in {time.monotonic() - began:.0f} s")
    peaks: dict[tuple[str, str], int] = {}
    async with web_world(tmp_path, ssh=True) as world:
        for user, count in COUNTS.items():
            storage = {"provider": "s3", "s3config": seaweedfs_server.options(name, key_prefix=f"{user}/")}
            document = world.user(user, filesystem=storage, public_keys=[key.with_suffix(".pub").read_text()])
            answer = await world.client.post("/api/v2/users", json=document)
            assert answer.status_code == 201, answer.text
            for what, act in (
                ("listed", lambda user=user: listed(port_of(world.app), user, key)),
                ("counted", lambda user=user: counted(world, user)),
            ):
                with Watch() as watch:
                    began, cpu = time.monotonic(), time.process_time()
                    assert await act() == count
                peaks[what, user] = watch.most
                took = f"{time.monotonic() - began:.1f} s, {time.process_time() - cpu:.1f} s of CPU"
                print(f"{count} keys {what} in {took}, {watch.most / MIB:.1f} MiB")
    for what in ("listed", "counted"):
        assert peaks[what, "all"] < peaks[what, "few"] + MOST_BYTES
