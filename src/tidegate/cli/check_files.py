# SPDX-License-Identifier: Apache-2.0
"""The part of ``tidegate check`` about files and directories that the configuration names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.cli import flags
from tidegate.cli.check_places import origin_of, require_readable, unmakeable, unwritable
from tidegate.cli.serve import DEFAULT_LOG
from tidegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded


def files(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """Certificates of the data provider, files of secrets, the directory of homes, the log."""
    from tidegate.config.secret_files import read_secret
    from tidegate.store.options import SYSTEM_AUTHORITIES

    settings = loaded.settings
    for path in (
        ("data_provider", "root_cert"),
        ("data_provider", "client_cert"),
        ("data_provider", "client_key"),
    ):
        name = getattr(getattr(settings, path[0]), path[1])
        if name and (path, name) != (("data_provider", "root_cert"), SYSTEM_AUTHORITIES):
            require_readable(loaded.resolve(name), origin_of(loaded, *path), problems)
    for path in (("data_provider", "password_file"), ("httpd", "signing_passphrase_file")):
        section = getattr(settings, path[0])
        name = getattr(section, path[1])
        if name and not getattr(section, path[1].removesuffix("_file")):  # else nobody reads it
            try:
                read_secret(loaded.resolve(name), origin_of(loaded, *path))
            except ConfigError as error:
                problems += error.problems
    base = settings.data_provider.users_base_dir
    if base and (why := unmakeable(Path(base))):
        problems.append(Problem(origin_of(loaded, "data_provider", "users_base_dir"), why))
    log = next(
        (value for name in flags.envs("LOG_FILE_PATH") if (value := os.environ.get(name))), DEFAULT_LOG
    )
    if log != "-" and (why := unwritable(loaded.config_dir / log)):
        problems.append(Problem("--log-file-path", why))
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        yield "user: root; new files get the owner that an account names"
