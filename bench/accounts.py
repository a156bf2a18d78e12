"""Do logins and listings stay as quick with 50 000 accounts? ``python -m bench.accounts [--accounts 50000]``."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import asyncssh
from bench.clients import make_key

from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.doors.ssh.options import Binding
from tidegate.model import Account
from tidegate.server.app import App
from tidegate.server.run import run_loop
from tidegate.server.ssh import ssh_plan
from tidegate.store.contract import Snapshot

FEW = 300
LOGINS = 40
PAGES = 15


async def measure(driver: str, count: int, base: Path, key: Path) -> dict[str, float]:
    """Milliseconds (medians) with `count` accounts in the provider."""
    folder = base / f"{driver}-{count}"
    folder.mkdir(parents=True)
    settings = Settings.model_validate(
        {
            "data_provider": {"driver": driver, "name": "" if driver == "memory" else "accounts.db"},
            "sftpd": {"bindings": []},
            "httpd": {"bindings": []},
        }
    )
    app = App(Loaded(settings, config_dir=folder), log_events=False, doors=[ssh_plan(Binding("", 0))])
    await app.start()
    try:
        public = key.with_suffix(".pub").read_text().strip()
        pattern = Account(
            username="x",
            home_dir=str(base / "home"),
            permissions={"/": ("*",)},
            public_keys=(public,),
            quota_size=1 << 40,
        )
        begun = time.perf_counter()
        accounts = tuple(dataclasses.replace(pattern, username=f"partner{i:06}") for i in range(count))
        await app.provider.load(Snapshot(users=accounts))
        loaded = time.perf_counter() - begun
        logins = []
        for i in range(LOGINS):
            name = f"partner{i * count // LOGINS:06}"
            begun = time.perf_counter()
            async with asyncssh.connect(
                "127.0.0.1", app.doors.status()[0].endpoints[0].port, username=name, client_keys=[str(key)], known_hosts=None, config=None
            ) as connection, connection.start_sftp_client() as client:  # fmt: skip
                await client.stat(".")
            logins.append(time.perf_counter() - begun)
        figures = {"load s": loaded, "login ms": median(logins) * 1e3}
        for where, offset in (("first", 0), ("middle", count // 2), ("last", count - 100)):
            pages = []
            for _ in range(PAGES):
                begun = time.perf_counter()
                page = await app.provider.users(offset=offset, limit=100)
                pages.append(time.perf_counter() - begun)
                if len(page) != 100:
                    raise RuntimeError("short page")
            figures[f"{where} page ms"] = median(pages) * 1e3
        return figures
    finally:
        await app.stop()


async def run(drivers: list[str], accounts: int) -> int:
    base = Path(tempfile.mkdtemp(prefix="tidegate-accounts-"))
    try:
        key = make_key(base)
        for driver in drivers:
            few = await measure(driver, FEW, base, key)
            many = await measure(driver, accounts, base, key)
            print(f"{driver}: {FEW} accounts -> {accounts} accounts")
            for name, value in few.items():
                print(f"  {name:16} {value:9.2f} -> {many[name]:9.2f}   x{many[name] / max(value, 1e-9):.2f}")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.accounts", description=__doc__)
    parser.add_argument("--accounts", type=int, default=50_000)
    parser.add_argument("--drivers", default="sqlite,bolt,memory")
    chosen = parser.parse_args()
    sys.exit(run_loop(lambda: run(chosen.drivers.split(","), chosen.accounts)))
