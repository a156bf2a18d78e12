# SPDX-License-Identifier: Apache-2.0
"""Runs the revisions in ``migrations/versions`` with Alembic; loaded only where there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def run(
    connection: Connection, direction: str, to: str, *, version_table: str, prefix: str, users_table: str
) -> None:
    """Run revisions on a connection.

    Args:
        direction: ``up`` or ``down``.
        to: the revision to reach; ``base`` is none.
        version_table: where Alembic keeps the revision.
        prefix: of our tables.
        users_table: name of our accounts table.
    """
    config = config_for(version_table=version_table, prefix=prefix, users_table=users_table)
    config.attributes["connection"] = connection
    (command.upgrade if direction == "up" else command.downgrade)(config, to)


def config_for(*, version_table: str, prefix: str, users_table: str) -> Config:
    """Alembic's configuration with the names that revisions use; arguments as those of `run`."""
    config = _config()
    config.attributes["version_table"] = version_table
    config.attributes["prefix"] = prefix
    config.attributes["users_table"] = users_table
    return config


def revisions() -> list[str]:
    """All revisions there are, oldest first."""
    scripts = ScriptDirectory.from_config(_config())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
