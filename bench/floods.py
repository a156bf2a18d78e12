# SPDX-License-Identifier: Apache-2.0
"""Peers of `bench.attack`: ``python -m bench.floods KIND PORT``; a server on 127.0.0.1 alone, bounded in number and time.

Each prints ``ready`` when it is at full strength, and one line of JSON with its counts when it ends, at SIGTERM
or when its time is over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import select
import signal
import socket
import ssl
import struct
import time
from collections import deque

import asyncssh

TARGET = "127.0.0.1"
WAITING = 200
"""Connections that wait for their refusal at a time; below the backlog of the listener."""
LINGER = struct.pack("ii", 1, 0)
GUESSES = 6
"""Passwords in one connection, as many as a server takes by default."""
WARM_SECONDS = 20
"""Time in which guessers get as far as their passwords; then the attack counts as at full strength."""
BURN_SLICE = 0.01
"""Seconds in which a load that is only a load works for its share, and sleeps for the rest."""
LOOKS = 3
"""Times that a connection is waited for: for a sentence, for the end, and once more."""
TOP_UP = 100
"""Connections opened anew between two looks at those that are held."""

stopped = False


def stop(*_: object) -> None:
    global stopped
    stopped = True


def opened(source: str, port: int, request: bytes = b"") -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)  # no TIME_WAIT is left behind
    sock.bind((source, 0))
    with contextlib.suppress(BlockingIOError):
        sock.connect((TARGET, port))
    if request:
        with contextlib.suppress(OSError):
            sock.send(request)
    return sock


def over(sock: socket.socket) -> bool:
    """True if the other end closed the connection; what it said before is dropped."""
    try:
        while sock.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def knock(port: int, sources: list[str], end: float, request: bytes) -> dict[str, float]:
    """Connect again and again, perhaps with a request; as many at once as the server has not refused yet."""
    pending: deque[socket.socket] = deque()
    refused = lost = number = 0
    began, cpu = time.monotonic(), time.process_time()
    print("ready", flush=True)
    while not stopped and time.monotonic() < end:
        while len(pending) < WAITING:
            number += 1
            pending.append(opened(sources[number % len(sources)], port, request))
        for _ in range(WAITING // 4):
            sock = pending.popleft()
            ready = None
            for _ in range(LOOKS):
                if over(sock):
                    refused += 1
                    break
                if ready is None:
                    ready = select.poll()
                    ready.register(sock, select.POLLIN)
                ready.poll(50)
            else:
                lost += 1
            sock.close()
    for sock in pending:
        sock.close()
    seconds = time.monotonic() - began
    return {"refused": refused, "lost": lost, "seconds": seconds, "cpu": time.process_time() - cpu}


def hold(port: int, sources: list[str], end: float, count: int) -> dict[str, float]:
    """Hold connections that never log in; one that is closed is opened again. Every other one sends its version."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        raise SystemExit(f"ulimit -n of {hard} is not enough for {count} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    poll, held = select.epoll(), {}
    number, told, most = 0, False, 0
    while not stopped and time.monotonic() < end:
        for _ in range(min(TOP_UP, count - len(held))):
            number += 1
            sock = opened(sources[number % len(sources)], port)
            if number % 2:
                with contextlib.suppress(OSError):
                    sock.send(b"SSH-2.0-waits\r\n")
            held[sock.fileno()] = sock
            poll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)
        for number_of, event in poll.poll(0.01, 1000):
            if event & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR) or over(held[number_of]):
                poll.unregister(number_of)
                held.pop(number_of).close()
        most = max(most, len(held))
        if not told and number >= count:
            told = True
            print("ready", flush=True)
    found = {"held": len(held), "most": most, "opened": number}
    for sock in held.values():
        sock.close()
    return found


def burn(rate: float, end: float) -> dict[str, float]:
    """Use a share of one processor, and connect nowhere; what was missed for want of a processor is made up."""
    print("ready", flush=True)
    began, before = time.monotonic(), time.process_time()
    while not stopped and (now := time.monotonic()) < end:
        due = (now - began) * rate
        if time.process_time() - before >= due:
            time.sleep(BURN_SLICE * (1 - rate) if rate < 1 else 0)
    return {"cpu": time.process_time() - before, "seconds": time.monotonic() - began}


async def shake(port: int, sources: list[str], end: float) -> dict[str, float]:
    """From each source one connection after the other that shakes hands for TLS and hangs up."""
    counts = {"shaken": 0, "refused": 0}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def one(source: str) -> None:
        while not stopped and time.monotonic() < end:
            try:
                async with asyncio.timeout(20):
                    _, writer = await asyncio.open_connection(
                        TARGET, port, ssl=context, local_addr=(source, 0)
                    )
                counts["shaken"] += 1
                writer.transport.abort()
            except (OSError, TimeoutError):
                counts["refused"] += 1
                await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(one(source)) for source in sources]
    began, told = time.monotonic(), False
    while not stopped and time.monotonic() < end:
        await asyncio.sleep(0.05)
        if not told and counts["shaken"] > len(sources):
            told = True
            print("ready", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {**counts, "seconds": time.monotonic() - began}


async def guess(port: int, sources: list[str], end: float, user: str) -> dict[str, float]:
    """From each source one connection after the other, with wrong passwords for a user and for others."""
    counts = {"connections": 0, "guesses": 0, "refused": 0}

    class Guesser(asyncssh.SSHClient):
        def __init__(self) -> None:
            self.left = GUESSES

        def password_auth_requested(self) -> str | None:
            if not self.left:
                return None
            self.left -= 1
            counts["guesses"] += 1
            return f"wrong-{self.left}"

    async def one(number: int, source: str) -> None:
        while not stopped and time.monotonic() < end:
            counts["connections"] += 1
            try:
                async with asyncio.timeout(60):
                    await asyncssh.connect(
                        TARGET, port, local_addr=(source, 0), client_factory=Guesser, known_hosts=None,
                        config=None, agent_path=None, client_keys=None, kex_algs=["curve25519-sha256"],
                        username=user if number % 2 else f"nobody{number}",
                        preferred_auth="password",
                    )  # fmt: skip
            except asyncssh.PermissionDenied:
                pass
            except (OSError, asyncssh.Error, TimeoutError):
                counts["refused"] += 1
                await asyncio.sleep(0.2)

    tasks = [asyncio.create_task(one(number, source)) for number, source in enumerate(sources)]
    began, told = time.monotonic(), False
    while not stopped and time.monotonic() < end:
        await asyncio.sleep(0.05)
        if not told and (counts["guesses"] > len(sources) or time.monotonic() - began > WARM_SECONDS):
            told = True
            print("ready", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {**counts, "seconds": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floods", description=__doc__)
    parser.add_argument("kind", choices=["knock", "hold", "guess", "shake", "burn"])
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, default=0.0, help="processor seconds a second, of a burn")
    parser.add_argument("--http", action="store_true", help="knock with a request of HTTP")
    parser.add_argument("--network", default="127.0.1", help="first three numbers of the source addresses")
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--user", default="bench")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    sources = [f"{given.network}.{n}" for n in range(1, given.sources + 1)]
    end = time.monotonic() + given.seconds
    if given.kind == "knock":
        request = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n" if given.http else b""
        found = knock(given.port, sources, end, request)
    elif given.kind == "burn":
        found = burn(given.rate, end)
    elif given.kind == "shake":
        found = asyncio.run(shake(given.port, sources, end))
    elif given.kind == "hold":
        found = hold(given.port, sources, end, given.count)
    else:
        found = asyncio.run(guess(given.port, sources, end, given.user))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    os.environ.pop("SSH_AUTH_SOCK", None)
    main()
