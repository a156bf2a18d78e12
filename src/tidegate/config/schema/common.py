# SPDX-License-Identifier: Apache-2.0
"""Section ``common``: what holds for every protocol."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from tidegate.config.schema.addresses import DnsblKeys, GeoIpKeys, ListFileKeys
from tidegate.config.schema.base import HOOK, HOOK_LIKE, Section, key
from tidegate.config.schema.defence import DefenderKeys, PenaltyKeys, RateLimiterKeys, networks
from tidegate.config.schema.events import EventManagerKeys, FileActionKeys
from tidegate.config.schema.names import FilePatternKeys


class Common(Section):
    """Settings of every protocol."""

    idle_timeout: int = key(
        15,
        "Minutes after which a connection without activity is closed; running transfers count as activity, "
        "keepalives do not; 0 never.",
        unit="minutes",
        ge=0,
        le=525_600,
    )
    upload_mode: int = key(
        0,
        "0 writes into the target; 1 writes beside it and replaces it when the upload is complete; 2 as 1, "
        "and keeps the part of a broken upload, hidden, for resuming.",
        ge=0,
        le=2,
    )
    setstat_mode: int = key(
        0,
        "0 applies mode, owner and times that clients send; 1 ignores them silently; 2 ignores those the "
        "storage cannot keep.",
        ge=0,
        le=2,
    )
    umask: str = key(
        "0022",
        "Permission bits taken away from new files and directories, octal digits as a text; empty keeps the "
        "umask of the process.",
        pattern=r"^(0?[0-7]{3})?$",
        like='octal digits as a text, such as "0022"',
    )
    fsync: bool = key(
        False, "Make each upload durable on disk before the client is told that it is complete."
    )
    max_total_connections: int = key(
        0, "Connections of all clients together; 0 no limit.", ge=0, le=10_000_000
    )
    max_per_host_connections: int = key(
        20, "Connections of one client address; 0 no limit.", ge=0, le=10_000_000
    )
    source_prefix4: int = key(
        32,
        "IPv4 addresses that begin with so many equal bits are one client in limits, scores, bans and "
        "penalties by address; 32 is each address by itself. Bans that run hold for what they were made for "
        "after a change; scores, penalties and rate limits begin anew.",
        unit="bits",
        ge=8,
        le=32,
    )
    source_prefix6: int = key(
        64,
        "The same for IPv6. A customer usually has a /64, often a /56 or a /48, and can come from each of "
        "its addresses.",
        unit="bits",
        ge=32,
        le=128,
    )
    allowlist_status: int = key(
        0, "1 lets only addresses of the allow list connect, at every door and to the REST API.", ge=0, le=1
    )
    proxy_protocol: int = key(
        0,
        "PROXY header (versions 1 and 2) at SSH, FTP, and HTTP and WebDAV bindings with `proxy_mode` 1: "
        "0 reads none, 1 takes one from the addresses of `proxy_allowed`, 2 also refuses connections without "
        "one, and those from other addresses but `proxy_skipped`.",
        ge=0,
        le=2,
    )
    proxy_allowed: list[str] = key(
        [],
        "Addresses and networks of proxies whose PROXY header is believed; from others none is read. Limits "
        "by address hold for the client that the header names, not for the proxy.",
    )
    proxy_skipped: list[str] = key(
        [], "Addresses and networks that connect without a PROXY header; counts before `proxy_allowed`."
    )
    file_patterns: FilePatternKeys = key(
        FilePatternKeys(), "Names that no account may use, in any directory and by any door."
    )
    defender: DefenderKeys = key(DefenderKeys(), "Bans addresses by score.")
    penalties: PenaltyKeys = key(PenaltyKeys(), "Refuses addresses for a while after logins that failed.")
    rate_limiters: list[RateLimiterKeys] = key(
        [], "Limiters of new connections and requests; each that applies is asked, in this order."
    )
    geoip: GeoIpKeys = key(GeoIpKeys(), "Lets clients in by country, continent and autonomous system.")
    dnsbl: DnsblKeys = key(DnsblKeys(), "Refuses addresses that DNS blocklists have.")
    list_files: list[ListFileKeys] = key(
        [],
        "Files with entries of lists, beside those that `tidegate ip-list` stores; the most specific entry "
        "counts, of two for the same network the stored one.",
    )
    whitelist_file: str = key(
        "",
        "File with addresses and networks of the allow list, in the form of `defender.safelist_file`. With "
        "one, only addresses of that list may connect, as `allowlist_status` 1 has it.",
    )
    server_version: Literal["", "short"] = key(
        "", "What servers say they are: empty tells name and version, `short` the name alone."
    )
    startup_hook: str = key(
        "",
        "Program (absolute path) or URL that is called once all servers listen.",
        pattern=HOOK,
        like=HOOK_LIKE,
    )
    post_connect_hook: str = key(
        "",
        "Program (absolute path) or URL that is asked about each new connection; anything but exit status "
        "0, or HTTP status 200, refuses it.",
        pattern=HOOK,
        like=HOOK_LIKE,
    )
    post_disconnect_hook: str = key(
        "",
        "Program (absolute path) or URL that is told of the end of SSH channels and FTP connections.",
        pattern=HOOK,
        like=HOOK_LIKE,
    )
    tz: Literal["", "local"] = key(
        "", "Time zone of schedules of event rules: empty is UTC, `local` the host's."
    )
    event_manager: EventManagerKeys = key(EventManagerKeys(), "Event rules.")
    actions: FileActionKeys = key(FileActionKeys(), "Programs and URLs that are told of file operations.")

    @field_validator("proxy_allowed", "proxy_skipped")
    @classmethod
    def _networks(cls, texts: list[str]) -> list[str]:
        return networks(texts)

    @model_validator(mode="after")
    def _knows_proxies(self) -> Common:
        if self.proxy_protocol and not self.proxy_allowed:
            raise ValueError(
                f"proxy_protocol {self.proxy_protocol} needs proxy_allowed: the addresses of the proxies"
            )
        return self

    # -- accepted, not acted on ----------------------------------------------------------------------------
    rename_mode: int = key(0, "Recursive rename on object storage.", available=False)
    symlink_mode: int = key(
        0,
        "Storage kinds on which links may be created (the permission create_symlinks decides here).",
        available=False,
    )
    temp_path: str = key(
        "", "Directory for unfinished uploads (they live beside their target).", available=False
    )
    secret_min_entropy: float = key(0, "Least entropy of passphrases for stored secrets.", available=False)
    resume_max_size: int = key(0, "Largest file to resume on object storage.", available=False)
    data_retention_hook: str = key("", "Program or URL to call after a retention check.", available=False)
    allow_self_connections: int = key(0, "Allow SFTP storage that points at this server.", available=False)
    metadata: dict[str, Any] = key({}, "Reading object metadata.", available=False)
