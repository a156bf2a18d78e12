# SPDX-License-Identifier: Apache-2.0
"""Entries of lists of addresses, and bans."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "8"
down_revision = "7"
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
    """Make the table."""
    op.create_table(
        f"{context.config.attributes['prefix']}ip_lists",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("name", NAME, nullable=False, unique=True),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False, server_default="0"),
        sa.Column("updated_at", NUMBER, nullable=False, server_default="0"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )


def downgrade() -> None:
    """Drop it: older versions know neither lists nor bans."""
    op.drop_table(f"{context.config.attributes['prefix']}ip_lists")
