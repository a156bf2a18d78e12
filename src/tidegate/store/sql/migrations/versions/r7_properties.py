# SPDX-License-Identifier: Apache-2.0
"""Dead properties of files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "7"
down_revision = "6"
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
    name = f"{prefix}properties"
    op.create_table(
        name,
        sa.Column("place_key", NAME, primary_key=True),
        sa.Column("parent_key", NAME, nullable=False),
        sa.Column("head", NAME, nullable=False),
        sa.Column("place", TEXT, nullable=False),
        sa.Column("account", NAME, nullable=False),
        sa.Column("size", NUMBER, nullable=False, server_default="0"),
        sa.Column("document", TEXT, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    for column in ("parent_key", "head", "account"):
        op.create_index(f"ix_{name}_{column}", name, [column])
    op.create_table(
        f"{prefix}property_roots",
        sa.Column("root_key", NAME, primary_key=True),
        sa.Column("root", TEXT, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )


def downgrade() -> None:
    """Drop the tables: older versions know no properties."""
    prefix = context.config.attributes["prefix"]
    for name in ("property_roots", "properties"):
        op.drop_table(f"{prefix}{name}")
