# SPDX-License-Identifier: Apache-2.0
"""The table of limits, for `tidegate check` and the reference page; part of the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.config.schema import Settings
from tidegate.config.schema.defence import PenaltyKeys
from tidegate.doors.sftp.dialogue import SftpLimits
from tidegate.doors.ssh.options import DEFAULT_MAX_AUTH_TRIES, SshOptions
from tidegate.doors.ssh.server import MAX_EARLY_EXCHANGES, MAX_KEY_OFFERS
from tidegate.resources import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One resource. Texts hold numbers with units; empty where there is no such limit.

    Attributes:
        resource: its name.
        connection: limit of one connection or channel.
        source: limit of one client address.
        account: limit of one account.
        process: limit of all together.
        keys: configuration keys that set them.
        consequence: the outcome when a limit is reached.
    """

    resource: str
    connection: str = ""
    source: str = ""
    account: str = ""
    process: str = ""
    keys: tuple[str, ...] = ()
    consequence: str

    def line(self) -> str:
        """One line for a terminal."""
        parts = [
            f"{scope} {text}".replace("`", "")
            for text, scope in (
                (self.connection, "connection"),
                (self.source, "source"),
                (self.account, "account"),
                (self.process, "all"),
            )
            if text
        ]
        return f"{self.resource}: {'; '.join(parts)}"


def limit_rows(settings: Settings, limits: Limits, *, every_door: bool = False) -> list[LimitRow]:
    """Every limit with the number in force; of FTP and WebDAV where they are on, or with `every_door`."""
    rows = [*_connection_rows(settings, limits), *_session_rows(limits), *_http_rows(settings)]
    if every_door or any(binding.port for binding in settings.ftpd.bindings):
        from tidegate.server.limits_of_ftp import ftp_rows  # only a server with that door has it loaded

        rows += ftp_rows(settings)
    if every_door or any(binding.port for binding in settings.webdavd.bindings):
        from tidegate.server.limits_of_webdav import webdav_rows

        rows += webdav_rows(settings, limits)
    return rows


def _connection_rows(settings: Settings, limits: Limits) -> list[LimitRow]:
    """Connections, and what they may do before somebody has logged in."""
    common, sftpd = settings.common, settings.sftpd
    start, _, _ = sftpd.max_startups.partition(":")
    full = sftpd.max_startups.rpartition(":")[2]
    tries = "no limit" if sftpd.max_auth_tries < 0 else str(sftpd.max_auth_tries or DEFAULT_MAX_AUTH_TRIES)
    return [
        LimitRow(
            resource="one source",
            source=f"IPv4 /{common.source_prefix4}, IPv6 /{common.source_prefix6}",
            keys=("common.source_prefix4", "common.source_prefix6"),
            consequence="addresses of one network share every limit, score, ban and penalty of a source",
        ),
        LimitRow(
            resource="file descriptors",
            process=f"{limits.descriptors}, of which {limits.reserved_descriptors} are kept in reserve",
            keys=("limits.reserved_descriptors",),
            consequence="new connections and sessions are refused; sessions that are open go on",
        ),
        LimitRow(
            resource="connections",
            source=number(common.max_per_host_connections),
            account="`max_sessions` of the account",
            process=number(common.max_total_connections),
            keys=("common.max_per_host_connections", "common.max_total_connections"),
            consequence="further ones are refused",
        ),
        LimitRow(
            resource="SSH connections that have not logged in",
            source=f"{number(sftpd.max_startups_per_source)} once there are {start}",
            process=f"{start} freely, up to {full}" if full != "0" else "no limit",
            keys=("sftpd.max_startups", "sftpd.max_startups_per_source"),
            consequence="the longest silent one makes room; if there is none, new ones are refused at random",
        ),
        LimitRow(
            resource="connections that end without a login",
            source=_penalties(common.penalties),
            keys=("common.penalties",),
            consequence="the address is refused until the seconds that they cost have passed",
        ),
        LimitRow(
            resource="time to log in",
            connection=f"{sftpd.login_timeout} s, {sftpd.silent_timeout} s in silence",
            keys=("sftpd.login_timeout", "sftpd.silent_timeout"),
            consequence="the connection is closed",
        ),
        LimitRow(
            resource="failed login attempts",
            connection=tries,
            keys=("sftpd.max_auth_tries",),
            consequence="the connection is closed; questions left without an answer count too",
        ),
        LimitRow(
            resource="public keys offered",
            connection=str(MAX_KEY_OFFERS),
            consequence="the connection is closed",
        ),
        LimitRow(
            resource="key exchanges",
            connection=f"{number(limits.key_exchanges_per_connection)} a minute, "
            f"{MAX_EARLY_EXCHANGES} before the login",
            source=f"{number(limits.key_exchanges_per_source)} a minute",
            keys=("limits.key_exchanges_per_connection", "limits.key_exchanges_per_source"),
            consequence="the connection is closed, further ones of the source are refused",
        ),
    ]


def _penalties(keys: PenaltyKeys) -> str:
    if not keys.enabled:
        return "no limit"
    return f"cost {keys.min:g} s together, as {keys.min / max(keys.authfail, 1):.0f} wrong passwords do"


def _session_rows(limits: Limits) -> list[LimitRow]:
    """Limits of those who have logged in."""
    return [
        LimitRow(
            resource="SSH channels",
            connection=str(SshOptions().max_channels),
            process=str(limits.channels),
            keys=("limits.channels",),
            consequence="opening a channel is refused",
        ),
        LimitRow(
            resource="open files and listings",
            connection=f"{SftpLimits().handles} a channel",
            account=str(limits.handles_per_account),
            process=str(limits.handles),
            keys=("limits.handles_per_account", "limits.handles"),
            consequence="opening is refused: too many open handles",
        ),
        LimitRow(
            resource="programs of the system (git, rsync)",
            account=number(limits.programs_per_account),
            process=number(limits.programs),
            keys=("limits.programs_per_account", "limits.programs"),
            consequence="the command is refused",
        ),
        LimitRow(
            resource="buffered bytes of SSH connections",
            process=f"{limits.buffer_bytes >> 20} MiB",
            keys=("limits.buffer_memory",),
            consequence="the largest connections have to wait; one that has waited 60 s is closed",
        ),
    ]


def _http_rows(settings: Settings) -> list[LimitRow]:
    return [
        LimitRow(
            resource="HTTP connections of one binding",
            source=number(settings.httpd.max_connections_per_source),
            process=number(settings.httpd.max_connections),
            keys=("httpd.max_connections_per_source", "httpd.max_connections"),
            consequence="the one that has waited longest for a request makes room; if none has waited for a "
            "second, new ones are refused",
        ),
        LimitRow(
            resource="time for the head of an HTTP request",
            connection=f"{settings.httpd.head_timeout} s",
            keys=("httpd.head_timeout",),
            consequence="the connection is closed",
        ),
    ]


def number(value: int) -> str:
    """A limit as the table tells it; 0 is none."""
    return str(value) if value else "no limit"
