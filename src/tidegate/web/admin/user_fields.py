# SPDX-License-Identifier: Apache-2.0
"""The fields of the form for an account: label, help, and the place of each in the account's document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tidegate.policy.methods import LOGIN_METHODS
from tidegate.policy.presets import PRESETS

Kind = Literal[
    "text",
    "mono",
    "number",
    "size",
    "end",
    "lines",
    "flag",
    "switch",
    "choice",
    "code",
    "denied",
    "secret",
    "checks",
    "json",
]
"""Forms of a value: ``lines`` is a list, one item a line; ``denied`` a list of what is not ticked, ``checks``
of what is; ``switch`` is 1 or 0, ``code`` a choice of numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserField:
    """One field.

    Attributes:
        name: in the form; unique.
        path: keys of the document, joined by dots.
        label: above the field.
        help: below the field.
        kind: form of the value.
        section: that it stands in.
        unit: behind the field.
        choices: value and text, of ``choice``, ``denied`` and ``checks``.
        storage: kind of storage that it belongs to; empty for all.
        optional: may be left empty.
    """

    name: str
    path: str
    label: str
    help: str = ""
    kind: Kind = "text"
    section: str
    unit: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    storage: str = ""
    optional: bool = True


SECTIONS: Final = (
    ("who", "Who"),
    ("login", "Logging in"),
    ("storage", "Storage"),
    ("permissions", "Permissions"),
    ("limits", "Limits"),
    ("names", "Names and networks"),
    ("more", "More"),
)
"""Id and title of the sections, in their order."""

KINDS: Final = (
    ("0", "local", "Disk of this server"),
    ("1", "s3", "S3 bucket"),
    ("2", "gcs", "Google Cloud bucket"),
    ("3", "azblob", "Azure container"),
    ("4", "crypt", "Encrypted disk"),
    ("5", "sftp", "Another SFTP server"),
)
"""Number in the document, name and text of the kinds of storage that the form has fields for."""

_DOORS: Final = (
    ("SSH", "SFTP, SCP"),
    ("FTP", "FTP"),
    ("DAV", "WebDAV"),
    ("HTTP", "HTTP"),
)


def _storage(kind: str, section: str, *rows: tuple[str, str, str, Kind]) -> tuple[UserField, ...]:
    return tuple(
        UserField(
            name=f"{kind}_{key}",
            path=f"filesystem.{section}.{key}",
            label=label,
            help=text,
            kind=form,
            section="storage",
            storage=kind,
        )
        for key, label, text, form in rows
    )


_KEPT: Final = (
    "Kept encrypted where a master key is set; never shown again. Empty keeps the one that is stored."
)

