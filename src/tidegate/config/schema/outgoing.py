# SPDX-License-Identifier: Apache-2.0
"""Sections ``http``, ``command`` and ``hooks``: calls to services and programs of the operator."""

from __future__ import annotations

from typing import Final

from pydantic import field_validator

from tidegate.config.schema.base import Section
from tidegate.config.schema.base import key as declare

HOOK_NAMES: Final = (
    "fs_actions",
    "provider_actions",
    "startup",
    "post_connect",
    "post_disconnect",
    "data_retention",
    "check_password",
    "pre_login",
    "post_login",
    "external_auth",
    "keyboard_interactive",
)
"""Words for `command.commands[].hook`."""


class ClientCertificate(Section):
    """A client certificate."""

    cert: str = declare("", "File of the certificate, relative to the configuration directory.")
    key: str = declare("", "File of its key, likewise.")


class HeaderKeys(Section):
    """A header of calls."""

    key: str = declare("", "Name of the header.")
    value: str = declare("", "Its value.", secret=True)
    url: str = declare("", "Sent with URLs that begin with it; empty with all.")


class HttpKeys(Section):
    """Calls to HTTP services: hooks, rules."""

    timeout: float = declare(20, "How long one try may take.", unit="seconds", ge=0.1, le=300)
    retry_wait_min: float = declare(
        2,
        "Wait before the first repetition; each further one is twice as long.",
        unit="seconds",
        ge=0,
        le=600,
    )
    retry_wait_max: float = declare(30, "Longest wait between two tries.", unit="seconds", ge=0, le=3600)
    retry_max: int = declare(
        3,
        "Repetitions, after a status of 500 and above (but 501) and after failed connections. Hooks that "
        "decide about a login or a connection are not repeated.",
        ge=0,
        le=20,
    )
    ca_certificates: list[str] = declare(
        [],
        "Files of authorities that are trusted besides the system's, relative to the configuration "
        "directory.",
    )
    certificates: list[ClientCertificate] = declare(
        [],
        "Client certificates of calls of the configuration, with keys without passphrase; the first is used.",
    )
    skip_tls_verify: bool = declare(False, "Accept any certificate of a server: only for tests.")
    headers: list[HeaderKeys] = declare(
        [], "Headers of calls of the configuration (hooks, `common.actions`, `data_provider.actions`)."
    )
    environment_proxies: bool = declare(
        False, "Use the proxies that the variables `https_proxy`, `http_proxy` and `no_proxy` name."
    )


class CommandOf(Section):
    """Settings of one program."""

    path: str = declare("", "The program, as it is named where it is used.")
    timeout: int = declare(
        0, "How long it may take; 0 takes `command.timeout`.", unit="seconds", ge=0, le=300
    )
    env: list[str] = declare([], "Variables that are added, as `NAME=value`.", secret=True)
    args: list[str] = declare([], "Arguments.")
    hook: str = declare("", f"Only when it is used as one of {', '.join(HOOK_NAMES)}; empty always.")

    @field_validator("env")
    @classmethod
    def _named(cls, lines: list[str]) -> list[str]:
        return _checked_environment(lines)


class CommandKeys(Section):
    """Calls to programs: hooks, rules."""

    timeout: int = declare(30, "How long a program may take.", unit="seconds", ge=1, le=300)
    env: list[str] = declare(
        [],
        "Variables of every program, as `NAME=value`. They get no others but those of the call.",
        secret=True,
    )
    commands: list[CommandOf] = declare([], "Settings of single programs.")

    @field_validator("env")
    @classmethod
    def _named(cls, lines: list[str]) -> list[str]:
        return _checked_environment(lines)


class HookKeys(Section):
    """Hooks of logins and connections."""

    at_once: int = declare(16, "Programs that run, and URLs that are called, at once.", ge=1, le=1024)
    waiting: int = declare(
        256, "Calls that may wait for others to end; further logins are refused.", ge=1, le=65_536
    )
    inherit_environment: bool = declare(
        False,
        "Programs get the environment of the server besides, as those of SFTPGo 0.9 did."
        " It may hold secrets.",
    )
    store_accounts: bool = declare(
        True,
        "Accounts that external authentication answers are stored in the data provider, as by SFTPGo. "
        "Without, only their usage is kept, under their name.",
    )


def _checked_environment(lines: list[str]) -> list[str]:
    for index, line in enumerate(lines):
        name, equals, _ = line.partition("=")
        if not equals or not name or not name.isascii() or "\0" in line:
            raise ValueError(f"line {index + 1} is not NAME=value")
    return lines
