# SPDX-License-Identifier: Apache-2.0
"""Environment variables of the Openbridge gateway: alone, they start a gateway on a bucket.

They count only where there is no configuration file, and are weaker than every variable of ours: those of
the bucket where ``AWS_S3BUCKET`` is set, those of the database where `DATABASE_SWITCH` are.

Keys are not copied: the client library reads ``AWS_ACCESS_KEY_ID`` and
``AWS_SECRET_ACCESS_KEY``, or asks for the role of the instance or container, as often as it needs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from tidegate.config.origin import Layer, Origin
from tidegate.config.schema.inspection import CLAMD_ADDRESS, CLAMD_ADDRESS_LIKE
from tidegate.config.schema.walk import KeyPath
from tidegate.errors import Problem

SWITCH: Final = "AWS_S3BUCKET"
"""The variable without which none but those of the database count."""
DATABASE_SWITCH: Final = ("MYSQL_HOST", "APP_SYSTEM_USER")
"""The variables that, both set, make the server read users from the gateway's tables."""
PLACE: Final = "environment (Openbridge)"
MOUNT: Final = "/mnt"
"""The directory at which the gateway mounts its bucket unless `MOUNT_POINT` says otherwise."""
HOMES: Final = "ebs/ftpd/"
"""The directory of homes below the mount, and so in the bucket, by the gateway's own examples."""

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Not the gateway's: variables by which the AWS tools name another store."""
_PORT: Final[KeyPath] = ("sftpd", "bindings", 0, "port")
_HOMES: Final[KeyPath] = ("storage", "homes")
_TABLES: Final[KeyPath] = ("identity", "openbridge")
_DATABASE_KEYS: Final = {
    "MYSQL_HOST": "host",
    "MYSQL_READHOST": "read_host",
    "APP_DATABASE": "database",
    "APP_SYSTEM_USER": "username",
    "APP_SYSTEM_PASSWORD": "password",
}
_CLAMD: Final[KeyPath] = ("inspection", "clamd")
_POLICIES: Final = ("when_down", "when_slow", "when_too_large", "when_unreadable")
"""The gateway accepts what cannot be scanned (ClamFailsafe off)."""
_WITHOUT_EFFECT: Final = {
    "MEMCACHE_STATUS": "there is no cache of TLS sessions",
    "MEMCACHE_HOST": "there is no cache of TLS sessions",
    "CRONFILE": "nothing here needs a crontab",
    "APP_VERSION": "there are no directories of configurations",
    "APP_TEST_USER": "tidegate probe uses it",
    "APP_TEST_PASSWORD": "tidegate probe uses it",
}
_OFF: Final = frozenset(("", "off", "0", "false", "no"))


