# SPDX-License-Identifier: Apache-2.0
"""Callers of programs and HTTP services by the configuration; each use has its own, with its own bounds."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tidegate.config.load import Loaded
from tidegate.outgoing.commands import USUAL_SECONDS, CommandOptions, CommandUse
from tidegate.outgoing.http import HttpCaller, HttpHeader, HttpOptions
from tidegate.outgoing.programs import Programs


def http_options(loaded: Loaded) -> HttpOptions:
    """Options of calls from section ``http``."""
    section = loaded.settings.http
    return HttpOptions(
        seconds=section.timeout,
        wait_min=section.retry_wait_min,
        wait_max=section.retry_wait_max,
        retries=section.retry_max,
        authorities=[loaded.resolve(name) for name in section.ca_certificates],
        certificates=[(loaded.resolve(one.cert), loaded.resolve(one.key)) for one in section.certificates],
        verify=not section.skip_tls_verify,
        headers=[HttpHeader(one.key, one.value, one.url) for one in section.headers if one.key],
        environment_proxies=section.environment_proxies,
    )


def command_options(loaded: Loaded) -> CommandOptions:
    """Options of programs from section ``command``.

    `command.timeout` counts as chosen if it differs from its default, because files of SFTPGo spell the
    defaults out, and some uses have a longer time of their own.
    """
    section = loaded.settings.command
    return CommandOptions(
        seconds=None if section.timeout == USUAL_SECONDS else float(section.timeout),
        env=_variables(section.env),
        commands=tuple(
            CommandUse(one.path, float(one.timeout) or None, _variables(one.env), tuple(one.args), one.hook)
            for one in section.commands
        ),
    )


def create_programs(loaded: Loaded, *, at_once: int, waiting: int) -> Programs:
    """A runner of programs, which start in the configuration directory."""
    inherited = dict(os.environ) if loaded.settings.hooks.inherit_environment else {}
    directory = str(loaded.config_dir.absolute())
    return Programs(at_once, waiting, environment=inherited, directory=directory)


def create_caller(loaded: Loaded, *, at_once: int, waiting: int) -> HttpCaller:
    """A caller of HTTP services."""
    return HttpCaller(http_options(loaded), at_once=at_once, waiting=waiting)


def _variables(lines: list[str]) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in lines)
