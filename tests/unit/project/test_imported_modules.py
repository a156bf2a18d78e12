# SPDX-License-Identifier: Apache-2.0
"""Modules that a start has loaded when its first door listens, by package: what slips in costs every start.

A package that is not listed, or more modules of one than its bound, fails with their names. Bounds are what was
loaded on 2026-11-29 and some room; who needs more says here what for. The section of WebDAV needed one, that of
addresses and their checks three, groups six, that of syslog one, the sandbox four, monitoring three, and nine more beside the HTTP
server, the routes of passkeys among them. The share of strangers in the loop needed one, the rule on
what is one source one, following lists change by change three, accounts without a password one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from tests.support.ports import free_port

COMMON: Final = {"annotated_doc": 3, "fido2": 1, "shellingham": 3, "typer": 30}
"""The parser of command lines, and the name of a module that asyncssh is to take for absent."""

SSH: Final = {
    **COMMON,
    "OpenSSL": 5,
    "_cffi_backend": 1,
    "annotated_types": 1,
    "asyncssh": 75,
    "bcrypt": 3,
    "cryptography": 70,
    "ifaddr": 4,
    "pydantic": 50,
    "pydantic_core": 4,
    "typing_extensions": 1,
    "typing_inspection": 4,
    "uvloop": 10,
}
"""Settings, identity and the SSH door. What checks passwords is loaded by the first that is checked; asyncssh asks for
OpenSSL's binding (pyOpenSSL) where it is installed."""

SQLITE: Final = {"_greenlet": 2, "aiosqlite": 8, "greenlet": 4, "sqlalchemy": 110}
"""The data provider that a server has unless it is told otherwise."""

REST: Final = {
    "a2wsgi": 10,
    "anyio": 35,
    "fastapi": 50,
    "httptools": 8,
    "jwt": 13,
    "opentelemetry": 40,
    "python_multipart": 10,
    "starlette": 28,
    "uvicorn": 24,
}
"""The REST API besides; FastAPI itself asks for the interface of OpenTelemetry, Starlette and uvicorn for
python_multipart and a2wsgi where they are installed."""

OURS: Final = {"--version": 16, "serve": 415, "serve, both doors": 492, "portable": 395}
"""Modules of Tidegate; with pages the counts of the dashboard's hour are among them."""

LISTENING: Final = """
import logging, os, sys

class Listening(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("listening for"):
            os.write(1, chr(10).join(["", "modules", *sys.modules]).encode())
            os._exit(0)

logging.getLogger("tidegate.doors.%s").addHandler(Listening())
"""
SSH_LISTENS: Final = LISTENING % "ssh.listener"
REST_LISTENS: Final = LISTENING % "http.door"

RUN: Final = "from tidegate.cli.main import run; import sys; sys.argv[0] = 'tidegate'; run()"


def loaded(code: str, *args: str, **environment: str) -> dict[str, list[str]]:
    """Modules that are loaded, by package, without those of the standard library.

    Args:
        code: prints ``modules`` and their names, a line each.
        args: of the command.
        environment: more variables.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "SFTPGO_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    packages: dict[str, list[str]] = {}
    for name in done.stdout.partition("\nmodules\n")[2].split():
        package = name.partition(".")[0]
        if package not in sys.stdlib_module_names and package != "__main__":
            packages.setdefault(package, []).append(name)
    assert packages
    return packages


def check(found: dict[str, list[str]], allowed: dict[str, int]) -> None:
    """Compare with the bounds; failures name the modules."""
    # Compiled modules bring names that differ between versions.
    uninvited = {
        package: names
        for package, names in found.items()
        if package not in allowed and not package.startswith(("_", "cython_runtime", "sitecustomize"))
    }
    assert uninvited == {}
    counts = Counter({package: len(names) for package, names in found.items()})
    over = {
        package: (counts[package], sorted(found[package]))
        for package, bound in allowed.items()
        if counts[package] > bound
    }
    assert over == {}


def test_version_loads_the_parser_alone() -> None:
    code = f"{RUN}\nprint('\\nmodules', *sys.modules, sep='\\n')"
    check(loaded(code, "--version"), {**COMMON, "tidegate": OURS["--version"]})


def served(listening: str, directory: Path) -> dict[str, list[str]]:
    """Modules that `serve` with both doors and a new SQLite file has loaded when one of them listens."""
    doors = ("SFTPD", "HTTPD")
    ports = {f"TIDEGATE_{door}__BINDINGS__0__PORT": str(free_port()) for door in doors}
    addresses = {f"TIDEGATE_{door}__BINDINGS__0__ADDRESS": "127.0.0.1" for door in doors}
    return loaded(listening + RUN, "serve", "-c", str(directory), **ports, **addresses)


def test_serve_has_loaded_what_ssh_and_sqlite_need_when_ssh_listens(tmp_path: Path) -> None:
    found = served(SSH_LISTENS, tmp_path)
    check(found, {**SSH, **SQLITE, "tidegate": OURS["serve"]})
    assert not [name for name in found["sqlalchemy"] if name.startswith("sqlalchemy.orm")]
    ours = {name.split(".")[1] for name in found["tidegate"] if "." in name}
    assert "web" not in ours and "testing" not in ours


def test_serve_has_loaded_what_rest_needs_besides_when_it_listens(tmp_path: Path) -> None:
    found = served(REST_LISTENS, tmp_path)
    check(found, {**SSH, **SQLITE, **REST, "tidegate": OURS["serve, both doors"]})
    assert "uvicorn.main" not in found["uvicorn"]
    objects = [name for name in found["tidegate"] if name.startswith("tidegate.backends.objects")]
    assert objects == []  # before the first account in a bucket


def test_portable_has_loaded_no_database_when_it_listens(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    shared = str(tmp_path / "shared")
    found = loaded(SSH_LISTENS + RUN, "portable", "-d", shared, "-l", str(tmp_path / "log"))
    check(found, {**SSH, "tidegate": OURS["portable"]})
    assert not [name for name in found["tidegate"] if name.startswith("tidegate.store.sql")]
