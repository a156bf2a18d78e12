# SPDX-License-Identifier: Apache-2.0
"""Rows about FTP for the table of limits."""

from __future__ import annotations

from tidegate.config.schema import Settings
from tidegate.doors.ftp import control, conversation, dialogue, listing_commands
from tidegate.doors.ftp.wire import commands
from tidegate.server.limit_table import LimitRow


def ftp_rows(settings: Settings) -> list[LimitRow]:
    """Limits of FTP connections."""
    ftpd, ports = settings.ftpd, settings.ftpd.passive_port_range
    passive = f"{ports.end - ports.start + 1} ports" if ports.start else "as many as the system has"
    return [
        LimitRow(
            resource="times of an FTP connection",
            connection=f"{ftpd.login_timeout} s to log in, {ftpd.data_timeout} s for a data connection, "
            f"{ftpd.stall_timeout} s in which it has to move something",
            keys=("ftpd.login_timeout", "ftpd.data_timeout", "ftpd.stall_timeout"),
            consequence="the connection is closed; of the data connection alone 425 or 426",
        ),
        LimitRow(
            resource="refused FTP passwords",
            connection=str(ftpd.max_login_tries),
            keys=("ftpd.max_login_tries",),
            consequence="the connection is closed",
        ),
        LimitRow(
            resource="FTP commands that wait",
            connection=f"{control.MAX_WAITING}, {commands.MAX_LINE} bytes each; {dialogue.MAX_MISTAKES} in a "
            "row that nobody understands",
            consequence="the client is not read meanwhile; a longer one is answered with 500; the connection "
            "is closed after the last mistake",
        ),
        LimitRow(
            resource="passive FTP ports",
            connection=f"1, for {conversation.UNUSED_SECONDS:g} s",
            process=passive,
            keys=("ftpd.passive_port_range",),
            consequence="425",
        ),
        LimitRow(
            resource="lines of a listing by STAT",
            connection=str(listing_commands.MAX_STAT),
            consequence="longer ones go over a data connection",
        ),
    ]
