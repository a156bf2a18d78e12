# SPDX-License-Identifier: Apache-2.0
"""Records of the data provider: accounts, folders, administrators, API keys.

Field names are the JSON names of dumps and of the REST API (they follow the field's other gateway so
that its users can move). Sizes are bytes, times are Unix milliseconds, rates are KB/s (1024 bytes), unless
a field says otherwise; 0 means "no limit" or "never". These are plain values: `store.documents` decodes
and checks outside documents, `policy` gives the values their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from tidegate.model.geography import GeoRules
from tidegate.model.storage import LOCAL_DISK, StorageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePatterns:
    """Shell patterns on file names for one directory and what lies below it.

    Attributes:
        path: virtual directory; the nearest ancestor that has patterns decides.
        allowed_patterns: case-insensitive globs on the base name; asked before the denied ones.
        denied_patterns: case-insensitive globs on the base name.
        deny_policy: 0 shows denied names and refuses access, 1 hides them.
        preset: name of a built-in list to add to the denied patterns, for instance ``openbridge``.
        order: which list is asked first, ``allowed`` or ``denied``.
        directories: which patterns speak of the names of directories too: ``denied`` patterns alone, ``all``
            (an allow-list refuses the directories that it does not name), ``whole`` (as ``all``, and a
            directory that is allowed is allowed with all that is in it), or ``none``.
    """

    path: str = "/"
    allowed_patterns: tuple[str, ...] = ()
    denied_patterns: tuple[str, ...] = ()
    deny_policy: int = 0
    preset: str = ""
    order: str = "allowed"
    directories: str = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class BandwidthLimit:
    """Bandwidth for clients from some networks; replaces the account's own limit for them.

    Attributes:
        sources: networks in CIDR form.
        upload_bandwidth: KB/s, 0 no limit.
        download_bandwidth: KB/s, 0 no limit.
    """

    sources: tuple[str, ...] = ()
    upload_bandwidth: int = 0
    download_bandwidth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimit:
    """Allowance for clients from some networks; replaces the three of the account for them.

    The bytes that it is compared with are those of the account, from wherever they were moved.

    Attributes:
        sources: networks in CIDR form.
        upload_data_transfer: MB, 0 no limit.
        download_data_transfer: MB, 0 no limit.
        total_data_transfer: MB, 0 no limit.
    """

    sources: tuple[str, ...] = ()
    upload_data_transfer: int = 0
    download_data_transfer: int = 0
    total_data_transfer: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeWindow:
    """One weekly window in which logging in is allowed, in the server's time zone setting (UTC).

    Attributes:
        day_of_week: 0 Sunday to 6 Saturday.
        from_: ``HH:MM``; spelt ``from`` in JSON.
        to: ``HH:MM``, inclusive.
    """

    day_of_week: int = 0
    from_: str = "00:00"
    to: str = "23:59"


@dataclass(frozen=True, slots=True, kw_only=True)
class TallyLimits:
    """Quota in ProFTPD's model: six counters, soft or hard, per session or for good. 0 is no limit.

    "in" is uploads, "out" downloads, "xfer" both directions together.

    Attributes:
        limit_type: ``soft`` lets one file cross the limit and refuses the next; ``hard`` refuses bytes
            beyond the limit and removes the file that crossed it.
        per_session: counters start at zero at each login and are not kept.
    """

    limit_type: str = "hard"
    per_session: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_xfer: int = 0
    files_in: int = 0
    files_out: int = 0
    files_xfer: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The part of its `TallyLimits` that an account has used."""

    bytes_in: int = 0
    bytes_out: int = 0
    bytes_xfer: int = 0
    files_in: int = 0
    files_out: int = 0
    files_xfer: int = 0