FIELDS: Final[tuple[UserField, ...]] = (
    UserField(
        name="email", path="email", label="E-mail", section="who", help="Notices of quota and expiry go here."
    ),
    UserField(
        name="expires",
        path="expiration_date",
        label="Expires",
        kind="end",
        section="who",
        help="The last day, or day and time in UTC. Nobody can log in afterwards, and sessions end.",
    ),
    UserField(name="description", path="description", label="Description", section="who"),
    UserField(
        name="must_change",
        path="filters.require_password_change",
        label="Has to change the password",
        kind="flag",
        section="login",
        help="Until then nothing else is possible.",
    ),
    UserField(
        name="anonymous",
        path="filters.is_anonymous",
        label="Needs no password",
        kind="flag",
        section="login",
        help="FTP and WebDAV take any password, or none, and nothing but listing and downloading is allowed.",
    ),
    UserField(
        name="doors",
        path="filters.denied_protocols",
        label="Doors",
        kind="denied",
        section="login",
        choices=_DOORS,
        help="Where the account may come in.",
    ),
    UserField(
        name="methods",
        path="filters.denied_login_methods",
        label="Ways",
        kind="denied",
        section="login",
        choices=tuple((word, word) for word in LOGIN_METHODS),
        help="How it may prove who it is. Two joined by + are asked one after the other.",
    ),
    UserField(
        name="sessions",
        path="max_sessions",
        label="Sessions at once",
        kind="number",
        section="login",
        help="Empty or 0 is no limit.",
    ),
    UserField(
        name="tls_username",
        path="filters.tls_username",
        label="TLS certificate",
        kind="choice",
        section="login",
        choices=(("", "does not log in"), ("CommonName", "logs in if its common name is the user name")),
        help="Of FTP and WebDAV.",
    ),
    UserField(
        name="home",
        path="home_dir",
        label="Home directory",
        kind="mono",
        section="storage",
        help="Absolute, on this server. Empty takes the place that the configuration gives to new accounts.",
    ),
    UserField(
        name="start",
        path="filters.start_directory",
        label="Start directory",
        kind="mono",
        section="storage",
        help="As the client sees it; sessions begin there.",
    ),
    UserField(name="uid", path="uid", label="Owner of new files (uid)", kind="number", section="storage"),
    UserField(name="gid", path="gid", label="Group of new files (gid)", kind="number", section="storage"),
    *_storage(
        "s3",
        "s3config",
        ("bucket", "Bucket", "", "text"),
        ("key_prefix", "Prefix", "Keys begin with it; the account sees what is below.", "mono"),
        ("region", "Region", "", "text"),
        ("endpoint", "Endpoint", "URL of a store that is not Amazon's.", "mono"),
        ("access_key", "Access key", "Empty takes credentials of the machine.", "mono"),
        ("access_secret", "Secret key", _KEPT, "secret"),
    ),
    *_storage(
        "gcs",
        "gcsconfig",
        ("bucket", "Bucket", "", "text"),
        ("key_prefix", "Prefix", "Keys begin with it; the account sees what is below.", "mono"),
        ("credentials", "Service account (JSON)", _KEPT, "secret"),
    ),
    *_storage(
        "azblob",
        "azblobconfig",
        ("container", "Container", "", "text"),
        ("key_prefix", "Prefix", "Keys begin with it; the account sees what is below.", "mono"),
        ("account_name", "Storage account", "", "text"),
        ("account_key", "Account key", _KEPT, "secret"),
        ("endpoint", "Endpoint", "URL, where it is not the public one.", "mono"),
    ),
    *_storage("crypt", "cryptconfig", ("passphrase", "Passphrase", _KEPT, "secret")),
    *_storage(
        "sftp",
        "sftpconfig",
        ("endpoint", "Server", "Host and port, such as sftp.example.com:22.", "mono"),
        ("username", "User name there", "", "text"),
        ("password", "Password", _KEPT, "secret"),
        ("private_key", "Private key", _KEPT, "secret"),
        ("fingerprints", "Host keys", "Accepted fingerprints, one a line.", "lines"),
        ("prefix", "Directory there", "", "mono"),
    ),
    UserField(
        name="space",
        path="quota_size",
        label="Space",
        kind="size",
        section="limits",
        help="For instance 500 GB. Empty is no limit.",
    ),
    UserField(
        name="files",
        path="quota_files",
        label="Files",
        kind="number",
        section="limits",
        help="Empty is no limit.",
    ),
    UserField(
        name="largest",
        path="filters.max_upload_file_size",
        label="Largest file",
        kind="size",
        section="limits",
        help="Of one upload.",
    ),
    UserField(
        name="upload_speed",
        path="upload_bandwidth",
        label="Upload speed",
        kind="number",
        section="limits",
        unit="KB/s",
    ),
    UserField(
        name="download_speed",
        path="download_bandwidth",
        label="Download speed",
        kind="number",
        section="limits",
        unit="KB/s",
    ),
    UserField(
        name="upload_data",
        path="upload_data_transfer",
        label="Uploads in all",
        kind="number",
        section="limits",
        unit="MB",
    ),
    UserField(
        name="download_data",
        path="download_data_transfer",
        label="Downloads in all",
        kind="number",
        section="limits",
        unit="MB",
    ),
    UserField(
        name="total_data",
        path="total_data_transfer",
        label="Both in all",
        kind="number",
        section="limits",
        unit="MB",
        help="Replaces the two beside it where it is set.",
    ),
    UserField(
        name="allowed_ip",
        path="filters.allowed_ip",
        label="May come from",
        kind="lines",
        section="names",
        help="Addresses and networks such as 192.0.2.0/24, one a line. Empty is anywhere.",
    ),
    UserField(
        name="denied_ip",
        path="filters.denied_ip",
        label="May not come from",
        kind="lines",
        section="names",
        help="Asked first.",
    ),
    UserField(
        name="rename_onto",
        path="filters.rename_onto",
        label="A rename onto a name that exists",
        kind="choice",
        section="names",
        choices=(("", "as the server says"), ("refuse", "is refused"), ("replace", "replaces it")),
    ),
    UserField(
        name="keys_act",
        path="filters.allow_api_key_auth",
        label="API keys may act as this account",
        kind="flag",
        section="more",
    ),
    UserField(name="info", path="additional_info", label="Notes", kind="text", section="more"),
)
"""Every field but those that have a form of their own: name, password, keys, permissions, and the rest."""

BY_NAME: Final = {field.name: field for field in FIELDS}

PATTERN_PRESETS: Final = tuple(PRESETS)
