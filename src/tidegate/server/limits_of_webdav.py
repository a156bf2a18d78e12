# SPDX-License-Identifier: Apache-2.0
"""Rows about WebDAV, and uploads in parts, for the table of limits."""

from __future__ import annotations

from tidegate.config.schema import Settings
from tidegate.doors.dav import clients, door, finding, part_uploads, posting
from tidegate.doors.dav.wire import bodies, conditions, xml
from tidegate.doors.dav.wire.nextcloud import MAX_PARTS
from tidegate.model.properties import PropertyLimits
from tidegate.resources import Limits
from tidegate.server.limit_table import LimitRow, number


def webdav_rows(settings: Settings, limits: Limits) -> list[LimitRow]:
    """Limits of WebDAV connections, of their clients, and of uploads in parts."""
    return [*_dav_rows(settings), *_dav_request_rows(), *_part_rows(limits)]


def _dav_rows(settings: Settings) -> list[LimitRow]:
    """WebDAV: connections, and who is logged in."""
    limits, most = settings.limits, settings.webdavd.cache.users.max_size or clients.MAX_CLIENTS
    return [
        LimitRow(
            resource="WebDAV connections of one binding",
            process=str(door.MAX_REQUESTS),
            consequence="requests of further ones are answered with 503",
        ),
        LimitRow(
            resource="times of a WebDAV connection",
            connection=f"{door.HEAD_SECONDS:g} s for a head, {door.BODY_SECONDS:g} s of silence in a body, "
            f"{door.KEEP_ALIVE_SECONDS} s between two requests",
            consequence="the connection is closed",
        ),
        LimitRow(
            resource="WebDAV clients that stay logged in",
            account="`max_sessions` of the account",
            process=str(most),
            keys=("webdavd.cache.users.max_size",),
            consequence="the longest idle one of that account, or of accounts with more of them, makes room; "
            "if there is none, 503",
        ),
        LimitRow(
            resource="WebDAV logins that are judged at a time",
            process=str(clients.MAX_LOGINS),
            consequence="503",
        ),
        LimitRow(
            resource="requests of one WebDAV client at a time",
            connection=f"{clients.MAX_REQUESTS} a client",
            consequence="503",
        ),
        LimitRow(
            resource="write locks",
            account=str(limits.locks_per_account),
            process=str(limits.locks),
            keys=("limits.locks_per_account", "limits.locks"),
            consequence="LOCK is answered with 503",
        ),
        LimitRow(
            resource="time of a write lock",
            connection=f"{limits.lock_time} s",
            keys=("limits.lock_time",),
            consequence="the lock ends, unless its client refreshes it",
        ),
    ]


def _dav_request_rows() -> list[LimitRow]:
    """WebDAV: what one request may ask for, and what it leaves behind."""
    properties = PropertyLimits()
    return [
        LimitRow(
            resource="XML of one WebDAV request",
            connection=f"{bodies.MAX_BODY >> 10} KiB, {xml.MAX_ELEMENTS} elements, {xml.MAX_DEPTH} within "
            f"each other, {bodies.MAX_PROPERTIES} properties",
            consequence="413 if it is too long, else 400",
        ),
        LimitRow(
            resource="conditions in the header If",
            connection=f"{conditions.MAX_CONDITIONS}, {conditions.MAX_CHARS} characters",
            consequence="400",
        ),
        LimitRow(
            resource="PROPFIND of whole trees (`infinite_depth`)",
            connection=f"{finding.MAX_LEVELS} directories within each other, {finding.MAX_WAITING} that are "
            "still to be listed",
            consequence="deeper ones are left out; the answer is broken off if too many wait",
        ),
        LimitRow(
            resource="files of one form of a page",
            connection=str(posting.MAX_FILES),
            consequence="413; those before them are stored",
        ),
        LimitRow(
            resource="dead properties",
            connection=f"{properties.count} and {properties.resource_bytes >> 10} KiB of one file, "
            f"{properties.value_bytes >> 10} KiB each",
            account=f"{properties.account_bytes >> 20} MiB",
            consequence="507",
        ),
    ]


def _part_rows(limits: Limits) -> list[LimitRow]:
    """Uploads in parts at Nextcloud's addresses."""
    return [
        LimitRow(
            resource="uploads in parts that are not complete",
            connection=f"{part_uploads.MAX_UPLOADS} a client",
            account="each is an open file",
            consequence="beginning another one is answered with 429",
        ),
        LimitRow(
            resource="parts of one upload",
            connection=str(MAX_PARTS),
            consequence="400",
        ),
        LimitRow(
            resource="parts of uploads that are not complete",
            account=number(limits.upload_parts_per_account),
            process=number(limits.upload_parts),
            keys=("limits.upload_parts_per_account", "limits.upload_parts"),
            consequence="a further part is answered with 503; it can be sent again once others are complete",
        ),
        LimitRow(
            resource="times of an upload in parts",
            connection=f"{part_uploads.IDLE_SECONDS:g} s without a request; a part waits "
            f"{part_uploads.TURN_SECONDS:g} s for those before it",
            consequence="the upload is given up; the part is answered with 409",
        ),
    ]
