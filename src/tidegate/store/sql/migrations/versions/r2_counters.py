# SPDX-License-Identifier: Apache-2.0
"""ProFTPD-style counters, and a mark on accounts whose counters may be behind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "2"
down_revision = "1"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COUNTERS = ("bytes_in", "bytes_out", "bytes_xfer", "files_in", "files_out", "files_xfer")


def upgrade() -> None:
    """Add the columns."""
    users = context.config.attributes["users_table"]
    for name in COUNTERS:
        op.add_column(users, sa.Column(f"tally_{name}", NUMBER, nullable=False, server_default="0"))
    op.add_column(users, sa.Column("usage_dirty", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(f"ix_{users}_usage_dirty", users, ["usage_dirty"])


def downgrade() -> None:
    """Drop the columns; accounts stay."""
    users = context.config.attributes["users_table"]
    op.drop_index(f"ix_{users}_usage_dirty", table_name=users)
    op.drop_column(users, "usage_dirty")
    for name in COUNTERS:
        op.drop_column(users, f"tally_{name}")
