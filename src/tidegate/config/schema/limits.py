# SPDX-License-Identifier: Apache-2.0
"""Section ``limits``: what all clients together, one account or one source may use up."""

from __future__ import annotations

from tidegate.config.schema.base import Section, key


class LimitKeys(Section):
    """Bounds of what all clients together, one account or one source may use up."""

    reserved_descriptors: int = key(
        0,
        "File descriptors that new connections and sessions must leave free; 0 takes an eighth of the limit "
        "of the process (RLIMIT_NOFILE, whose soft limit is raised to the hard one at start), 32 to 512.",
        ge=0,
        le=100_000,
    )
    handles: int = key(
        0,
        "Open files and listings of all clients together; 0 derives it from the limit on file descriptors.",
        ge=0,
        le=10_000_000,
    )
    handles_per_account: int = key(
        0,
        "Open files and listings of one account; 0 takes a quarter of `limits.handles`.",
        ge=0,
        le=10_000_000,
    )
    channels: int = key(
        0,
        "SSH channels of all clients together; 0 takes the limit on file descriptors, 256 to 20000.",
        ge=0,
        le=1_000_000,
    )
    buffer_memory: int = key(
        0,
        "Memory for input and output of all SSH connections that waits to be processed or sent; above it the "
        "largest connections have to wait; 0 takes a quarter of the memory, 64 MiB to 2 GiB.",
        unit="MiB",
        ge=0,
        le=1_000_000,
    )
    key_exchanges_per_connection: int = key(
        100,
        "Key exchanges of one SSH connection in a minute, besides those after 1 MiB of transfers; the "
        "connection is closed; 0 no limit.",
        ge=0,
        le=1_000_000,
    )
    key_exchanges_per_source: int = key(
        1200,
        "Key exchanges of one client address in a minute; further connections are refused; 0 no limit.",
        ge=0,
        le=10_000_000,
    )
    locks: int = key(10_000, "Write locks (WebDAV) of all clients together.", ge=1, le=1_000_000)
    locks_per_account: int = key(1000, "Write locks of one account.", ge=1, le=1_000_000)
    lock_time: int = key(
        86_400,
        "Longest time that a write lock is granted for; clients refresh those that they still need.",
        unit="seconds",
        ge=1,
        le=604_800,
    )
    programs: int = key(
        32,
        "Programs of the system (git, rsync) that run for all clients together; 0 no limit.",
        ge=0,
        le=10_000,
    )
    programs_per_account: int = key(
        8, "Programs of the system (git, rsync) that run for one account; 0 no limit.", ge=0, le=10_000
    )
    upload_parts: int = key(
        200_000,
        "Parts of uploads in parts (WebDAV at Nextcloud's addresses) that are not complete, of all clients "
        "together; 0 no limit. Each takes some 250 bytes of memory.",
        ge=0,
        le=100_000_000,
    )
    upload_parts_per_account: int = key(
        50_000, "Such parts of one account; 0 no limit.", ge=0, le=100_000_000
    )
