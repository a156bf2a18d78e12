# SPDX-License-Identifier: Apache-2.0
"""Section ``data_provider``: where accounts are kept."""

from __future__ import annotations

from typing import Any, Literal

from tidegate.config.schema.base import HOOK, HOOK_LIKE, PROGRAM, PROGRAM_LIKE, Section, key
from tidegate.config.schema.events import RecordActionKeys


class Argon2Options(Section):
    """Cost of argon2id."""

    memory: int = key(
        0,
        "Memory for one hash, at most 262144. 0 measures the machine once and takes 47104 to 131072 with one "
        "pass and one thread, so that a hash takes about 50 ms; the other two keys have no effect then.",
        unit="KiB",
        ge=0,
        le=4_194_304,
    )
    iterations: int = key(1, "Passes over the memory.", ge=1, le=1000)
    parallelism: int = key(2, "Threads for one hash.", ge=1, le=255)


class BcryptOptions(Section):
    """Cost of bcrypt."""

    cost: int = key(10, "Cost, at most 14; each step doubles the time.", ge=4, le=31)


class PasswordHashing(Section):
    """Hashing of new passwords; old hashes are replaced at the next login."""

    algo: Literal["argon2id", "bcrypt"] = key("argon2id", "Hash for new passwords.")
    argon2_options: Argon2Options = key(Argon2Options(), "Cost of argon2id.")
    bcrypt_options: BcryptOptions = key(BcryptOptions(), "Cost of bcrypt.")


class PasswordRules(Section):
    """Requirements on a new password."""

    min_entropy: float = key(
        0,
        "Least strength of a new password; 0 accepts any, 60 and above is strong.",
        unit="bits",
        ge=0,
        le=1000,
    )


class PasswordValidation(Section):
    """Requirements on new passwords."""

    admins: PasswordRules = key(PasswordRules(), "Rules for administrators.")
    users: PasswordRules = key(PasswordRules(), "Rules for users.")


