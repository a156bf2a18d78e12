# SPDX-License-Identifier: Apache-2.0
"""The inspectors of a configuration. Pure; part of the composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from tidegate.config.load import Loaded
from tidegate.config.schema.base import Section
from tidegate.config.schema.inspection import ClamdKeys, IcapKeys
from tidegate.inspection.factory import CLAMD, ICAP, ClamdOptions, IcapOptions, InspectorKey
from tidegate.inspection.inspections import rule_of
from tidegate.inspection.policies import FolderPolicies, Policies, Policy, Result
from tidegate.model import Intent

if TYPE_CHECKING:
    from tidegate.inspection.quarantine import Quarantine, QuarantineOptions
    from tidegate.server.doors import Composition
    from tidegate.server.quarantine import QuarantineHost


def inspector_keys(loaded: Loaded) -> list[InspectorKey]:
    """The configured inspectors."""
    return [
        InspectorKey(
            one.use,
            one.name,
            tuple(one.acts),
            float(one.seconds),
            one.on_error == "allow",
            one.while_arriving,
            one.options,
        )
        for one in loaded.settings.inspection.inspectors
    ]


def clamd_options(loaded: Loaded) -> ClamdOptions | None:
    """Options of the virus scan by clamd; None if it is off."""
    keys = loaded.settings.inspection.clamd
    if not keys.address:
        return None
    return ClamdOptions(keys.address, **_scan_options(loaded, keys))


def icap_options(loaded: Loaded) -> IcapOptions | None:
    """Options of the scan by an ICAP server; None if it is off."""
    keys = loaded.settings.inspection.icap
    if not keys.url:
        return None
    authorities = str(loaded.resolve(keys.ca_file)) if keys.ca_file else ""
    return IcapOptions(keys.url, keys.method, authorities, **_scan_options(loaded, keys))


def _scan_options(loaded: Loaded, keys: ClamdKeys | IcapKeys) -> dict[str, Any]:
    return {
        "seconds": float(keys.seconds),
        "max_size": keys.max_size,
        "at_once": keys.at_once,
        "streams": keys.streams,
        "when": policies(keys),
        "folders": folder_policies(loaded),
    }


def policies(keys: Section) -> Policies:
    """The policies that a section sets, by results of scans."""
    found: Policies = {}
    for result in Result:
        policy: Policy | Literal[""] = getattr(keys, f"when_{result.value}", "")
        if policy:
            found[result] = policy
    return found


def folder_policies(loaded: Loaded) -> tuple[FolderPolicies, ...]:
    """Policies of folders."""
    return tuple(
        FolderPolicies(one.path, frozenset(one.users), policies(one))
        for one in loaded.settings.inspection.folders
    )


def quarantine_options(loaded: Loaded) -> QuarantineOptions | None:
    """Options of the quarantine; None if there is none."""
    keys = loaded.settings.inspection.quarantine
    if not keys.directory:
        return None
    from tidegate.inspection.quarantine import QuarantineOptions

    return QuarantineOptions(
        loaded.resolve(keys.directory), keys.max_bytes, keys.max_files, keys.days, keys.accept
    )


def make_quarantine(loaded: Loaded) -> Quarantine | None:
    """The quarantine, not opened; None if there is none."""
    options = quarantine_options(loaded)
    if options is None:
        return None
    from tidegate.inspection.quarantine import Quarantine

    return Quarantine(options)


def quarantine_host(root: Composition) -> QuarantineHost | None:
    """The quarantine of a running server, for administrators; None if there is none."""
    quarantine = None if root.receivers is None else root.receivers.inspections.quarantine
    if quarantine is None:
        return None
    from tidegate.server.quarantine import QuarantineHost

    return QuarantineHost(quarantine, root.sessions.open, root.identity.find)


_ASKED_OF: Final = {
    Intent.UPLOAD: ("login", "upload"),
    Intent.OVERWRITE: ("login", "upload"),
    Intent.DOWNLOAD: ("login", "download"),
    Intent.DELETE_FILE: ("login", "delete"),
    Intent.DELETE_DIR: ("login", "delete"),
}


def inspectors_of(loaded: Loaded, intent: Intent) -> list[str]:
    """Rules of the inspectors that are asked about an act that everything else allows, the login first."""
    acts = _ASKED_OF.get(intent, ("login",))
    keys, asked = inspector_keys(loaded), loaded.settings.inspection
    scanners = [CLAMD] * bool(asked.clamd.address) + [ICAP] * bool(asked.icap.url)
    names: list[str] = []
    for act in acts:
        names += scanners if act == "upload" else []
        names += [one.name or one.use for one in keys if act in one.acts]
    return list(dict.fromkeys(map(rule_of, names)))
