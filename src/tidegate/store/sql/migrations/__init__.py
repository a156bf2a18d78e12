# SPDX-License-Identifier: Apache-2.0
"""The Alembic environment that ships with the package; `store.sql.schema` drives it."""