def layer(environ: Mapping[str, str], problems: list[Problem], notes: list[str]) -> Layer:
    """The values that the variables stand for; empty without `SWITCH`.

    Args:
        problems: takes what is wrong with single variables.
        notes: takes what the operator should know.
    """
    found = Layer()

    def put(path: KeyPath, value: object, name: str) -> None:
        found.put(path, value, Origin("environment", PLACE, name))

    if all(environ.get(name) for name in DATABASE_SWITCH):
        for variable, name in _DATABASE_KEYS.items():
            if value := environ.get(variable):
                put((*_TABLES, name), value, variable)
        if environ["MYSQL_HOST"] == environ.get("MYSQL_READHOST"):  # the gateway's way to say: no replica
            put((*_TABLES, "read_host"), "", "MYSQL_READHOST")
        if environ.get(SWITCH):
            name = "MOUNT_POINT" if environ.get("MOUNT_POINT") else SWITCH
            put((*_TABLES, "mount_point"), environ.get("MOUNT_POINT") or MOUNT, name)
        notes.append(
            f"{', '.join(DATABASE_SWITCH)}: users are read from the tables of the database "
            f"{environ.get('APP_DATABASE') or 'ftpd'} at {environ['MYSQL_HOST'][:80]}"
        )
    gateway = environ.get(SWITCH) or all(environ.get(name) for name in DATABASE_SWITCH)
    if gateway and environ.get("CLAMD_STATUS", "").strip().lower() not in _OFF:
        address = environ.get("CLAMD_HOST", "").strip()
        if address and re.search(CLAMD_ADDRESS, address):
            put((*_CLAMD, "address"), address, "CLAMD_HOST")
            for name in _POLICIES:
                put((*_CLAMD, name), "allow", "CLAMD_STATUS")
            notes.append(
                "CLAMD_STATUS: uploads are scanned, and accepted where that cannot be done, as the gateway "
                "did; TIDEGATE_INSPECTION__CLAMD__WHEN_DOWN, WHEN_SLOW, WHEN_TOO_LARGE and "
                "WHEN_UNREADABLE change that"
            )
        else:
            got = f"expected {CLAMD_ADDRESS_LIKE}, got {address[:60]!r}" if address else "is missing"
            problems.append(Problem("CLAMD_HOST", f"{got}: CLAMD_STATUS switches the virus scan on"))
    if gateway:
        name = SWITCH if environ.get(SWITCH) else DATABASE_SWITCH[0]
        put(("common", "file_patterns", "preset"), "openbridge", name)
        notes.append(
            "names that the gateway refuses (110 extensions, a dot in front) are refused for all accounts; "
            "TIDEGATE_COMMON__FILE_PATTERNS__PRESET and EXEMPT_PATTERNS change that"
        )
    if not environ.get(SWITCH):
        return found

    put((*_HOMES, "bucket"), environ[SWITCH], SWITCH)
    put((*_HOMES, "key_prefix"), HOMES, "MOUNT_POINT" if environ.get("MOUNT_POINT") else SWITCH)
    if region := environ.get("AWS_DEFAULT_REGION"):
        put((*_HOMES, "region"), region, "AWS_DEFAULT_REGION")
    endpoint = next((name for name in _ENDPOINTS if environ.get(name)), "")
    if endpoint:
        put((*_HOMES, "endpoint"), environ[endpoint], endpoint)
        put((*_HOMES, "force_path_style"), True, endpoint)
    if port := environ.get("APP_PORT"):
        if port.isascii() and port.isdecimal() and 0 < int(port) < 65536:
            put(_PORT, int(port), "APP_PORT")
        else:
            problems.append(Problem("APP_PORT", f"expected a port from 1 to 65535, got {port[:20]!r}"))
    problems += _of_keys(environ)
    notes += _notes(environ)
    return found


def _of_keys(environ: Mapping[str, str]) -> list[Problem]:
    found: list[Problem] = []
    pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    missing = [name for name in pair if not environ.get(name)]
    if len(missing) == 1:
        other = next(name for name in pair if name not in missing)
        found.append(Problem(missing[0], f"is missing: it goes together with {other}"))
    mount = environ.get("MOUNT_POINT", "")
    if mount and (not mount.startswith("/") or ".." in PurePosixPath(mount).parts):
        found.append(Problem("MOUNT_POINT", f"expected an absolute path, got {mount[:60]!r}"))
    return found


def _notes(environ: Mapping[str, str]) -> list[str]:
    mount = environ.get("MOUNT_POINT") or MOUNT
    found: list[str] = []
    found.append(
        f"{SWITCH}: homes of new accounts are s3://{environ[SWITCH]}/{HOMES}NAME, which the gateway had at "
        f"{mount.rstrip('/')}/{HOMES}NAME; another place: TIDEGATE_STORAGE__HOMES__KEY_PREFIX"
    )
    if role := environ.get("AWS_IAMROLE"):
        key = "; AWS_ACCESS_KEY_ID is used before it" if environ.get("AWS_ACCESS_KEY_ID") else ""
        found.append(f"AWS_IAMROLE: {role[:80]!r} has to be the role of this instance or container{key}")
    if (given := [name for name in _DATABASE_KEYS if environ.get(name)]) and (
        lacking := [name for name in DATABASE_SWITCH if not environ.get(name)]
    ):
        found.append(
            f"{', '.join(given)}: users are not read from there without {' and '.join(lacking)}; "
            "tidegate import openbridge brings them over"
        )
    by_effect: dict[str, list[str]] = {}
    for name, why in _WITHOUT_EFFECT.items():
        if environ.get(name, "").strip().lower() not in _OFF:
            by_effect.setdefault(why, []).append(name)
    found += [f"{', '.join(names)}: without effect, {why}" for why, names in by_effect.items()]
    if mode := environ.get("MODE"):
        found.append(f"MODE: without effect ({mode[:20]!r}); the server listens at every address of the host")
    return found
