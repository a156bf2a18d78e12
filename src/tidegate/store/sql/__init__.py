# SPDX-License-Identifier: Apache-2.0
"""The SQL driver: one schema on SQLite, PostgreSQL and MySQL/MariaDB.

`tables` names the schema, `rows` turns rows into values, `engines` makes connections, `database` runs work on
them and translates failures, `accounts`/`folders`/`people`/`loading` hold the statements, `provider` is the
contract's face, `schema` and `migrations/` bring a database up and down. SQL is written as Core expressions
only; the one text that the configuration adds to it, table names, is checked by pattern first.
"""
