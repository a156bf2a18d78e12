# SPDX-License-Identifier: Apache-2.0
"""Resident memory of the whole program under steady traffic: flat once it is warm.

``SOAK_SECONDS`` says how long, by default a minute; an hour is the proof.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import asyncssh
import pytest
from tests.support.running import Person, running

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
WARM_SHARE = 0.4
"""Share of the operations, and at least `WARM_OPERATIONS`, before memory is looked at."""
WARM_OPERATIONS = 3000
SETTLED_OPERATIONS = 40_000
"""Operations after which growth is asked to be less: a connection that ended is a circle, and goes with a full
collection of the garbage collector, which comes every 10,000 to 15,000 operations. Until a few have been, memory
grows to what lies there between two of them."""
WORKERS = 4
PAYLOAD = os.urandom(300_000)
GROWTH_BYTES = 256 * 1024
"""Growth for 1,000 operations after the warm-up, as the median of what separate samples say."""
SETTLED_BYTES = 8 * 1024
"""The same once it is settled."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Traffic:
    """Users who log in, transfer, list, rename, remove and leave, again and again."""

    def __init__(self, people: list[Person]) -> None:
        self._people = people
        self.operations = 0

    async def one(self, number: int, until: float) -> None:
        clock = asyncio.get_running_loop().time
        turn = 0
        while clock() < until:
            turn += 1
            person = self._people[(number + turn) % len(self._people)]
            by_password = {"client_keys": [], "password": person.password} if turn % 2 else {}
            async with person.connect(**by_password) as client, client.start_sftp_client() as files:
                self.operations += 1
                here = f"/w{number}-{turn % 50}"
                await files.makedirs(here, exist_ok=True)
                for index in range(8):
                    async with files.open(f"{here}/f{index}", "wb") as file:
                        await file.write(PAYLOAD[: 1 + (index * 37_000 + turn * 911) % len(PAYLOAD)])
                    async with files.open(f"{here}/f{index}", "rb") as file:
                        await file.read()
                    await files.stat(f"{here}/f{index}")
                    self.operations += 5
                await files.listdir(here)
                await files.posix_rename(f"{here}/f0", f"{here}/g")
                with pytest.raises(asyncssh.SFTPNoSuchFile):
                    await files.stat(f"{here}/never")
                await files.rmtree(here)
                self.operations += 14


def slope(samples: list[tuple[int, int]]) -> float:
    """Bytes for one operation, the median of all pairs (Theil and Sen): an outlier does not count."""
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(samples)
        for later in samples[index + 1 :]
        if later[0] > earlier[0]
    )
    return slopes[len(slopes) // 2]


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 300)
async def test_memory_stays_flat(tmp_path: Path):
    with running(tmp_path / "config") as server:
        people = await asyncio.to_thread(server.accounts, [{"username": f"u{n}"} for n in range(10)])
        traffic = Traffic(people)
        clock = asyncio.get_running_loop().time
        began = clock()
        workers = [asyncio.create_task(traffic.one(number, began + SECONDS)) for number in range(WORKERS)]
        samples: list[tuple[int, int]] = []
        every = max(0.5, SECONDS / 200)
        while clock() < began + SECONDS and not any(worker.done() for worker in workers):
            await asyncio.wait(workers, timeout=every)
            samples.append((traffic.operations, server.resident()))
        await asyncio.gather(*workers)
        warm_from = max(WARM_OPERATIONS, int(traffic.operations * WARM_SHARE))
        warm = [sample for sample in samples if sample[0] >= warm_from]
        for done, resident in samples[:: max(1, len(samples) // 20)]:
            print(f"{done:8d} operations {resident / 2**20:7.1f} MiB")
        growth = 1000 * slope(warm)
        print(f"{traffic.operations} operations, {growth / 1024:.1f} KiB for 1,000 after {warm_from}")
        assert len(warm) >= 20, "too few operations to judge; give it more time"
        assert growth < (SETTLED_BYTES if warm_from >= SETTLED_OPERATIONS else GROWTH_BYTES)
