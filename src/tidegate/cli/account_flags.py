# SPDX-License-Identifier: Apache-2.0
"""Flags of `user add` and `user set`, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidegate.cli import flags
from tidegate.cli.documents import parse_expiry, parse_groups, parse_home, parse_permissions, read_keys
from tidegate.cli.flags import Onto, size


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFlags:
    """Values of the flags about an account; None is not given."""

    home: flags.Home = None
    permission: flags.Permissions = None
    public_key: flags.Keys = None
    quota_size: flags.QuotaSize = None
    quota_files: flags.QuotaFiles = None
    max_sessions: flags.MaxSessions = None
    upload_bandwidth: flags.UploadBandwidth = None
    download_bandwidth: flags.DownloadBandwidth = None
    uid: flags.Uid = None
    gid: flags.Gid = None
    expires: flags.Expires = None
    allowed_ip: flags.AllowedIp = None
    denied_ip: flags.DeniedIp = None
    allowed_country: flags.AllowedCountry = None
    denied_country: flags.DeniedCountry = None
    allowed_asn: flags.AllowedAsn = None
    denied_asn: flags.DeniedAsn = None
    two_factor: flags.TwoFactor = None
    rename_onto: flags.RenameOnto = None
    group: flags.Groups = None
    role: flags.RoleOf = None
    email: flags.NewEmail = None
    description: flags.NewDescription = None
    document: flags.Document = None
    enabled: flags.Enabled = None

    def fields(self) -> dict[str, Any]:
        """The fields of the account's document that the flags say.

        Raises:
            InvalidArgument, BadRecord: a flag cannot be understood.
        """
        found: dict[str, Any] = {
            "home_dir": None if self.home is None else parse_home(self.home),
            "permissions": parse_permissions(self.permission) if self.permission else None,
            "public_keys": read_keys(self.public_key) if self.public_key else None,
            "quota_size": None if self.quota_size is None else size(self.quota_size),
            "quota_files": self.quota_files,
            "max_sessions": self.max_sessions,
            "upload_bandwidth": self.upload_bandwidth,
            "download_bandwidth": self.download_bandwidth,
            "uid": self.uid,
            "gid": self.gid,
            "expiration_date": None if self.expires is None else parse_expiry(self.expires),
            "groups": None if self.group is None else parse_groups(self.group),
            "role": self.role,
            "email": self.email,
            "description": self.description,
            "status": None if self.enabled is None else int(self.enabled),
        }
        return {name: value for name, value in found.items() if value is not None}

    def filters(self) -> dict[str, Any]:
        """Likewise for ``filters``; an empty text empties a list."""
        doors = None if self.two_factor is None else [door.upper() for door in self.two_factor]
        lists = {
            "allowed_ip": self.allowed_ip,
            "denied_ip": self.denied_ip,
            "two_factor_protocols": doors,
        }
        found: dict[str, Any] = {
            name: [item for item in value if item] for name, value in lists.items() if value is not None
        }
        if self.rename_onto is not None:
            found["rename_onto"] = "" if self.rename_onto is Onto.DEFAULT else self.rename_onto.value
        return found

    def locations(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Likewise for ``filters.geoip``, beside what is stored there; empty if no flag speaks of it."""
        given = {
            "allowed_countries": self.allowed_country
            and [code.upper() for code in self.allowed_country if code],
            "denied_countries": self.denied_country
            and [code.upper() for code in self.denied_country if code],
            "allowed_asns": self.allowed_asn and [number for number in self.allowed_asn if number],
            "denied_asns": self.denied_asn and [number for number in self.denied_asn if number],
        }
        said = {name: value for name, value in given.items() if value is not None}
        return {"geoip": {**(stored.get("geoip") or {}), **said}} if said else {}
