# SPDX-License-Identifier: Apache-2.0
"""The statements of migrations as text, for somebody who runs them by hand; no database is asked.

Statements come from the revisions in ``migrations/versions``, so that those printed and those run cannot
differ.
"""

from __future__ import annotations

import inspect
import io
from typing import Final

import sqlalchemy as sqla
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable, DropTable

from tidegate.errors import ProviderError
from tidegate.store.options import ProviderOptions
from tidegate.store.sql import migrate
from tidegate.store.sql.schema import VERSIONS, latest, versions_table
from tidegate.store.sql.tables import users_table_name

_DIALECTS: Final = {"sqlite": sqlite, "postgresql": postgresql, "mysql": mysql}


def statements(options: ProviderOptions, before: str, after: str) -> str:
    """The SQL that takes a schema from one version to another, up or down.

    Args:
        options: of the provider: its driver and the names of tables; the rest is not used.
        before: the version that the database has; ``0`` is an empty database.
        after: the version wanted; empty is the latest, ``0`` removes the tables.

    Returns:
        statements that end with ``;``, a comment before those of each version. PostgreSQL and SQLite get one
        transaction; MySQL ends its own at each change of a table, so it gets none.

    Raises:
        ProviderError: there is no such version, or both are the same.
    """
    known = ["0", *VERSIONS]
    after = after or latest()
    for version in (before, after):
        if version not in known:
            raise ProviderError(f"there is no schema version {version}; known are {', '.join(known)}")
    if before == after:
        raise ProviderError(f"from version {before} to version {after} there is nothing to do")
    start, end = known.index(before), known.index(after)
    steps = known[start + 1 : end + 1] if end > start else known[end + 1 : start + 1][::-1]
    return _Printer(options).text(steps, up=end > start)


class _Printer:
    """Writes revisions down for one database.

    Args:
        options: of the provider.
    """

    def __init__(self, options: ProviderOptions) -> None:
        self._options: Final = options
        self._dialect: Final[sqla.Dialect] = _DIALECTS[options.driver].dialect()
        self._table: Final = versions_table(options)
        self._transaction: Final = options.driver != "mysql"

    def text(self, steps: list[str], *, up: bool) -> str:
        """The statements of some versions, in that order."""
        prefix = self._options.sql_tables_prefix
        users = users_table_name(
            prefix, self._options.users_table, external_users=bool(self._options.external_table)
        )
        config = migrate.config_for(version_table=self._table.name, prefix=prefix, users_table=users)
        scripts = ScriptDirectory.from_config(config)
        out = io.StringIO()
        with EnvironmentContext(config, scripts, as_sql=True) as environment:
            environment.configure(
                dialect_name=self._options.driver,
                output_buffer=out,
                literal_binds=True,
                transactional_ddl=False,
            )
            with Operations.context(environment.get_context()):
                if self._transaction:
                    out.write("BEGIN;\n\n")
                for step in steps:
                    found = scripts.get_revision(step)
                    assert found is not None
                    out.write(f"-- version {step}: {_summary(found, up=up)}\n")
                    self._step(out, found, up=up)
                if self._transaction:
                    out.write("COMMIT;\n")
        return out.getvalue()

    def _step(self, out: io.StringIO, found: Script, *, up: bool) -> None:
        number = self._table.c.version_num
        step, lower = found.revision, str(int(found.revision) - 1)
        if up:
            if step == VERSIONS[0]:
                self._write(out, CreateTable(self._table))
            found.module.upgrade()
        else:
            found.module.downgrade()
        if step != VERSIONS[0]:
            was, becomes = (lower, step) if up else (step, lower)
            self._write(out, self._table.update().where(number == was).values(version_num=becomes))
        elif up:
            self._write(out, self._table.insert().values(version_num=step))
        else:
            self._write(out, DropTable(self._table))

    def _write(self, out: io.StringIO, statement: sqla.ClauseElement) -> None:
        literal = {} if isinstance(statement, sqla.schema.DDLElement) else {"literal_binds": True}
        compiled = statement.compile(dialect=self._dialect, compile_kwargs=literal)
        out.write(f"{str(compiled).strip()};\n\n".replace("\t", "    "))


def _summary(found: Script, *, up: bool) -> str:
    """One line of a revision's own words."""
    text = (found.module.__doc__ if up else inspect.getdoc(found.module.downgrade)) or ""
    return text.strip().partition("\n")[0]
