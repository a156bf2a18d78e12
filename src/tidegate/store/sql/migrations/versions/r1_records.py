# SPDX-License-Identifier: Apache-2.0
"""Accounts, folders, administrators, API keys, settings."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "1"
down_revision = None
branch_labels = None
depends_on = None

NAME = (
    sa.String(255)
    .with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
    .with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
)
TEXT = sa.Text().with_variant(
    mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ENGINE: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}


def _numbers(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, NUMBER, nullable=False, server_default="0") for name in names]


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _id() -> sa.Column[Any]:
    return sa.Column("id", NUMBER, primary_key=True, autoincrement=True)


def upgrade() -> None:
    """Make the tables."""
    prefix, users = _names()
    op.create_table(
        users,
        _id(),
        sa.Column("username", NAME, nullable=False, unique=True),
        sa.Column("status", NUMBER, nullable=False, server_default="1"),
        *_texts("email", "description", "additional_info", "password", "public_keys", "home_dir"),
        *_texts("permissions", "filters", "filesystem"),
        *_numbers("expiration_date", "uid", "gid", "max_sessions", "quota_size", "quota_files"),
        *_numbers("used_quota_size", "used_quota_files", "last_quota_update"),
        *_numbers("upload_bandwidth", "download_bandwidth"),
        *_numbers("upload_data_transfer", "download_data_transfer", "total_data_transfer"),
        *_numbers("used_upload_data_transfer", "used_download_data_transfer"),
        *_numbers("last_login", "first_download", "first_upload", "last_password_change"),
        *_numbers("created_at", "updated_at"),
        **ENGINE,
    )
    op.create_table(
        f"{prefix}folders",
        _id(),
        sa.Column("name", NAME, nullable=False, unique=True),
        *_texts("mapped_path", "description", "filesystem"),
        *_numbers("used_quota_size", "used_quota_files", "last_quota_update"),
        **ENGINE,
    )
    mounts = f"{prefix}users_folders"
    op.create_table(
        mounts,
        _id(),
        sa.Column("user_id", NUMBER, sa.ForeignKey(f"{users}.id", ondelete="CASCADE"), nullable=False),
        sa.Column(
            "folder_id", NUMBER, sa.ForeignKey(f"{prefix}folders.id", ondelete="CASCADE"), nullable=False
        ),
        *_texts("virtual_path"),
        *_numbers("quota_size", "quota_files"),
        **ENGINE,
    )
    op.create_index(f"ix_{mounts}_user_id", mounts, ["user_id"])
    op.create_index(f"ix_{mounts}_folder_id", mounts, ["folder_id"])
    op.create_table(
        f"{prefix}admins",
        _id(),
        sa.Column("username", NAME, nullable=False, unique=True),
        sa.Column("status", NUMBER, nullable=False, server_default="1"),
        *_texts("description", "password", "email", "permissions", "filters", "additional_info"),
        *_numbers("created_at", "updated_at", "last_login"),
        **ENGINE,
    )
    keys = f"{prefix}api_keys"
    op.create_table(
        keys,
        sa.Column("id", NAME, primary_key=True),
        *_texts("name", "key"),
        sa.Column("scope", NUMBER, nullable=False, server_default="1"),
        sa.Column("user", NAME, nullable=False),
        sa.Column("admin", NAME, nullable=False),
        *_texts("description"),
        *_numbers("expires_at", "created_at", "updated_at", "last_use_at"),
        **ENGINE,
    )
    op.create_index(f"ix_{keys}_user", keys, ["user"])
    op.create_index(f"ix_{keys}_admin", keys, ["admin"])
    op.create_table(
        f"{prefix}settings", sa.Column("name", NAME, primary_key=True), *_texts("value"), **ENGINE
    )


def downgrade() -> None:
    """Remove the tables and what they hold."""
    prefix, users = _names()
    for name in ("settings", "api_keys", "admins", "users_folders", "folders"):
        op.drop_table(f"{prefix}{name}")
    op.drop_table(users)


def _names() -> tuple[str, str]:
    attributes = context.config.attributes
    return attributes["prefix"], attributes["users_table"]