class DataProvider(Section):
    """The store of accounts, folders, administrators and counters."""

    driver: Literal["sqlite", "postgresql", "mysql", "bolt", "memory"] = key(
        "sqlite", "Kind of data provider: `bolt` is an embedded key/value file, `mysql` includes MariaDB."
    )
    name: str = key(
        "tidegate.db",
        "Database name; for sqlite and bolt a file, for memory an optional dump file to read, relative to "
        "the configuration directory.",
    )
    auto_backup: dict[str, Any] = key(
        {}, "Dumps that the server writes by the clock.", available=False, switch="enabled"
    )
    skip_natural_keys_validation: bool = key(
        False, "Older form of bit 1 of `naming_rules`: any UTF-8 in names.", available=False
    )
    host: str = key(
        "",
        "Database host; an absolute path is a unix socket: for PostgreSQL its directory, for MySQL the "
        "socket file.",
    )
    port: int = key(0, "Database port; 0 uses the driver's own.", ge=0, le=65_535)
    username: str = key("", "Database user.")
    password: str = key("", "Database password.", secret=True)
    password_file: str = key(
        "",
        "File that holds the database password, relative to the configuration directory; used if "
        "`password` is empty.",
    )
    sslmode: int = key(
        0,
        "TLS to the database: 0 off, 1 required, 2 PostgreSQL verifies the authority and MySQL nothing, "
        "3 PostgreSQL verifies the host name too and MySQL uses TLS if it can.",
        ge=0,
        le=3,
    )
    root_cert: str = key(
        "",
        "File with the authority that signed the database's certificate, or `system` for those that the "
        "operating system trusts.",
    )
    client_cert: str = key("", "Client certificate for the database.")
    client_key: str = key("", "Key of the client certificate; PostgreSQL takes it only with mode 0600.")
    connection_string: str = key(
        "",
        "Complete address of the database; replaces host, port, name, user, password and TLS keys.",
        secret=True,
    )
    read_host: str = key(
        "",
        "Host (or host:port) of a replica that answers listings and dumps, and may be behind; logins, quota "
        "and everything else that decides ask the main database. Empty: no replica.",
    )
    prepared_statements: Literal["auto", "never"] = key(
        "auto",
        "PostgreSQL: `auto` prepares statements unless the connection goes through a pooler such as "
        "PgBouncer, which is recognised; `never` prepares none.",
    )
    pool_size: int = key(0, "Open database connections at most; 0 lets the driver choose.", ge=0, le=10_000)
    sql_tables_prefix: str = key(
        "",
        "Put before every table name.",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,30}$|^$",
        like="a letter or underscore, then letters, digits or underscores, 31 at most",
    )
    users_table: str = key(
        "users",
        "Name of the accounts table; a view of another system's accounts needs `manage_users` 0.",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        like="a letter or underscore, then letters, digits or underscores, 63 at most",
    )
    manage_users: int = key(
        1, "0 never writes accounts (the table may be a read-only view), 1 manages them.", ge=0, le=1
    )
    track_quota: int = key(
        2, "Quota counting: 0 off, 1 for everybody, 2 for accounts and folders that have a limit.", ge=0, le=2
    )
    update_mode: int = key(
        0, "Schema changes of a new version: 0 made at start, 1 only by `tidegate initprovider`.", ge=0, le=1
    )
    users_base_dir: str = key(
        "",
        "Absolute directory for homes: an account without home_dir gets this directory plus its name. If it "
        "is set, administrators without the permission `*` may give accounts and folders no directory "
        "outside it over REST.",
        pattern=r"^(/.*)?$",
        like="an absolute path",
    )
    backups_path: str = key(
        "backups",
        "Directory that dumps are written to and read from over REST, relative to the configuration "
        "directory.",
    )
    password_hashing: PasswordHashing = key(PasswordHashing(), "How new passwords are hashed.")
    password_validation: PasswordValidation = key(PasswordValidation(), "What new passwords must have.")
    password_caching: bool = key(
        True, "Remember verified passwords in memory (as keyed digests), so that repeated logins are quick."
    )
    naming_rules: int = key(
        5, "Sum of: 1 any UTF-8 name is allowed, 2 names become lower case, 4 names are trimmed.", ge=0, le=7
    )
    create_default_admin: bool = key(
        False,
        "Create the first administrator from TIDEGATE_DEFAULT_ADMIN_USERNAME and "
        "TIDEGATE_DEFAULT_ADMIN_PASSWORD.",
    )
    external_auth_hook: str = key(
        "",
        "Program (absolute path) or URL that says who somebody is; an empty answer keeps the stored account.",
        pattern=HOOK,
        like=HOOK_LIKE,
    )
    external_auth_program: str = key(
        "",
        "The same as a program by the rules of SFTPGo 0.9: 60 seconds, and an empty answer refuses.",
        pattern=PROGRAM,
        like=PROGRAM_LIKE,
    )
    external_auth_scope: int = key(
        0,
        "Sum of what external authentication is asked about: 1 passwords, 2 public keys, 4 "
        "keyboard-interactive, 8 TLS client certificates; 0 all.",
        ge=0,
        le=15,
    )
    pre_login_hook: str = key(
        "",
        "Program (absolute path) or URL that may change or make an account before credentials are checked.",
        pattern=HOOK,
        like=HOOK_LIKE,
    )
    pre_login_program: str = key(
        "",
        "The same as a program by the rules of SFTPGo 0.9: 60 seconds, and not for unknown accounts.",
        pattern=PROGRAM,
        like=PROGRAM_LIKE,
    )
    check_password_hook: str = key(
        "",
        "Program (absolute path) or URL that checks passwords of accounts there are.",
        pattern=HOOK,
        like=HOOK_LIKE,
    )
    check_password_scope: int = key(
        0, "Sum of doors it is asked for: 1 SSH, 2 FTP, 4 WebDAV, 8 HTTP; 0 all.", ge=0, le=15
    )
    post_login_hook: str = key(
        "",
        "Program (absolute path) or URL that is told of logins.",
        pattern=HOOK,
        like=HOOK_LIKE,
    )
    post_login_scope: int = key(0, "Logins it is told of: 0 all, 1 failed ones, 2 accepted ones.", ge=0, le=2)
    actions: RecordActionKeys = key(RecordActionKeys(), "Programs and URLs that are told of changed records.")

    credentials_path: str = key(
        "credentials",
        "Directory where SFTPGo up to 2.2 kept credentials of Google Cloud Storage; loading its accounts "
        "finds them there. New ones are kept with the record.",
    )

    # -- accepted, not acted on ----------------------------------------------------------------------------
    disable_sni: bool = key(False, "No server name in the TLS handshake.", available=False)
    target_session_attrs: str = key("", "PostgreSQL session kind.", available=False)
    delayed_quota_update: int = key(0, "Batching of quota writes.", available=False)
    is_shared: int = key(
        0,
        "Several servers use this database. They may; limits on sessions, bandwidth and quota then hold for "
        "each server by itself.",
        available=False,
    )
    node: dict[str, Any] = key({}, "Address of this node for the others.", available=False, switch="host")
    prefer_database_credentials: bool = key(
        False, "Keep storage credentials in the database.", available=False
    )
