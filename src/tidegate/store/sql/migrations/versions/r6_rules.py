# SPDX-License-Identifier: Apache-2.0
"""Event actions, event rules, and their deliveries that are not over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "6"
down_revision = "5"
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
    for kind in ("event_actions", "event_rules"):
        op.create_table(
            f"{context.config.attributes['prefix']}{kind}",
            sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
            sa.Column("name", NAME, nullable=False, unique=True),
            sa.Column("document", TEXT, nullable=False),
            sa.Column("created_at", NUMBER, nullable=False, server_default="0"),
            sa.Column("updated_at", NUMBER, nullable=False, server_default="0"),
            mysql_engine="InnoDB",
            mysql_charset="utf8mb4",
        )
    name = f"{context.config.attributes['prefix']}deliveries"
    op.create_table(
        name,
        sa.Column("id", NAME, primary_key=True),
        sa.Column("rule", NAME, nullable=False),
        sa.Column("facts", TEXT, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("done", TEXT, nullable=False),
        sa.Column("tries", NUMBER, nullable=False, server_default="0"),
        sa.Column("due", NUMBER, nullable=False, server_default="0"),
        sa.Column("error", TEXT, nullable=False),
        sa.Column("created_at", NUMBER, nullable=False, server_default="0"),
        sa.Column("server", NAME, nullable=False, server_default=""),
        sa.Column("until", NUMBER, nullable=False, server_default="0"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.create_index(f"ix_{name}_due", name, ["due"])


def downgrade() -> None:
    """Drop them: older versions know no rules, and what was not delivered yet is lost."""
    for kind in ("deliveries", "event_rules", "event_actions"):
        op.drop_table(f"{context.config.attributes['prefix']}{kind}")
