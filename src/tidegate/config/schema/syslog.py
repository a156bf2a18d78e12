# SPDX-License-Identifier: Apache-2.0
"""Section ``syslog``: the log for a syslog server or journald, beside the log file."""

from __future__ import annotations

from typing import Literal

from tidegate.config.schema.base import Section, key

Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip


class SyslogKeys(Section):
    """Lines of the log for a syslog server or journald."""

    address: str = key(
        "",
        "`udp://HOST:PORT`, `tcp://HOST:PORT`, `tls://HOST:PORT` (RFC 5424 messages; without a port 514, "
        "by TLS 6514), `unix:/dev/log` (the form of RFC 3164), or `journald:`; empty sends nothing.",
    )
    facility: Facility = key("local0", "Facility of the messages.")
    app_name: str = key("tidegate", "Name of the program in the messages.", pattern=r"^[!-~]{1,48}$",
                        like="1 to 48 characters of ASCII without spaces")  # fmt: skip
    framing: Literal["octets", "newline"] = key(
        "octets", "Over TCP and TLS: `octets` begins a message with its length (RFC 6587), `newline` ends it."
    )
    max_bytes: int = key(
        8192, "Largest message; what is longer is cut.", unit="bytes", ge=480, le=65_000
    )  # 480: every receiver takes that, RFC 5424 section 6.1
    ca_file: str = key(
        "", "PEM file of authorities that the server's certificate may come from; empty are the system's."
    )
    certificate_file: str = key("", "PEM file of the certificate that is shown to the server; empty is none.")
    certificate_key_file: str = key("", "Its key; empty is in the same file.")
