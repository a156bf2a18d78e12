# SPDX-License-Identifier: Apache-2.0
"""Flags and arguments that several commands share; a flag of one command alone stands with that command."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from tidegate.cli import names

SIZE: Final = re.compile(r"(?P<number>\d{1,18})\s*(?P<unit>[KMGTP]?)(?:I?B)?", re.IGNORECASE)


CONTEXT: Final = {"help_option_names": ["-h", "--help"]}
"""Settings of every command."""

HERE: Final = Path(".")
"""The configuration directory, if nobody says."""

FILE: Final = "tidegate"
"""The name of its file without the suffix, if nobody says."""


class LogLevel(StrEnum):
    """Levels as flags spell them."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class Onto(StrEnum):
    """Settings of renames as flags spell them."""

    REFUSE = "refuse"
    REPLACE = "replace"
    DEFAULT = "default"


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
Create = Annotated[
    bool, typer.Option("--create", help="Make the database of accounts if there is none in that directory.")
]
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
LogVerbose = Annotated[
    bool | None,
    typer.Option(
        "--log-verbose/--no-log-verbose",
        envvar=envs("LOG_VERBOSE"),
        show_default=False,
        help="Older name: yes is --log-level debug, no is --log-level info. --log-level wins.",
    ),
]
LogLevelFlag = Annotated[
    LogLevel | None,
    typer.Option(
        "--log-level", envvar=envs("LOG_LEVEL"), help="Least level that is logged; info without this."
    ),
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
# Options whose type differs between commands: a new record has a text, a change may leave it out.
_EMAIL: Final = typer.Option("--email", help="Mail address.")
_DESCRIPTION: Final = typer.Option("--description", help="Free text.")

# --- records ----------------------------------------------------------------------------------------------

UserName = Annotated[str, typer.Argument(help="User name.", show_default=False, autocompletion=names.users)]
FolderName = Annotated[
    str, typer.Argument(help="Folder name.", show_default=False, autocompletion=names.folders)
]
GroupName = Annotated[
    str, typer.Argument(help="Name of the group.", show_default=False, autocompletion=names.groups)
]
RoleName = Annotated[
    str, typer.Argument(help="Name of the role.", show_default=False, autocompletion=names.roles)
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        metavar="NAME[:KIND]",
        help="Group of the account; kind primary (without one), secondary or membership. Repeatable; "
        "replaces all, an empty one removes them.",
        autocompletion=names.groups,
    ),
]
RoleOf = Annotated[
    str | None,
    typer.Option("--role", metavar="NAME", help="Role; an empty one removes it.", autocompletion=names.roles),
]
AdminName = Annotated[
    str, typer.Argument(help="Name of the administrator.", show_default=False, autocompletion=names.admins)
]
KeyId = Annotated[
    str, typer.Argument(help="Id of the key.", show_default=False, autocompletion=names.api_keys)
]
Email = Annotated[str, _EMAIL]
NewEmail = Annotated[str | None, _EMAIL]
Description = Annotated[str, _DESCRIPTION]
NewDescription = Annotated[str | None, _DESCRIPTION]
Home = Annotated[
    str | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Absolute directory that the user sees as /. Without it: "
        "data_provider.users_base_dir/NAME, or files/NAME in the configuration directory.",
    ),
]
Permissions = Annotated[
    list[str] | None,
    typer.Option(
        "--permission",
        "-g",
        metavar="/DIR:NAMES",
        help="What is allowed in a directory and below, for "
        "instance /:* for everything or /in:list,upload. Repeat for more directories; "
        "the nearest one counts. A new user may list and download.",
        autocompletion=names.permissions,
    ),
]
Keys = Annotated[
    list[Path] | None,
    typer.Option(
        "--public-key", "-k", metavar="FILE", help="File with public keys; - is standard input. Repeatable."
    ),
]
QuotaSize = Annotated[
    str | None,
    typer.Option("--quota-size", metavar="SIZE", help="Most bytes, for instance 500M or 10G; 0 no limit."),
]
QuotaFiles = Annotated[int | None, typer.Option("--quota-files", min=0, help="Most files; 0 no limit.")]
MaxSessions = Annotated[
    int | None, typer.Option("--max-sessions", min=0, help="Sessions at a time; 0 no limit.")
]
UploadBandwidth = Annotated[
    int | None, typer.Option("--upload-bandwidth", min=0, metavar="KB/S", help="KB a second; 0 no limit.")
]
DownloadBandwidth = Annotated[
    int | None, typer.Option("--download-bandwidth", min=0, metavar="KB/S", help="KB a second; 0 no limit.")
]
Uid = Annotated[
    int | None, typer.Option("--uid", min=0, help="Owner of new files, if the server runs as root.")
]
Gid = Annotated[
    int | None, typer.Option("--gid", min=0, help="Group of new files, if the server runs as root.")
]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="DATE", help="Last moment: 2026-12-31, 2026-12-31T18:00, or never."),
]
AllowedIp = Annotated[
    list[str] | None,
    typer.Option("--allowed-ip", metavar="NET", help="Address or network to come from. Repeatable."),
]
DeniedIp = Annotated[
    list[str] | None,
    typer.Option("--denied-ip", metavar="NET", help="Address or network refused. Repeatable."),
]
AllowedCountry = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-country",
        metavar="CODE",
        help="Country to come from, two letters (`common.geoip` has the databases). Repeatable.",
    ),
]
DeniedCountry = Annotated[
    list[str] | None, typer.Option("--denied-country", metavar="CODE", help="Country refused. Repeatable.")
]
AllowedAsn = Annotated[
    list[int] | None,
    typer.Option(
        "--allowed-asn",
        metavar="NUMBER",
        min=0,
        help="Autonomous system to come from. Repeatable; 0 for none.",
    ),
]
DeniedAsn = Annotated[
    list[int] | None,
    typer.Option(
        "--denied-asn", metavar="NUMBER", min=0, help="Autonomous system refused. Repeatable; 0 for none."
    ),
]
TwoFactor = Annotated[
    list[str] | None,
    typer.Option(
        "--two-factor",
        metavar="DOOR",
        help="Door that is shut until the user has one-time codes for it: SSH, FTP, HTTP; '' for none. "
        "Repeatable.",
    ),
]
RenameOnto = Annotated[
    Onto | None,
    typer.Option(
        "--rename-onto", help="What RENAME does with a new name that exists; default is the server's setting."
    ),
]
Document = Annotated[
    Path | None,
    typer.Option(
        "--document",
        metavar="FILE",
        help="JSON document with any fields of an account (- is standard input), "
        "as `user show --json` prints them; flags win over it.",
    ),
]
Enabled = Annotated[bool | None, typer.Option("--enable/--disable", help="Whether the user may log in.")]

# --- importing --------------------------------------------------------------------------------------------

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")]
Mode = Annotated[int, typer.Option("--mode", min=0, max=1, help="0 adds and updates, 1 only adds.")]
KeepPasswords = Annotated[
    bool, typer.Option("--keep-passwords", help="Leave the passwords of users who have one already.")
]


def group(help: str) -> typer.Typer:  # noqa: A002  typer's own word
    """A command with commands below it."""
    return typer.Typer(no_args_is_help=True, context_settings=CONTEXT, help=help)


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


Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Write what became of each record into this file: .json, or .csv with a row for each field.",
    ),
]

Authority = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", metavar="FILE", help="Certificates to trust (PEM), instead of those of the system."
    ),
]

SHOWN_ROWS: Final = 20
"""Records that a load or an import prints one by one; of more it tells the numbers."""
