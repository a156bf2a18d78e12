# SPDX-License-Identifier: Apache-2.0
"""Section ``identity``: who says who somebody is."""

from __future__ import annotations

from typing import Any, Literal

from tidegate.config.schema.base import Section, key


class AuthenticatorKeys(Section):
    """One authenticator."""

    use: str = key(
        "",
        "Name of an installed authenticator (entry point group `tidegate.authenticators`), or "
        "`package.module:name`.",
    )
    options: dict[str, Any] = key({}, "What the authenticator is given; see its documentation.", secret=True)


class OpenbridgeKeys(Section):
    """The tables of an Openbridge gateway (ProFTPD with mod_sql), read at each login."""

    host: str = key(
        "",
        "MySQL or MariaDB server with the `ftpd_` tables, `host` or `host:port`; empty reads no such tables. "
        "Its users are asked for before the accounts of the data provider.",
    )
    read_host: str = key(
        "",
        "Replica (`host` or `host:port`) that answers what logins read; while it does not, `host` is asked. "
        "Tallies are read where they are written.",
    )
    database: str = key("ftpd", "Database with the tables.")
    username: str = key("", "Database user.")
    password: str = key("", "Its password.", secret=True)
    password_file: str = key("", "File with the password; `password` is stronger.")
    tls: Literal["false", "true", "skip-verify", "preferred"] = key(
        "preferred",
        "TLS to the database: `true` checks its certificate, `skip-verify` does not, `preferred` takes it "
        "where there is some, `false` never.",
    )
    root_cert: str = key(
        "", "File with the authority that signed the database's certificate; empty trusts the system's."
    )
    client_cert: str = key("", "Client certificate for the database.")
    client_key: str = key("", "Key of the client certificate.")
    pool_size: int = key(
        8, "Open connections to the database at most, and as many to its replica.", ge=1, le=1000
    )
    cache_seconds: float = key(
        2.0,
        "How long rows are used again for questions about keys and for those who are connected, and the rows "
        "of `ftpd_allow` and `ftpd_deny` for logins; a login reads the other tables anew.",
        unit="seconds",
        ge=0,
        le=60,
    )
    closed_by_default: bool = key(
        False, "Only addresses in `ftpd_allow` come in; the gateway had `builtin:all` as its deny table."
    )
    write: bool = key(
        True,
        "Write `count`, `accessed` and `ftpd_quotatally` where the database user may; else logins are not "
        "counted there and tallies are kept by this server.",
    )
    log: bool = key(
        True, "Write uploads and removed files to `ftpd_log` where there is one and the database user may."
    )
    mount_point: str = key(
        "",
        "Homes below this directory are in the bucket of `storage.homes`, under the rest of their path; "
        "empty leaves them on disk.",
        pattern=r"^(/.*)?$",
        like="an absolute path",
    )


class IdentityKeys(Section):
    """Authenticators."""

    openbridge: OpenbridgeKeys = key(
        OpenbridgeKeys(), "Users of an Openbridge gateway, read from its tables while the server runs."
    )

    authenticators: list[AuthenticatorKeys] = key(
        [], "Asked in this order at each login, before the accounts of the data provider."
    )
    guesses_per_user: int = key(
        100,
        "Wrong passwords and codes in a burst for one user from one address, at all servers of this process "
        "together; whole again after five minutes; 0 no limit.",
        ge=0,
        le=10_000_000,
    )
    guesses_per_address: int = key(
        1000,
        "The same for all users from one address; raise it, or set 0, behind a proxy that hides addresses.",
        ge=0,
        le=10_000_000,
    )
