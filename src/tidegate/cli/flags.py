# SPDX-License-Identifier: Apache-2.0
"""Flags that several commands share, each with its environment variable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

SIZE: Final = re.compile(r"(?P<number>\d{1,18})\s*(?P<unit>[KMGTP]?)(?:I?B)?", re.IGNORECASE)


def envs(name: str) -> list[str]:
    """The variables of a flag; the first that is set counts."""
    return [f"TIDEGATE_{name}", f"SFTPGO_{name}"]


ConfigDir = Annotated[
    Path,
    typer.Option(
        "--config-dir",
        "-c",
        envvar=envs("CONFIG_DIR"),
        metavar="DIR",
        help="Directory of the configuration; host keys, database and relative file names are here too.",
    ),
]
ConfigFile = Annotated[
    str,
    typer.Option(
        "--config-file",
        envvar=envs("CONFIG_FILE"),
        metavar="NAME",
        help="Configuration file in that directory, with or without extension (.json, .toml, .yaml, .hcl, "
        ".properties, .env). Without a file, defaults and TIDEGATE_* variables hold.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", "--force", help="Do not ask whether you are sure.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Read the password from the first line of a file."),
]
LogMaxSize = Annotated[
    int,
    typer.Option(
        "--log-max-size",
        "-s",
        envvar=envs("LOG_MAX_SIZE"),
        min=0,
        metavar="MB",
        help="Megabytes after which the log is rotated; 0 never by size.",
    ),
]
LogMaxBackups = Annotated[
    int,
    typer.Option(
        "--log-max-backups",
        "-b",
        envvar=envs("LOG_MAX_BACKUPS"),
        min=0,
        metavar="N",
        help="Rotated log files that are kept; 0 keeps all.",
    ),
]
LogMaxAge = Annotated[
    int,
    typer.Option(
        "--log-max-age",
        "-a",
        envvar=envs("LOG_MAX_AGE"),
        min=0,
        metavar="DAYS",
        help="Days that rotated log files are kept; 0 for ever.",
    ),
]
LogCompress = Annotated[
    bool,
    typer.Option("--log-compress", "-z", envvar=envs("LOG_COMPRESS"), help="Compress rotated log files."),
]
GraceTime = Annotated[
    int,
    typer.Option(
        "--grace-time",
        envvar=envs("GRACE_TIME"),
        min=0,
        metavar="SECONDS",
        help="Time that running transfers get when the server is told to stop; 0 stops at once.",
    ),
]


def listed(text: str) -> tuple[str, ...]:
    """Items of a comma separated value; blanks around them and empty ones do not count."""
    return tuple(item for part in text.split(",") if (item := part.strip()))


def size(text: str) -> int:
    """Bytes from ``500``, ``10K``, ``2MB``, ``1.5`` is refused; units are of 1024.

    Raises:
        typer.BadParameter: not a size.
    """
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size such as 500, 10K, 2M, 5G")
    power = " KMGTP".index(match["unit"].upper() or " ")
    factor: int = 1024**power
    return int(match["number"]) * factor
