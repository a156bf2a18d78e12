# SPDX-License-Identifier: Apache-2.0
"""Accounts, administrators and keys with every field set, and plain ones."""

from __future__ import annotations

from tidegate.model import (
    Account,
    Admin,
    AdminFilters,
    ApiKey,
    BandwidthLimit,
    FilePatterns,
    Filters,
    Folder,
    FolderMount,
    StorageConfig,
    Tally,
    TallyLimits,
    TimeWindow,
    TransferLimit,
)
from tidegate.model.geography import GeoRules

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl tide"
BCRYPT = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
SHA512 = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/"


def plain_account(name: str, **more: object) -> Account:
    """The least that an account needs."""
    return Account(**{"username": name, "home_dir": f"/srv/{name}", "permissions": {"/": ("*",)}, **more})


def full_account(name: str = "zoë") -> Account:
    """An account in which every field differs from its default."""
    return Account(
        username=name,
        status=0,
        email="zoe@example.org",
        description="line one\nline two 🌊 'quoted' \"twice\" \\",
        additional_info="%s %(x)s :y",
        expiration_date=1_900_000_000_000,
        password=BCRYPT,
        public_keys=(ED25519,),
        home_dir="/srv/zoë",
        uid=1001,
        gid=1002,
        max_sessions=3,
        quota_size=2**40,
        quota_files=77,
        permissions={"/": ("list", "download"), "/in": ("*",), "/locked": ()},
        used_quota_size=2**41,
        used_quota_files=12,
        last_quota_update=1_700_000_000_001,
        upload_bandwidth=128,
        download_bandwidth=64,
        upload_data_transfer=1,
        download_data_transfer=2,
        total_data_transfer=3,
        used_upload_data_transfer=4,
        used_download_data_transfer=5,
        last_login=6,
        login_count=10,
        first_download=7,
        first_upload=8,
        last_password_change=9,
        filters=Filters(
            allowed_ip=("10.0.0.0/8", "2001:db8::/32"),
            denied_ip=("10.1.0.0/16",),
            geoip=GeoRules(denied_countries=("CN", "RU"), allowed_asns=(64500,), unknown="allow"),
            denied_login_methods=("password",),
            denied_protocols=("FTP",),
            file_patterns=(
                FilePatterns(path="/in", allowed_patterns=("*.jpg",), denied_patterns=("*",), deny_policy=1),
                FilePatterns(path="/", preset="openbridge"),
            ),
            max_upload_file_size=10,
            bandwidth_limits=(BandwidthLimit(sources=("192.0.2.0/24",), upload_bandwidth=1),),
            data_transfer_limits=(TransferLimit(sources=("192.0.2.0/24",), total_data_transfer=3),),
            is_anonymous=True,
            access_time=(TimeWindow(day_of_week=2, from_="08:00", to="17:30"),),
            start_directory="/in",
            password_expiration=30,
            password_strength=60,
            require_password_change=True,
            disable_fs_checks=True,
            allow_api_key_auth=True,
            external_auth_cache_time=60,
            tally_limits=TallyLimits(limit_type="soft", per_session=True, bytes_in=5, files_xfer=6),
            extra={
                "hooks": {"pre_login_disabled": True},
                "_record": {"oidc_custom_fields": {"unit": "staff"}},
            },
        ),
        virtual_folders=(
            FolderMount(name="shared", virtual_path="/z", mapped_path="/srv/shared"),
            FolderMount(
                name="archive", virtual_path="/a", mapped_path="/srv/archive", quota_size=10, quota_files=20
            ),
        ),
        tally=Tally(bytes_in=1, bytes_out=2, bytes_xfer=3, files_in=4, files_out=5, files_xfer=6),
    )


def full_admin(name: str = "root") -> Admin:
    """An administrator with every field set."""
    return Admin(
        username=name,
        status=0,
        description="on call",
        password=SHA512,
        email="root@example.org",
        permissions=("view_users", "quota_scans"),
        filters=AdminFilters(
            allow_list=("127.0.0.0/8",),
            allow_api_key_auth=True,
            require_password_change=True,
            extra={"preferences": {"hide_user_page_sections": 1}},
        ),
        additional_info="none",
        last_login=5,
    )


def full_key(name: str = "k1", **more: object) -> ApiKey:
    """An API key with every field set."""
    values = {
        "id": name,
        "name": "backup",
        "key": BCRYPT,
        "description": "nightly",
        "expires_at": 1_900_000_000_000,
        "last_use_at": 3,
        **more,
    }
    return ApiKey(**values)


def full_folder(name: str = "data") -> Folder:
    """A folder with every field set."""
    return Folder(
        name=name,
        mapped_path=f"/srv/{name}",
        description="ours",
        used_quota_size=5,
        used_quota_files=6,
        last_quota_update=7,
        filesystem=StorageConfig("sftp", {"sftpconfig": {"endpoint": "host:22"}}),
    )
