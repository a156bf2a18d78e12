# SPDX-License-Identifier: Apache-2.0
"""The version of the server and of what it is made of, its sandbox, and the keys that it does not act on."""

from __future__ import annotations

import platform
import ssl
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any, Final

from starlette.responses import Response

from tidegate import __version__, built
from tidegate.accounts.administrators import EVERYTHING
from tidegate.config.notes import NO_EFFECT
from tidegate.config.schema.base import trait
from tidegate.config.schema.walk import declared, dotted
from tidegate.errors import TidegateError
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.visit import Visit

PACKAGES: Final = (
    "asyncssh",
    "cryptography",
    "uvloop",
    "uvicorn",
    "starlette",
    "fastapi",
    "sqlalchemy",
    "pydantic",
)
"""Packages whose version is asked for when a fault is looked into."""


async def show(visit: Visit) -> Response:
    """The page."""
    services = visit.services
    loaded = services.loaded
    lacks, sandbox = (await services.facts()).sandbox()
    owner = visit.may(EVERYTHING)
    context: dict[str, Any] = {
        "described": built.described(),
        "version": __version__,
        "commit": built.COMMIT,
        "built": built.DATE,
        "facts": [
            ("Python", sys.version.split()[0]),
            ("TLS library", ssl.OPENSSL_VERSION),
            ("Operating system", f"{platform.system()} {platform.release()} {platform.machine()}"),
            ("Data provider", loaded.settings.data_provider.driver),
            ("TLS to the database", await _cipher(visit)),
        ],
        "packages": _packages(),
        "lacks": lacks,
        "sandbox": sandbox if owner else sandbox.partition(";")[0],
        "owner": owner,
        "set": [note for note in loaded.notes if note.endswith(NO_EFFECT)] if owner else [],
        "unavailable": _unavailable(),
    }
    return visit.html("about.html", context)


async def _cipher(visit: Visit) -> str:
    """The cipher of the connection to the database, or the reason why there is none to tell."""
    asked = getattr(visit.services.provider, "cipher", None)
    if asked is None:
        return "not a database on another host"
    try:
        return await asked() or "none"
    except TidegateError as error:
        return error.text


@cache
def _packages() -> list[tuple[str, str]]:
    return list(_versions())


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, installed(name)
        except PackageNotFoundError:
            continue


@cache
def _unavailable() -> list[tuple[str, str]]:
    """Keys of the compatible configuration that this version does not act on, with what they are for."""
    return [
        (dotted(path), field.description or "")
        for path, field in declared()
        if trait(field, "available") is False
    ]


PAGES: Final = (
    Page(
        path="/about",
        show=show,
        needs="view_status",
        nav=Nav(group="This server", label="Version", icon="info", order=70),
    ),
)
