# SPDX-License-Identifier: Apache-2.0
"""Marks of counters that may be behind, by server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "3"
down_revision = "2"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = (
    sa.String(255)
    .with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
)


def upgrade() -> None:
    """Make the table."""
    prefix, users = _names()
    op.create_table(
        f"{prefix}usage_marks",
        sa.Column(
            "user_id",
            NUMBER,
            sa.ForeignKey(f"{users}.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("server", NAME, primary_key=True),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )


def downgrade() -> None:
    """Leave the marks to any server, and drop the table."""
    prefix, users = _names()
    accounts = sa.table(users, sa.column("id"), sa.column("usage_dirty", sa.Integer()))
    marked = sa.select(sa.table(f"{prefix}usage_marks", sa.column("user_id")).c.user_id)
    op.execute(sa.update(accounts).where(accounts.c.id.in_(marked)).values(usage_dirty=1))
    op.drop_table(f"{prefix}usage_marks")


def _names() -> tuple[str, str]:
    attributes = context.config.attributes
    return attributes["prefix"], attributes["users_table"]
