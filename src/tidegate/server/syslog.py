# SPDX-License-Identifier: Apache-2.0
"""From section ``syslog`` to what the log needs to know."""

from __future__ import annotations

from tidegate.config.load import Loaded
from tidegate.errors import ConfigError, Problem
from tidegate.logs.syslog import FACILITIES, SyslogOptions, parse_address


def syslog_options(loaded: Loaded) -> SyslogOptions | None:
    """The target of lines besides the log file; None if there is none.

    Raises:
        ConfigError: the address is none.
    """
    section = loaded.settings.syslog
    if not section.address:
        return None
    try:
        transport, host, port, path = parse_address(section.address)
    except ValueError as error:
        raise ConfigError([Problem("syslog.address", f"{section.address!r}: {error}")]) from None

    def file(name: str) -> str:
        return str(loaded.config_dir / name) if name else ""

    return SyslogOptions(
        transport=transport,
        host=host,
        port=port,
        path=path,
        facility=FACILITIES[section.facility],
        app_name=section.app_name,
        newlines=section.framing == "newline",
        max_bytes=section.max_bytes,
        ca_file=file(section.ca_file),
        certificate_file=file(section.certificate_file),
        certificate_key_file=file(section.certificate_key_file),
    )
