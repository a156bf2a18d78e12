"""Memory of one Tidegate process: ``python -m bench.memory [--sessions 2000] [--cycles 20000]``.

First many idle SFTP sessions at once, then connect / transfer / disconnect over and over: what a session costs,
and whether anything is left behind by those that came and went.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import asyncssh
from bench.clients import make_key
from bench.measure import pss_bytes
from bench.rows import GCM, Plan, prepare
from bench.servers import OpenSSH, Server, Tidegate

LOGINS_AT_ONCE = 8
SAMPLES = 20


async def connect(server: Server) -> tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient]:
    connection = await asyncssh.connect(
        server.address, server.port, username=server.user, client_keys=[str(server.key)], known_hosts=None,
        encryption_algs=[GCM], config=None, login_timeout=120, kex_algs=["curve25519-sha256"],
    )  # fmt: skip
    return connection, await connection.start_sftp_client()


async def idle(server: Server, sessions: int) -> float:
    """Bytes (PSS) that each of `sessions` idle SFTP sessions adds."""
    connection, _ = await connect(server)
    connection.close()
    await connection.wait_closed()
    before = pss_bytes(server.pid)
    held = []
    for start in range(0, sessions, LOGINS_AT_ONCE):
        held += await asyncio.gather(*(connect(server) for _ in range(min(LOGINS_AT_ONCE, sessions - start))))
    for _, client in held:
        await client.stat(".")
    figure = (pss_bytes(server.pid) - before) / sessions
    for connection, _ in held:
        connection.close()
    for connection, _ in held:
        await connection.wait_closed()
    return figure


async def cycles(server: Server, count: int) -> list[tuple[int, int]]:
    """(cycles done, PSS) at even distances."""
    content = bytes(range(256)) * 64
    done = 0
    samples: list[tuple[int, int]] = []
    step = max(1, count // SAMPLES)

    async def work(number: int) -> None:
        nonlocal done
        while done < count:
            done += 1
            mine = done
            connection, client = await connect(server)
            name = server.remote(f"in/cycle{number}")
            async with client.open(name, "wb") as file:
                await file.write(content)
            async with client.open(name, "rb") as file:
                if await file.read() != content:
                    raise RuntimeError("content differs")
            await client.remove(name)
            if mine % 7 == 0:
                connection.abort()  # not every client says goodbye
            else:
                connection.close()
            await connection.wait_closed()
            if mine % step == 0:
                samples.append((mine, pss_bytes(server.pid)))
                print(f"  {mine:6} cycles  {samples[-1][1] / 2**20:8.2f} MiB", flush=True)

    await asyncio.gather(*(work(i) for i in range(4)))
    return sorted(samples)


def slope(samples: list[tuple[int, int]]) -> float:
    """Bytes a cycle, least squares over the second half: the first warms caches."""
    half = samples[len(samples) // 2 :]
    mean_x = sum(x for x, _ in half) / len(half)
    mean_y = sum(y for _, y in half) / len(half)
    return sum((x - mean_x) * (y - mean_y) for x, y in half) / max(1, sum((x - mean_x) ** 2 for x, _ in half))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--cycles", type=int, default=20_000)
    parser.add_argument(
        "--openssh", action="store_true", help="measure OpenSSH's idle sessions too (200 of them)"
    )
    chosen = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tidegate-memory-"))
    server: Server | None = None
    try:
        files = base / "files"
        prepare(files, Plan(big=1 << 20, small_files=1, entries=1))
        key = make_key(base)
        if chosen.openssh:
            server = OpenSSH(base, files, key)
            server.start()
            print(f"OpenSSH: {asyncio.run(idle(server, min(200, chosen.sessions))) / 1024:.1f} kB a session")
            server.stop()
        server = Tidegate(base, files, key)
        server.start()
        start = time.time()
        print(f"start: {pss_bytes(server.pid) / 2**20:.1f} MiB")
        figure = asyncio.run(idle(server, chosen.sessions))
        print(
            f"{chosen.sessions} idle sessions: {figure / 1024:.1f} kB a session ({time.time() - start:.0f} s)"
        )
        samples = asyncio.run(cycles(server, chosen.cycles))
        print(f"{chosen.cycles} cycles: {slope(samples):+.1f} bytes a cycle over the second half")
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