TALLY_NAMES: Final = tuple(item.name for item in fields(Tally))
"""The six counters, in the order in which their limits are asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Rules of one account.

    Attributes:
        allowed_ip: networks (CIDR) that may log in; empty allows all.
        denied_ip: networks that may not; asked before `allowed_ip` unless `ip_order` says otherwise.
        ip_order: which of the two lists is asked first, ``denied`` or ``allowed``.
        geoip: countries, continents and autonomous systems that may log in, besides the rules of the server;
            None for all.
        denied_login_methods: of publickey, password, password-over-SSH, keyboard-interactive,
            publickey+password, publickey+keyboard-interactive, TLSCertificate, TLSCertificate+password.
        denied_protocols: of SSH, FTP, DAV, HTTP.
        two_factor_protocols: of SSH, FTP, HTTP: doors at which one-time codes have to be set up.
        file_patterns: see `FilePatterns`.
        max_upload_file_size: bytes.
        bandwidth_limits: see `BandwidthLimit`; the first entry that names the client's network decides.
        data_transfer_limits: see `TransferLimit`; the first entry that names the client's network decides.
        access_time: windows in which logging in is allowed; empty allows always.
        start_directory: virtual directory that sessions begin in.
        password_expiration: days after which a password must be changed.
        password_strength: least entropy of a new password, in bits.
        require_password_change: True if the password must be changed before anything else.
        is_anonymous: FTP and WebDAV take any password or none, see `tidegate.policy.anonymous`.
        hooks: names of hooks switched off for this account.
        rename_onto: what RENAME does with a new name that exists: ``refuse``, ``replace``, or empty for the
            server's own setting.
        tls_username: part of a TLS client certificate that has to be the user name: ``CommonName``; with
            ``None`` or empty no certificate logs the account in.
        ftp_security: 1 refuses FTP without TLS on both connections, 0 leaves it to the binding.
        tally_limits: ProFTPD-style quota, or None.
        imported_from: source of the import that made the account (``openbridge``, ``unix``...); empty if none
            did. A later import of that source says which accounts are gone there.
        hold: the reason why nobody may log in for now, in words; empty if there is none. The server sets and
            clears it while the account's files move to other storage; no document does.
        extra: fields of other versions, kept as they came so that a dump loses nothing.
    """

    allowed_ip: tuple[str, ...] = ()
    denied_ip: tuple[str, ...] = ()
    ip_order: str = "denied"
    geoip: GeoRules | None = None
    denied_login_methods: tuple[str, ...] = ()
    denied_protocols: tuple[str, ...] = ()
    two_factor_protocols: tuple[str, ...] = ()
    file_patterns: tuple[FilePatterns, ...] = ()
    max_upload_file_size: int = 0
    bandwidth_limits: tuple[BandwidthLimit, ...] = ()
    data_transfer_limits: tuple[TransferLimit, ...] = ()
    access_time: tuple[TimeWindow, ...] = ()
    start_directory: str = ""
    password_expiration: int = 0
    password_strength: int = 0
    require_password_change: bool = False
    is_anonymous: bool = False
    disable_fs_checks: bool = False
    allow_api_key_auth: bool = False
    external_auth_cache_time: int = 0
    rename_onto: str = ""
    tls_username: str = ""
    ftp_security: int = 0
    tally_limits: TallyLimits | None = None
    imported_from: str = ""
    hold: str = ""
    extra: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A directory that several accounts can mount.

    Attributes:
        name: unique name.
        mapped_path: absolute directory of the host.
        used_quota_size: bytes counted for mounts that have their own quota.
        last_quota_update: Unix milliseconds.
    """

    name: str
    mapped_path: str = ""
    description: str = ""
    used_quota_size: int = 0
    used_quota_files: int = 0
    last_quota_update: int = 0
    filesystem: StorageConfig = LOCAL_DISK


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderMount:
    """A folder at its place in an account's tree.

    Attributes:
        name: the folder's name.
        virtual_path: absolute virtual path of the mount.
        quota_size: bytes; 0 no limit, -1 counted in the account's own quota.
        quota_files: files; 0 no limit, -1 counted in the account's own quota.
        mapped_path: filled in from the folder when an account is read; may create the folder on write.
        filesystem: storage of the folder, filled in likewise.
    """

    name: str
    virtual_path: str
    quota_size: int = -1
    quota_files: int = -1
    mapped_path: str = ""
    description: str = ""
    used_quota_size: int = 0
    used_quota_files: int = 0
    last_quota_update: int = 0
    filesystem: StorageConfig = LOCAL_DISK


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUse:
    """A group of an account.

    Attributes:
        name: of the group.
        type: what the account inherits of it, see `tidegate.model.group.Membership`.
    """

    name: str
    type: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One virtual user.

    Attributes:
        username: unique.
        status: 1 enabled, 0 disabled.
        expiration_date: Unix milliseconds.
        password: a hash in any supported format; empty allows no password login. Never leaves by REST,
            log or explain.
        public_keys: OpenSSH one-line form; RFC 4716, PKCS#8 and PuTTY forms are converted on the way in.
        home_dir: absolute directory of the host.
        uid: owner of new files when the server runs as root; 0 leaves the server's own.
        gid: likewise.
        max_sessions: concurrent sessions.
        permissions: virtual directory to permission names; ``/`` is mandatory; the nearest ancestor wins.
        upload_data_transfer: MB per allowance period; likewise download and total.
        used_upload_data_transfer: bytes.
        tally: counters of `Filters.tally_limits`.
        filesystem: storage of the home.
        groups: whose settings it inherits, see `tidegate.policy.groups`; records hold what is its own.
        role: administrators with this role may see and change it, and those without one; empty for none.
        login_count: accepted logins; those within a moment of each other may be counted later.
        updated_at: Unix milliseconds; grows with every stored change.
    """

    username: str
    id: int = 0
    status: int = 1
    email: str = ""
    description: str = ""
    additional_info: str = ""
    expiration_date: int = 0
    password: str = ""
    public_keys: tuple[str, ...] = ()
    home_dir: str = ""
    uid: int = 0
    gid: int = 0
    max_sessions: int = 0
    quota_size: int = 0
    quota_files: int = 0
    permissions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    used_quota_size: int = 0
    used_quota_files: int = 0
    last_quota_update: int = 0
    upload_bandwidth: int = 0
    download_bandwidth: int = 0
    upload_data_transfer: int = 0
    download_data_transfer: int = 0
    total_data_transfer: int = 0
    used_upload_data_transfer: int = 0
    used_download_data_transfer: int = 0
    last_login: int = 0
    login_count: int = 0
    first_download: int = 0
    first_upload: int = 0
    last_password_change: int = 0
    created_at: int = 0
    updated_at: int = 0
    filters: Filters = field(default_factory=Filters)
    virtual_folders: tuple[FolderMount, ...] = ()
    tally: Tally = field(default_factory=Tally)
    filesystem: StorageConfig = LOCAL_DISK
    groups: tuple[GroupUse, ...] = ()
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminFilters:
    """Rules of one administrator.

    Attributes:
        allow_list: networks (CIDR) the administrator may come from; empty allows all.
        require_two_factor: they may do nothing but set up one-time codes before they have.
    """

    allow_list: tuple[str, ...] = ()
    allow_api_key_auth: bool = False
    require_password_change: bool = False
    require_two_factor: bool = False
    extra: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """Somebody who may manage the server over REST.

    Attributes:
        role: they see and change only accounts that have it; empty for all accounts.
    """

    username: str
    id: int = 0
    status: int = 1
    description: str = ""
    password: str = ""
    email: str = ""
    permissions: tuple[str, ...] = ()
    filters: AdminFilters = field(default_factory=AdminFilters)
    additional_info: str = ""
    created_at: int = 0
    updated_at: int = 0
    last_login: int = 0
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key for programs; the secret is stored as a hash and shown once.

    Attributes:
        scope: 1 acts as an administrator, 2 as a user.
        user: the user it acts as; admin: the administrator it acts as. Empty means unbound.
        expires_at: Unix milliseconds.
    """

    id: str
    name: str
    key: str = ""
    scope: int = 1
    user: str = ""
    admin: str = ""
    description: str = ""
    expires_at: int = 0
    created_at: int = 0
    updated_at: int = 0
    last_use_at: int = 0
