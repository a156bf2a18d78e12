# SPDX-License-Identifier: Apache-2.0
"""Runs migrations on the connection that `store.sql.schema` hands over in the config's attributes."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    # MySQL commits at each DDL statement; elsewhere all versions are one transaction.
    transactional_ddl=None,
)
with context.begin_transaction():
    context.run_migrations()
