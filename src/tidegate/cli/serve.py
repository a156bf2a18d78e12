# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate serve``."""

from __future__ import annotations

import gc
from typing import Annotated, Final

import typer

from tidegate.cli import flags
from tidegate.logs.options import Level, LogOptions
from tidegate.server.options import ServeOptions

DEFAULT_LOG: Final = "tidegate.log"


def serve(
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    log_file_path: Annotated[
        str,
        typer.Option(
            "--log-file-path",
            "-l",
            envvar=flags.envs("LOG_FILE_PATH"),
            metavar="FILE",
            help="Log file, relative to the configuration directory; - (or empty) logs to standard error.",
        ),
    ] = DEFAULT_LOG,
    log_max_size: flags.LogMaxSize = 10,
    log_max_backups: flags.LogMaxBackups = 5,
    log_max_age: flags.LogMaxAge = 28,
    log_compress: flags.LogCompress = False,
    log_level: flags.LogLevelFlag = None,
    log_verbose: flags.LogVerbose = None,
    grace_time: flags.GraceTime = 0,
    quickstart: Annotated[
        bool,
        typer.Option(
            "--quickstart",
            envvar=flags.envs("QUICKSTART"),
            help="Make everything that is missing: directory, host keys, database and one account with a "
            "generated password; print once what to type.",
        ),
    ] = False,
) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    SIGHUP reads the configuration again, SIGUSR1 rotates the log.
    """
    directory = config_dir.absolute()
    if quickstart:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not directory.is_dir():
        raise typer.BadParameter(f"{config_dir} is not a directory", param_hint="--config-dir")
    path = log_file_path or "-"
    options = ServeOptions(
        config_dir=directory,
        config_file=config_file,
        log=LogOptions(
            file_path=path if path == "-" else str(directory / path),
            max_size=log_max_size,
            max_backups=log_max_backups,
            max_age=log_max_age,
            compress=log_compress,
            level=level_of(log_level, verbose=log_verbose),
        ),
        grace_time=grace_time,
        quickstart=quickstart,
    )
    gc.disable()  # searching for garbage takes a tenth of a start; `run_loop` enables it again
    from tidegate.cli.provider import load_settings

    loaded = load_settings(directory, config_file)
    from tidegate.server import run as serving

    raise typer.Exit(serving.serve(loaded, options))


_LEVELS: Final[dict[flags.LogLevel, Level]] = {
    flags.LogLevel.TRACE: "trace",
    flags.LogLevel.DEBUG: "debug",
    flags.LogLevel.INFO: "info",
    flags.LogLevel.WARN: "warn",
    flags.LogLevel.ERROR: "error",
}


def level_of(level: flags.LogLevel | None, *, verbose: bool | None = None) -> Level:
    """The level as log options spell it; `verbose` counts where no level is given."""
    if level is None:
        return "debug" if verbose else "info"
    return _LEVELS[level]
