# SPDX-License-Identifier: Apache-2.0
"""Sessions of browsers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "9"
down_revision = "8"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = (
    sa.String(255)
    .with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
)
NUMBERS = ("created_at", "seen_at", "idle_until", "expires_at")
TEXTS = ("kind", "mark", "ip", "agent", "method")


def upgrade() -> None:
    """Make the table."""
    name = f"{context.config.attributes['prefix']}browser_sessions"
    op.create_table(
        name,
        sa.Column("id", NAME, primary_key=True),
        sa.Column("username", NAME, nullable=False),
        *(sa.Column(text, NAME, nullable=False, server_default="") for text in TEXTS),
        *(sa.Column(number, NUMBER, nullable=False, server_default="0") for number in NUMBERS),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.create_index(f"ix_{name}_username", name, ["username"])


def downgrade() -> None:
    """Drop it: older versions have no pages to sign in to."""
    op.drop_table(f"{context.config.attributes['prefix']}browser_sessions")
