# SPDX-License-Identifier: Apache-2.0
"""Events that wait for kept sinks, and where each sink is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "4"
down_revision = "3"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = (
    sa.String(255)
    .with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
)
TEXT = sa.Text().with_variant(
    mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)


def upgrade() -> None:
    """Make the tables."""
    prefix = context.config.attributes["prefix"]
    op.create_table(
        f"{prefix}outbox",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("document", TEXT, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.create_table(
        f"{prefix}outbox_cursors",
        sa.Column("sink", NAME, primary_key=True),
        sa.Column("position", NUMBER, nullable=False, server_default="0"),
        sa.Column("server", NAME, nullable=False, server_default=""),
        sa.Column("claimed_until", NUMBER, nullable=False, server_default="0"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )


def downgrade() -> None:
    """Drop them: what no sink has taken yet is lost."""
    prefix = context.config.attributes["prefix"]
    op.drop_table(f"{prefix}outbox_cursors")
    op.drop_table(f"{prefix}outbox")
