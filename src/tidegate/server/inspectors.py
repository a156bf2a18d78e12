# SPDX-License-Identifier: Apache-2.0
"""The inspectors of a configuration. Pure; part of the composition root."""

from __future__ import annotations

from typing import Final

from tidegate.config.load import Loaded
from tidegate.inspection.factory import CLAMD, ClamdOptions, InspectorKey
from tidegate.inspection.inspections import rule_of
from tidegate.model import Intent


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
    return ClamdOptions(
        keys.address,
        float(keys.seconds),
        keys.max_size,
        keys.at_once,
        keys.streams,
        keys.when_down == "allow",
        keys.when_slow == "allow",
        keys.when_too_large == "allow",
        keys.when_unreadable == "allow",
    )


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
    keys, clamd = inspector_keys(loaded), clamd_options(loaded) is not None
    names: list[str] = []
    for act in acts:
        names += [CLAMD] if clamd and act == "upload" else []
        names += [one.name or one.use for one in keys if act in one.acts]
    return list(dict.fromkeys(map(rule_of, names)))
