# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate probe``: a self-test that logs in and moves a file, as Nagios and its relatives read it."""

from __future__ import annotations

import asyncio
import enum
import os
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from tidegate.cli import flags
from tidegate.cli.terminal import say, say_json

PORTS: Final = {"sftp": 2022, "ftp": 2121, "dav": 8090}
"""Ports that are tried where none is given."""
TESTER: Final = ("APP_TEST_USER", "APP_TEST_PASSWORD")
"""Variables of the Openbridge gateway: the account of its self-test."""
OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


class Protocol(enum.StrEnum):
    """Protocols that a probe speaks."""

    SFTP = "sftp"
    FTP = "ftp"
    DAV = "dav"


def probe(
    host: Annotated[str, typer.Option("--host", help="Name or address of the server.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="TCP port; 0 is 2022, 2121 or 8090.")
    ] = 0,
    protocol: Annotated[Protocol, typer.Option("--protocol", help="Protocol to speak.")] = Protocol.SFTP,
    user: Annotated[
        str, typer.Option("--user", help="Account of the probe; else that of APP_TEST_USER.")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File with its password; else APP_TEST_PASSWORD.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option("--key-file", help="Private key, for SFTP.")] = None,
    host_key: Annotated[
        list[str] | None,
        typer.Option("--host-key", help="Fingerprint (SHA256:...) of the server; repeatable."),
    ] = None,
    known_hosts: Annotated[
        Path | None, typer.Option("--known-hosts", help="File to look its host key up in; else your own.")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS, for FTP and WebDAV.")] = False,
    authority: flags.Authority = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any host key and certificate.")] = False,
    directory: Annotated[str, typer.Option("--directory", help="Where the file is put.")] = "/",
    size: Annotated[int, typer.Option("--size", min=1, max=1 << 30, help="Bytes of the file.")] = 65_536,
    seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, max=3600, help="Seconds for all of it.")
    ] = 30.0,
    warn: Annotated[
        float, typer.Option("--warn", min=0, help="Seconds after which it is a warning; 0 never.")
    ] = 0.0,
    as_json: flags.AsJson = False,
) -> None:
    """Log in to a server, move a file there and back, compare it and remove it.

    Exit codes: 0 all went well, 1 it took longer than --warn, 2 it did not work, 3 it could not be tried.
    """
    from tidegate.probing.target import ProbeFailed, Target, Trial

    try:
        name, password = _account(user, password_file, key_file)
    except (OSError, ValueError) as error:
        _end(UNKNOWN, str(error), {}, as_json=as_json)
    target = Target(
        host=host,
        port=port or PORTS[protocol.value],
        username=name,
        password=password,
        key=key_file,
        host_keys=tuple(host_key or ()),
        known_hosts=known_hosts,
        verify=not insecure,
        tls=tls,
        authority=authority,
        directory=directory,
        size=size,
        seconds=seconds,
    )
    trial = Trial(target)
    code, text = OK, ""
    try:
        if protocol is Protocol.SFTP:
            from tidegate.probing import by_sftp

            asyncio.run(by_sftp.probe(target, trial))
        elif protocol is Protocol.FTP:
            from tidegate.probing import by_ftp

            by_ftp.probe(target, trial)
        else:
            from tidegate.probing import by_dav

            by_dav.probe(target, trial)
    except ProbeFailed as error:
        code, text = CRITICAL, str(error)
    except (TimeoutError, OSError) as error:
        code, text = CRITICAL, str(error) or f"it takes longer than {seconds:g} s"
    total = sum(trial.steps.values())
    if code == OK:
        text = f"{protocol.value} {size} bytes there and back in {total:.3f} s"
        code = WARNING if 0 < warn < total else OK
    _end(code, text, trial.steps, as_json=as_json)


def _account(user: str, password_file: Path | None, key_file: Path | None) -> tuple[str, str]:
    """Name and password.

    Raises:
        OSError: the password cannot be read.
        ValueError: there is no name, or nothing to prove it by.
    """
    name = user or os.environ.get(TESTER[0], "")
    if not name:
        raise ValueError(f"no account: give --user, or set {TESTER[0]}")
    if password_file is not None:
        password = password_file.read_text(encoding="utf-8").rstrip("\r\n")
    else:
        password = os.environ.get(TESTER[1], "")
    if not password and key_file is None:
        raise ValueError(f"nothing to log in with: give --password-file or --key-file, or set {TESTER[1]}")
    return name, password


def _end(code: int, text: str, steps: dict[str, float], *, as_json: bool) -> NoReturn:
    """Say what came of it and end with the exit code."""
    if as_json:
        say_json({"status": WORDS[code].lower(), "text": text, "seconds": steps})
    else:
        figures = " ".join(f"{name}={seconds:.4f}s" for name, seconds in steps.items())
        line = f"PROBE {WORDS[code]} - {text}".replace("|", "/")
        say(f"{line} | {figures}" if figures else line)
    raise typer.Exit(code)
