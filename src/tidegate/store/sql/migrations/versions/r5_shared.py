# SPDX-License-Identifier: Apache-2.0
"""Usage of accounts that are not stored, and revocations as rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "5"
down_revision = "4"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = (
    sa.String(255)
    .with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
)
NUMBERS = (
    "created_at",
    "used_quota_size",
    "used_quota_files",
    "last_quota_update",
    "used_upload_data_transfer",
    "used_download_data_transfer",
    "last_login",
    "first_download",
    "first_upload",
    "tally_bytes_in",
    "tally_bytes_out",
    "tally_bytes_xfer",
    "tally_files_in",
    "tally_files_out",
    "tally_files_xfer",
)


def upgrade() -> None:
    """Make the tables."""
    prefix = context.config.attributes["prefix"]
    op.create_table(
        f"{prefix}external_users",
        sa.Column("username", NAME, primary_key=True),
        *(sa.Column(name, NUMBER, nullable=False, server_default="0") for name in NUMBERS),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.create_table(
        f"{prefix}external_marks",
        sa.Column("username", NAME, primary_key=True),
        sa.Column("server", NAME, primary_key=True),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.create_table(
        f"{prefix}revocations",
        sa.Column("subject", NAME, primary_key=True),
        sa.Column("revoked_at", NUMBER, nullable=False, server_default="0"),
        sa.Column("expires_at", NUMBER, nullable=False, server_default="0"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )


def downgrade() -> None:
    """Drop the tables: older versions know neither such accounts nor these revocations."""
    prefix = context.config.attributes["prefix"]
    for name in ("revocations", "external_marks", "external_users"):
        op.drop_table(f"{prefix}{name}")
