# SPDX-License-Identifier: Apache-2.0
"""Section ``storage``: which kinds of storage there are, and settings of object storage."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from tidegate.config.schema.base import Section, key

Digest = Literal["blake3", "md5", "sha1", "sha224", "sha256", "sha384", "sha512"]


class ObjectKeys(Section):
    """Homes and folders in object storage, of all services."""

    memory: int = key(
        256,
        "Memory for the content of all transfers that is on its way to or from object storage; who needs "
        "more waits.",
        unit="MiB",
        ge=16,
        le=1_000_000,
    )
    memory_per_account: int = key(
        0,
        "Of that, for the home of one account, or one folder; 0 takes a quarter.",
        unit="MiB",
        ge=0,
        le=1_000_000,
    )
    memory_wait: int = key(
        60, "A transfer that waits so long for memory is refused.", unit="seconds", ge=1, le=600
    )
    attribute_seconds: float = key(
        5.0,
        "How long size, times and existence of a name are known without asking the service again; changes by "
        "others are seen after that.",
        unit="seconds",
        ge=0,
        le=3600,
    )
    listing_heads: int = key(
        1000,
        "Files of one listing whose modification time the service is asked for, a request for each; the rest "
        "show when they were stored. Google and Azure list times by themselves.",
        ge=0,
        le=1_000_000,
    )
    requests: int = key(
        32,
        "Requests of one operation on many objects (renaming or removing a directory, times of a listing) "
        "that run at the same time.",
        ge=1,
        le=64,
    )
    files_ahead: int = key(
        16,
        "Files of up to 256 KiB that are fetched before a client opens them, once it opens those of a "
        "directory in order; 0 none.",
        ge=0,
        le=48,
    )
    digests: list[Digest] = key(
        ["blake3"], "Digests of files that are summed up while they are uploaded, and kept with them."
    )
    unfinished_upload_hours: int = key(
        168, "An unfinished upload that nobody took up for so long is removed.", unit="hours", ge=1, le=8760
    )
    rename_note_hours: int = key(
        168,
        "A rename of a directory that a crash broke off is completed within so long; later the log tells of "
        "it and nothing is moved.",
        unit="hours",
        ge=0,
        le=8760,
    )

    @field_validator("digests")
    @classmethod
    def _once(cls, names: list[Digest]) -> list[Digest]:
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is given twice")
        return names


class HomesKeys(Section):
    """A bucket of S3 in which accounts get their homes that are added without one."""

    bucket: str = key(
        "",
        "Name of the bucket; credentials are those of the environment or of the instance. Empty: homes are "
        "directories of this host.",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,254})?$",
        like="the name of a bucket",
    )
    region: str = key("", "Its region; by default that of the environment, else us-east-1.")
    endpoint: str = key("", "Another store than Amazon's that speaks S3: `https://host:port`.")
    force_path_style: bool = key(False, "`host/bucket` in place of `bucket.host`; most other stores want it.")
    key_prefix: str = key(
        "",
        "What keys of all homes begin with; that of an account is below this, in a directory of its name.",
        pattern=r"^([^/].*)?$",
        like="a prefix without a slash in front",
    )


class StorageKeys(Section):
    """Kinds of storage besides local disk and installed ones."""

    kinds: dict[str, str] = key(
        {},
        "Kinds that packages without an entry point bring: the name that stands in `filesystem.provider`, "
        "and `package.module:name`.",
    )
    allowed_endpoints: list[str] = key(
        [],
        "Hosts (or host:port) of storage that administrators without the permission `*` may give to accounts "
        "and folders, and of their event actions, although they are private, loopback or link-local ones.",
    )
    homes: HomesKeys = key(HomesKeys(), "Homes of accounts that are added without one, in a bucket.")
    objects: ObjectKeys = key(ObjectKeys(), "Homes and folders in object storage.")

    @field_validator("allowed_endpoints")
    @classmethod
    def _hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not host or any(mark in host for mark in "/@*, "):
                raise ValueError(f"{host!r} is no host and no host:port")
        return hosts
