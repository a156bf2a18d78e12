# SPDX-License-Identifier: Apache-2.0
"""Groups, roles, who has them, and a count of logins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql, postgresql

revision = "10"
down_revision = "9"
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
    """Make the tables and the columns."""
    prefix, users = _names()
    for name in ("user_groups", "user_roles"):
        op.create_table(
            f"{prefix}{name}",
            sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
            sa.Column("name", NAME, nullable=False, unique=True),
            sa.Column("document", TEXT, nullable=False),
            sa.Column("created_at", NUMBER, nullable=False, server_default="0"),
            sa.Column("updated_at", NUMBER, nullable=False, server_default="0"),
            mysql_engine="InnoDB",
            mysql_charset="utf8mb4",
        )
    op.create_table(
        f"{prefix}users_groups",
        sa.Column(
            "user_id",
            NUMBER,
            sa.ForeignKey(f"{users}.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("group_name", NAME, primary_key=True),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.create_index(f"ix_{prefix}users_groups_group_name", f"{prefix}users_groups", ["group_name"])
    op.add_column(users, sa.Column("login_count", NUMBER, nullable=False, server_default="0"))
    op.add_column(users, sa.Column("groups", TEXT))
    op.add_column(users, sa.Column("role", NAME, nullable=False, server_default=""))
    op.create_index(f"ix_{users}_role", users, ["role"])
    op.add_column(f"{prefix}admins", sa.Column("role", NAME, nullable=False, server_default=""))
    counted = f"{prefix}external_users"
    op.add_column(counted, sa.Column("login_count", NUMBER, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop them: older versions know neither groups nor roles. Administrators of a role are disabled."""
    prefix, users = _names()
    admins = sa.table(f"{prefix}admins", sa.column("role"), sa.column("status", NUMBER))
    op.execute(sa.update(admins).where(admins.c.role != "").values(status=0))
    members = sa.table(users, sa.column("groups"), sa.column("status", NUMBER))
    op.execute(sa.update(members).where(members.c.groups.is_not(None)).values(status=0))
    op.drop_column(f"{prefix}external_users", "login_count")
    op.drop_column(f"{prefix}admins", "role")
    op.drop_index(f"ix_{users}_role", table_name=users)
    for name in ("role", "groups", "login_count"):
        op.drop_column(users, name)
    op.drop_table(f"{prefix}users_groups")
    for name in ("user_roles", "user_groups"):
        op.drop_table(f"{prefix}{name}")


def _names() -> tuple[str, str]:
    attributes = context.config.attributes
    return attributes["prefix"], attributes["users_table"]
