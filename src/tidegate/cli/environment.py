# SPDX-License-Identifier: Apache-2.0
"""Flags from env.d: variables without ``__`` are those of flags, and flags are read before anything else."""

from __future__ import annotations

import os
from pathlib import Path


def export_flags(args: list[str]) -> None:
    """Put the flag variables of ``<config-dir>/env.d`` into the environment where they are not set.

    Raises:
        ConfigError: a file there is not KEY=VALUE lines.
    """
    directory = Path(_config_dir(args)) / "env.d"
    if not directory.is_dir():
        return
    from tidegate.config.environment import read_env_d
    from tidegate.config.formats import PREFIXES

    for name, (value, _) in read_env_d(directory.parent).items():
        if name.startswith(PREFIXES) and "__" not in name:
            os.environ.setdefault(name, value)


def _config_dir(args: list[str]) -> str:
    for index, arg in enumerate(args):
        if arg in ("--config-dir", "-c") and index + 1 < len(args):
            return args[index + 1]
        if arg.startswith("--config-dir="):
            return arg.partition("=")[2]
    return os.environ.get("TIDEGATE_CONFIG_DIR") or os.environ.get("SFTPGO_CONFIG_DIR") or "."
